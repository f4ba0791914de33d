"""Loaded by the interpreter at start because this folder comes first in PYTHONPATH: starts the training hook.

Afterwards it takes its own folder off ``sys.path`` and imports the ``sitecustomize`` that the program would
have had without it, so that the program finds the world as it was. It does not measure anything.

Written so that any Python can at least parse it: the environment reaches every interpreter the run starts.
"""

import os
import sys

try:
    if sys.version_info >= (3, 8):  # noqa: UP036
        import _advisor_hook  # type: ignore[import-not-found,unused-ignore]

        _advisor_hook.start()
except Exception as error:  # whatever it is, the program must start
    try:
        folder = os.environ["ADVISOR_HOOK_DIR"]
        with open(os.path.join(folder, "failure-%d.txt" % os.getpid()), "w") as out:  # noqa: UP031
            out.write("the hook could not start: %s: %s" % (type(error).__name__, error))  # noqa: UP031
    except Exception:
        pass

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
# Not found ends in the same ImportError as without the hook, which `site` expects; found runs under its own name.
sys.modules.pop("sitecustomize", None)
import sitecustomize  # type: ignore[import-not-found,unused-ignore]  # noqa: E402, F401

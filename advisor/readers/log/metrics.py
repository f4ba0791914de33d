"""Lines of a metrics page in the middle of other text: what a person pastes from `curl .../metrics`."""

from __future__ import annotations

import re

from advisor.errors import InputError
from advisor.readers.log.log import Log
from advisor.readers.metrics.kinds import Target, readings
from advisor.readers.metrics.prometheus import Labels, Page, canonical, parse_line
from advisor.readers.told import Told

MAX_LINES = 200_000
# Anything may stand before it: a mark of quoting, the number of a line, a time. A name with underscores may
# also be that of a package, with its version behind it, unless labels follow.
_LINE = re.compile(
    r"(?<![\w:])(?:(?:vllm|sglang):\w+|(?:(?:ray|kserve)_)?(?:vllm|sglang)_\w+(?=\{)|"
    r"(?:tgi_(?:batch|queue|request)_|nv_(?:inference|gpu|trt_llm|cpu)_|DCGM_(?:FI|EXP)_|dcgm_|nvidia_smi_|process_|"
    r"node_(?:cpu|memory|load1|disk|network|filesystem|pressure|vmstat))\w*)"
    r"(?:\{[^\n]*\})?[ \t]+[-+]?[0-9][^\n]*"
)


def find(log: Log) -> list[Told]:
    """What the lines say; where a series comes again, another scrape begins."""
    pages: list[dict[str, dict[Labels, float]]] = [{}]
    for number, match in enumerate(_LINE.finditer(log.text)):
        line = parse_line(match[0].strip())
        if line is None or number > MAX_LINES:
            continue
        name = canonical(line.name)
        if line.labels in pages[-1].get(name, {}):
            pages.append({})
        pages[-1].setdefault(name, {})[line.labels] = line.value
    target = Target(log.origin, [Page(page) for page in pages if page], None, [log.note] if log.note else [])
    try:
        return [Told(readings([target]))] if target.pages else []
    except InputError:  # a program's own metrics
        return []

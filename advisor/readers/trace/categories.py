"""What kind of work an event is, by its category: names drifted over the versions of the profiler.

The sources are libkineto's list of activity types (ActivityType.h and its namesakes), what torch 1.8 wrote
(Operator, Runtime, Kernel, Memcpy) and what traces of AMD, Intel and MTIA devices hold.
"""

from __future__ import annotations

OTHER, OP, NOTE, RUNTIME, KERNEL, COPY, FILL, PYTHON, OVERHEAD = range(9)

_KINDS = {
    OP: "cpu_op operator",
    NOTE: "user_annotation dataloader python",
    RUNTIME: (
        "cuda_runtime cuda_driver runtime hip_runtime hip_driver hip_api roctracer_runtime xpu_runtime xpu_driver "
        "mtia_runtime privateuse1_runtime privateuse1_driver glow_runtime"
    ),
    KERNEL: "kernel mtia_ccp_events hpu_op privateuse1_kernel",
    COPY: "gpu_memcpy memcpy",
    FILL: "gpu_memset memset",
    PYTHON: "python_function",
    OVERHEAD: "overhead",
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_SIGNS = (
    "cpu_op operator user_annotation gpu_user_annotation cuda_runtime cuda_driver mtia_runtime xpu_runtime "
    "kernel gpu_memcpy gpu_memset ac2g cpu_instant_event python_function"
)
SIGNS = frozenset(_SIGNS.split())  # categories that the PyTorch profiler writes, and hardly any other tool
MANY = 1000


class Kinds(dict[str | None, int]):
    """The kind of each category that was seen, whatever its case; one that is not known is `OTHER`."""

    def __missing__(self, category: str | None) -> int:
        kind = _KIND.get(category.lower(), OTHER) if category else OTHER
        if len(self) < MANY:
            self[category] = kind
        return kind

"""Which planted causes each finding of a peer is right for.

Peers speak of families where advisor names causes, so the family is enough: a finding is credited with every planted
cause that somebody who follows it would be looking in the right place for, also where it says nothing about what the
cause is. A finding that is not listed is right for none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

LOADING = (
    "dataloader-no-workers", "tokenize-on-the-fly", "collate-main-thread", "epoch-start-stall", "page-cache-thrash",
    "io-wait-bound", "fuse-overhead",
)  # fmt: skip
MODEL = (
    "fp64-accidental", "debug-modes-on", "thread-oversubscription", "cgroup-cpu-throttled", "padding-waste",
    "python-code-in-step",
)  # fmt: skip
BESIDE_MODEL = (
    "checkpoint-stall", "evaluation-too-frequent", "throughput-drift", "python-code-in-step", "comm-bound",
    "straggler-rank", "cgroup-cpu-throttled", "thread-oversubscription",
)  # fmt: skip
RANKS = ("straggler-rank",)
PROCESSOR = ("thread-oversubscription", "cgroup-cpu-throttled", "python-code-in-step")

# by `kind`; traceml_ai 0.5.0, diagnostics/*/rules.py
TRACEML: Mapping[str, tuple[str, ...]] = {
    "INPUT_BOUND": LOADING,  # "increase workers, prefetch, or storage throughput"
    # "work outside traced phases, CPU stalls, logging, checkpointing, validation, or unobserved transfers"
    "RESIDUAL_HEAVY": BESIDE_MODEL,
    "COMPUTE_BOUND": MODEL,  # "optimize model compute or reduce step cost"
    "INPUT_STRAGGLER": RANKS,
    "COMPUTE_STRAGGLER": RANKS,
    "H2D_STRAGGLER": RANKS,
    "STRAGGLER": RANKS,
    "HIGH_CPU": PROCESSOR,
    "HIGH_PROCESS_CPU": PROCESSOR,
    "HIGH_HOST_MEMORY": ("host-memory-leak", "page-cache-thrash"),
    "HIGH_PROCESS_RSS": ("host-memory-leak", "page-cache-thrash"),
    "CREEP_EARLY": ("host-memory-leak",),
    "CREEP_CONFIRMED": ("host-memory-leak",),
}

# by `rule_id`; alloc 0.0.16, diagnosis_rules.py
ALLOC: Mapping[str, tuple[str, ...]] = {
    "DL001": LOADING,  # too few workers
    "DL003": ("epoch-start-stall",),  # workers are started anew
    "DL004": LOADING,  # no prefetch_factor
    "DL005": LOADING,  # no workers
    "MEM002": ("fp64-accidental",),  # no mixed precision
    "PREC002": ("fp64-accidental",),
    "DIST004": ("comm-bound",),  # gloo
    "XS003": ("comm-bound",),
    "STRAG001": RANKS,
}

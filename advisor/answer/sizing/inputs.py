"""What a message gives to calculate with, and how a later message changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = float | str

# A new value of the key makes these older ones meaningless.
_REPLACES = {
    "model": ("params", "active"),
    "params": ("model", "active"),
    "gpu": ("memory", "link", "link_rate"),
    "memory": ("gpu",),
    "quant": ("method",),
    "link": ("link_rate",),
    "gpus": ("nodes", "tp", "wanted"),
    "wanted": ("gpus", "nodes", "tp"),
}
HARDWARE = frozenset(["gpu", "gpus", "memory", "nodes"])


@dataclass(frozen=True, slots=True)
class Inputs:
    """Values by name, and the kind of calculation that is asked for, "" when the words ask for none.

    Names: model, params, active; gpu, gpus, memory (GiB), nodes, tp, wanted (what is asked for); method (full, lora,
    qlora), optimizer, precision, stage, batch, seq, recompute, flash, rank; quant, kv (bytes per element);
    tokens_per_second, per_gpu, mfu, tokens, price (per GPU hour); link, link_rate (bytes/s), network, bytes; stages,
    microbatches, chunks; write_rate (bytes/s), failures (s); load_time, sample_time, step_time (s).
    """

    kind: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)

    def merged(self, earlier: Mapping[str, Value]) -> Inputs:
        """These inputs on top of earlier ones ("and on 8 GPUs?"); a question of its own keeps only the hardware.

        `earlier` is what a calculation returned as `known`, with the kind under "kind".
        """
        kept = {k: v for k, v in earlier.items() if k != "kind"}
        whole = self.kind and ("model" in self.values or "params" in self.values)
        if whole:
            kept = {k: v for k, v in kept.items() if k in HARDWARE}
        for key in self.values:
            for gone in _REPLACES.get(key, ()):
                if gone not in self.values:
                    kept.pop(gone, None)
        kind = self.kind or (str(earlier.get("kind", "")) if self.values else "")
        return Inputs(kind, {**kept, **self.values})

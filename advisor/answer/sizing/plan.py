"""How a model is to be trained, and the bytes that follow from it on each GPU."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.answer.sizing.formulas import (
    States,
    activation_bytes,
    bytes_per_parameter,
    logit_bytes,
    model_states,
    weight_bytes,
)
from advisor.answer.sizing.subject import OVERHEAD, Model


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be trained."""

    model: Model
    method: str
    optimizer: str
    precision: str
    stage: int
    gpus: float
    batch: float
    sequence: float
    recompute: bool
    flash: bool
    rank: float

    @property
    def trained(self) -> float:
        """Parameters that the optimizer updates."""
        full = self.method == "full"
        return self.model.parameters if full else float(self.model.shape.lora_parameters(int(self.rank)))

    @property
    def each(self) -> States:
        """Bytes per trained parameter."""
        return bytes_per_parameter(self.optimizer, self.precision)

    @property
    def base_format(self) -> str:
        """Format of the frozen weights."""
        return "nf4" if self.method == "qlora" else "fp16"

    @property
    def base(self) -> float:
        """Bytes per GPU of the frozen model under LoRA (16 bits) and QLoRA (NF4); sharded in stage 3 only."""
        if self.method == "full":
            return 0.0
        whole_model = weight_bytes(self.model.parameters, self.model.shape.embedding, self.base_format)
        return whole_model / (self.gpus if self.stage == 3 else 1)

    @property
    def states(self) -> States:
        """Bytes per GPU of weights, gradients and optimizer state of what is trained."""
        return model_states(self.trained, self.each, self.stage, self.gpus)

    @property
    def activations(self) -> float:
        """Bytes per GPU that grow with the batch: activations and logits."""
        shape = self.model.shape
        kept = activation_bytes(shape, self.sequence, self.batch, recompute=self.recompute, flash=self.flash)
        return kept + logit_bytes(shape, self.sequence, self.batch)

    @property
    def needed(self) -> float:
        """Bytes per GPU."""
        return sum(self.states) + self.base + self.activations + OVERHEAD

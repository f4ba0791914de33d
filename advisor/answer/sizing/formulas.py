"""The formulas behind the calculators: pure functions with units, sources and examples.

Sizes are in bytes, times in seconds, rates per second.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from advisor.answer.sizing.shapes import Shape

_MOMENTS = {"adamw": 2.0, "adam8bit": 2.0, "sgd": 0.0, "momentum": 1.0, "lion": 1.0, "adafactor": 0.0}
_WEIGHT = {"mixed": 2, "bf16": 2, "fp32": 4}


class States(NamedTuple):
    """Bytes per GPU of what training keeps for every parameter."""

    weights: float
    gradients: float
    optimizer: float


def bytes_per_parameter(optimizer: str, precision: str) -> States:
    """Weights, gradients and optimizer state of one trained parameter.

    Mixed precision keeps 16-bit weights and gradients and, in the optimizer, a 32-bit copy of the weights besides the
    moments (ZeRO, arXiv 1910.02054, section 3.1: 2 + 2 + 12 for Adam). In "bf16" everything is 16 bits wide without
    a copy; 8-bit Adam keeps moments of one byte (arXiv 2110.02861); Lion (arXiv 2302.06675) and SGD with momentum keep
    one moment; Adafactor keeps a row and a column per matrix (arXiv 1804.04235), which is counted as nothing.

    >>> sum(bytes_per_parameter("adamw", "mixed")), bytes_per_parameter("adam8bit", "mixed").optimizer
    (16.0, 6.0)
    >>> sum(bytes_per_parameter("adamw", "bf16")), sum(bytes_per_parameter("sgd", "fp32"))
    (8.0, 8.0)
    """
    weight = float(_WEIGHT[precision])
    moment = 1 if optimizer == "adam8bit" else 2 if precision == "bf16" else 4
    copy = 4 if precision == "mixed" else 0
    return States(weight, weight, copy + moment * _MOMENTS[optimizer])


def model_states(parameters: float, each: States, stage: int, gpus: float) -> States:
    """Bytes per GPU: ZeRO stage 1 divides the optimizer state, 2 the gradients too, 3 (FSDP) the weights as well.

    Source: ZeRO (arXiv 1910.02054), figure 1, with its example of 7.5e9 parameters on 64 GPUs.

    >>> each = bytes_per_parameter("adamw", "mixed")
    >>> [round(sum(model_states(7.5e9, each, stage, 64)) / 1e9, 1) for stage in range(4)]
    [120.0, 31.4, 16.6, 1.9]
    """
    by = [gpus if stage >= least else 1.0 for least in (3, 2, 1)]
    return States(*(parameters * size / part for size, part in zip(each, by, strict=True)))


def activation_bytes(shape: Shape, sequence: float, batch: float, *, recompute: bool, flash: bool = True) -> float:
    """Activations of one micro-batch in 16 bits, per layer s b h (34 + 5 a s / h).

    Fused attention (FlashAttention) does not keep the part 5 a s / h. With full recomputation a layer keeps its input,
    2 s b h, and one layer at a time is whole. Source: Korthikanti et al. 2022 (arXiv 2205.05198), equations 1 and 2,
    for a GPT layer; a gated MLP comes to about the same.

    >>> from advisor.answer.sizing.shapes import by_name
    >>> gpt3 = by_name("GPT-3-175B")
    >>> round(activation_bytes(gpt3, 2048, 1, recompute=False, flash=False) / 1e9)
    275
    >>> round(activation_bytes(gpt3, 2048, 1, recompute=True) / 1e9, 1)
    5.7
    """
    unit = sequence * batch * shape.hidden
    layer = unit * 34 + (0.0 if flash else 5 * shape.heads * sequence**2 * batch)
    return 2 * unit * shape.layers + layer if recompute else layer * shape.layers


def logit_bytes(shape: Shape, sequence: float, batch: float) -> float:
    """The output logits in 32 bits, 4 s b v (arXiv 2205.05198, section 4.3).

    >>> from advisor.answer.sizing.shapes import by_name
    >>> logit_bytes(by_name("Llama-3-8B"), 1024, 1)
    525336576.0
    """
    return 4.0 * sequence * batch * shape.vocab


# Bits per weight. AWQ and GPTQ: 4 bits and a 16-bit scale and a 4-bit zero per group of 128; NF4 with double
# quantisation: 0.127 bits of constants (arXiv 2305.14314, section 3); MXFP4: an 8-bit scale per 32; GGUF: whole files
# of Llama 3.1 8B (llama.cpp, tools/quantize/README.md), and blocks of 32 with a 16-bit scale for q4_0 and q5_0.
BITS = {
    "fp32": 32.0,
    "fp16": 16.0,
    "fp8": 8.0,
    "int8": 8.0,
    "int4": 4 + 20 / 128,
    "nf4": 4.127,
    "mxfp4": 4.25,
    "q4_0": 4.5,
    "q5_0": 5.5,
    "q8_0": 8.5008,
    "q6_k": 6.5633,
    "q5_k_m": 5.7036,
    "q5_k_s": 5.5704,
    "q4_k_m": 4.8944,
    "q4_k_s": 4.6672,
    "q3_k_l": 4.2979,
    "q3_k_m": 3.996,
    "q3_k_s": 3.6429,
    "q2_k": 3.1593,
}
LINEAR_ONLY = frozenset(["int8", "int4", "nf4", "mxfp4"])  # embeddings stay in 16 bits


def weight_bytes(parameters: float, embedding: float, quantisation: str) -> float:
    """Bytes of the weights; where only linear layers are quantised, the embeddings stay in 16 bits.

    >>> from advisor.answer.sizing.shapes import by_name
    >>> qwen = by_name("Qwen2.5-72B")
    >>> round(weight_bytes(qwen.parameters, qwen.embedding, "int4") / 1e9, 1)  # the AWQ files are 41.6 GB
    41.5
    >>> weight_bytes(8e9, 1e9, "fp16"), weight_bytes(8e9, 1e9, "fp8")
    (16000000000.0, 8000000000.0)
    """
    whole = embedding if quantisation in LINEAR_ONLY else 0.0
    return (parameters - whole) * BITS[quantisation] / 8 + whole * 2


def kv_bytes(shape: Shape, tokens: float, element: float) -> float:
    """KV cache of one sequence: 2 x layers x kv_heads x head_dim values per token; local layers keep their window.

    Source: PagedAttention (arXiv 2309.06180), section 3; latent attention caches 512 + 64 values per layer
    (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    >>> from advisor.answer.sizing.shapes import by_name
    >>> kv_bytes(by_name("Llama-2-7B"), 1, 2) / 2**20, kv_bytes(by_name("DeepSeek-V3"), 1, 2)
    (0.5, 70272)
    """
    local = min(tokens, shape.window) * shape.local_layers
    return shape.kv_width * element * ((shape.layers - shape.local_layers) * tokens + local)


def kv_share(shape: Shape, parallel: float) -> float:
    """Part of the KV cache that each GPU of a tensor-parallel group holds: heads are divided, never split.

    >>> from advisor.answer.sizing.shapes import by_name
    >>> kv_share(by_name("Llama-3-8B"), 4), kv_share(by_name("Llama-3-8B"), 16), kv_share(by_name("DeepSeek-V3"), 8)
    (0.25, 0.125, 1.0)
    """
    return 1.0 if shape.latent else max(1.0, math.ceil(shape.kv_heads / parallel)) / shape.kv_heads


def training_flops_per_token(parameters: float, layers: float, width: float, sequence: float) -> float:
    """FLOPs of training on one token: 6 N, and 12 L h s for attention (PaLM, arXiv 2204.02311, appendix B).

    >>> training_flops_per_token(175e9, 96, 12288, 2048) / 1e12
    1.078991029248
    """
    return 6 * parameters + 12 * layers * width * sequence


def utilisation(tokens_per_second: float, flops_per_token: float, gpus: float, peak: float) -> float:
    """Model FLOPs utilisation: useful FLOP/s over the peak of all GPUs (PaLM, appendix B).

    >>> utilisation(3200, 6 * 13e9, 8, 312e12)
    0.1
    """
    return tokens_per_second * flops_per_token / (gpus * peak)


def training_seconds(parameters: float, tokens: float, gpus: float, peak: float, mfu: float) -> float:
    """Time to train: 6 N D over the FLOP/s reached (Kaplan et al. 2020, arXiv 2001.08361).

    >>> 6 * 175e9 * 300e9, round(training_seconds(175e9, 300e9, 1024, 312e12, 0.45) / 86400)
    (3.15e+23, 25)
    """
    return 6 * parameters * tokens / (gpus * peak * mfu)


def decode_bound(bandwidth: float, weights: float, cache: float, batch: float) -> float:
    """Tokens/s that memory bandwidth allows: every step reads the weights once and each sequence's KV cache.

    Source: Pope et al. 2022 (arXiv 2211.05102), section 2. `cache` is that of one sequence.

    >>> decode_bound(2e12, 16e9, 0, 1), decode_bound(2e12, 16e9, 0.5e9, 8)
    (125.0, 800.0)
    """
    return batch * bandwidth / (weights + batch * cache)


def ring_seconds(size: float, ranks: float, rate: float) -> float:
    """All-reduce in a ring: 2 (n-1)/n times the bytes pass each rank's link (nccl-tests, PERFORMANCE.md).

    >>> ring_seconds(14e9, 2, 3.125e9), ring_seconds(14e9, 8, 300e9)
    (4.48, 0.08166666666666667)
    """
    return 2 * (ranks - 1) / ranks * size / rate


def checkpoint_each(precision: str, optimizer: str) -> float:
    """Bytes per parameter of a checkpoint to resume from: weights and optimizer state, no gradients.

    >>> checkpoint_each("mixed", "adamw"), checkpoint_each("fp32", "adamw")
    (14.0, 12.0)
    """
    each = bytes_per_parameter(optimizer, precision)
    return each.weights + each.optimizer


def young_interval(save: float, between_failures: float) -> float:
    """Best time between checkpoints, sqrt(2 x save x mean time between failures) (Young 1974).

    >>> round(young_interval(60, 86400))
    3220
    """
    return math.sqrt(2 * save * between_failures)

"""The model and the GPUs that a calculation is about, with what had to be assumed of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advisor.answer.sizing.formulas import BITS, LINEAR_ONLY
from advisor.answer.sizing.hardware import GIB, GPUS, Gpu
from advisor.answer.sizing.shapes import Shape, by_name, estimated
from advisor.answer.sizing.sheet import Sheet, count

OVERHEAD = 1 * GIB  # CUDA context, library workspaces and communication buffers of a process


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its shape, its parameters, those that compute on a token, and what people call it."""

    shape: Shape
    parameters: float
    active: float
    name: str


def model_of(sheet: Sheet) -> Model:
    """The model that was named, else the plain decoder of the size that was stated, as an assumption."""
    if sheet.has("model"):
        shape = by_name(sheet.text("model"))
        return Model(shape, shape.parameters, shape.active, shape.name)
    size = sheet.stated("params")
    shape = estimated(size)
    sheet.assume(
        "shape",
        f"{shape.layers}x{shape.hidden}",
        f"An estimate: no model of the table is named, so a plain decoder of {count(size)} parameters stands for it: "
        f"{shape.layers} layers of {shape.hidden}, {shape.kv_heads} key-value heads of {shape.head} "
        "(from N = 12 L h² and h = 128 L). Name the model for its own shape.",
        f"估算：没有指明表中的模型，按 {count(size)} 参数的普通 decoder 估计："
        f"{shape.layers} 层、隐藏维度 {shape.hidden}、{shape.kv_heads} 个 KV 头、头维度 {shape.head}"
        "（由 N = 12 L h²、h = 128 L 得出）。给出模型名可用其真实结构。",
    )
    name = f"a {count(size)} model" if sheet.lang == "en" else sheet.say("", f"{count(size)} 模型")
    return Model(shape, size, sheet.stated("active", size), name)


def gpu_of(sheet: Sheet) -> Gpu | None:
    """The GPU that was named."""
    return GPUS[sheet.text("gpu")] if sheet.has("gpu") else None


def memory_of(sheet: Sheet) -> float | None:
    """Bytes of one GPU: as stated, else of the GPU that was named; None when neither is known."""
    gpu = gpu_of(sheet)
    if sheet.has("memory"):
        return sheet.stated("memory") * GIB
    return gpu.memory * GIB if gpu else None


def gpus_of(sheet: Sheet) -> float:
    """The number of GPUs, one when none is stated."""
    return sheet.number("gpus", 1.0, "One GPU.", "单卡。")


def hardware_name(sheet: Sheet, gpus: float) -> str:
    """What the GPUs are called in a sentence."""
    gpu, gib = gpu_of(sheet), sheet.stated("memory")
    one = (
        f"{gpu.name} {gib:g} GB"
        if gpu and gib and gib != gpu.memory
        else gpu.name
        if gpu
        else sheet.say(f"{gib:g} GB GPU", f"{gib:g} GB GPU")
    )
    return f"{gpus:g} × {one}"


def overhead_step(sheet: Sheet) -> float:
    """The part of memory that no formula gives."""
    sheet.assume(
        "overhead",
        OVERHEAD,
        "1 GiB per GPU for the CUDA context, library workspaces and communication buffers (our estimate).",
        "每卡 1 GiB 用于 CUDA 上下文、库的工作区和通信缓冲区（经验估计）。",
    )
    return OVERHEAD


def weight_working(parameters: float, embedding: float, quantisation: str) -> str:
    """The formula of `weight_bytes` with its numbers; E are the embeddings where they stay in 16 bits."""
    bits = f"{BITS[quantisation]:.4g}"
    if quantisation in LINEAR_ONLY and embedding:
        rest, kept = count(parameters - embedding), count(embedding)
        return f"(N - E) × {bits} / 8 + E × 2 = {rest} × {bits} / 8 + {kept} × 2"
    return f"N × {bits} / 8 = {count(parameters)} × {bits} / 8"


def fewest(needs: list[tuple[int, float]], capacity: float) -> int | None:
    """The first number of GPUs with which the need per GPU is within the capacity."""
    return next((n for n, need in needs if need <= capacity), None)


def whole(value: float) -> int:
    """A count rounded down, never below zero; 0.9999999 of rounding error counts as one."""
    return max(0, math.floor(value + 1e-9))

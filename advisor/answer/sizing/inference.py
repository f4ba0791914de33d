"""Will it fit to serve: weights and KV cache per GPU, and how many sequences or how long a context is left room for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from advisor.answer.sizing.formulas import BITS, kv_bytes, kv_share, weight_bytes
from advisor.answer.sizing.hardware import GIB, GPUS, TYPICAL
from advisor.answer.sizing.sheet import Calculation, Sheet, size
from advisor.answer.sizing.subject import (
    OVERHEAD,
    Model,
    fewest,
    gpus_of,
    hardware_name,
    memory_of,
    model_of,
    overhead_step,
    weight_working,
    whole,
)

USABLE = 0.9  # of a GPU's memory, vLLM's default gpu_memory_utilization
SPLITS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model is to be served."""

    model: Model
    quantisation: str
    element: float
    sequence: float
    batch: float
    gpus: float

    @property
    def weights(self) -> float:
        """Bytes of all weights."""
        return weight_bytes(self.model.parameters, self.model.shape.embedding, self.quantisation)

    @property
    def cache(self) -> float:
        """Bytes of the KV cache of one sequence."""
        return kv_bytes(self.model.shape, self.sequence, self.element)

    def needed(self, gpus: float) -> float:
        """Bytes per GPU when weights and heads are divided among so many."""
        return self.weights / gpus + self.batch * self.cache * kv_share(self.model.shape, gpus) + OVERHEAD

    def sequences(self, usable: float) -> int:
        """Sequences of that length whose KV cache fits beside the weights."""
        room = usable - self.weights / self.gpus - OVERHEAD
        return whole(room / (self.cache * kv_share(self.model.shape, self.gpus)))

    def longest(self, usable: float) -> int:
        """Tokens per sequence that fit when `batch` of them are served; local layers count with a full window."""
        shape = self.model.shape
        share = self.batch * kv_share(shape, self.gpus)
        window = shape.window * shape.local_layers * shape.kv_width * self.element
        room = usable - self.weights / self.gpus - OVERHEAD - window * share
        growing = (shape.layers - shape.local_layers) * shape.kv_width * self.element
        return whole(room / (growing * share))


def serving_of(sheet: Sheet) -> Serving:
    """The plan that the inputs state."""
    model = model_of(sheet)
    return Serving(
        model,
        _quantisation(sheet, model),
        sheet.number("kv", 2.0, "KV cache in 16 bits.", "KV cache 为 16 位。"),
        sheet.number("seq", 4096.0, "Sequences of 4,096 tokens.", "序列长度 4,096。"),
        sheet.number("batch", 1.0, "One sequence at a time.", "同时 1 条序列。"),
        sheet.stated("tp") or (1.0 if sheet.has("wanted") else gpus_of(sheet)),
    )


def _quantisation(sheet: Sheet, model: Model) -> str:
    released = model.shape.released
    if released == "fp16":
        return sheet.word("quant", "fp16", "Weights in 16 bits (bf16 or fp16).", "权重为 16 位（bf16 或 fp16）。")
    return sheet.word("quant", released, f"Weights in {released}, as published.", f"权重为发布时的 {released} 格式。")


def inference_memory(sheet: Sheet) -> Calculation:
    """The answer to "can I serve it on this"."""
    serving, capacity = serving_of(sheet), memory_of(sheet)
    if capacity and sheet.has("wanted") and (fitting := _fewest(serving, capacity * USABLE)):
        serving = replace(serving, gpus=float(fitting))
        sheet.result("gpus_needed", fitting, "{gpu}")
    _weights_step(sheet, serving)
    _cache_steps(sheet, serving)
    overhead_step(sheet)
    needed = sheet.result("needed_per_gpu", serving.needed(serving.gpus), "By")
    sheet.step(
        "Needed per GPU",
        "每卡需要",
        f"W / tp + b × KV × share + 1 GiB = {size(serving.weights)} / {serving.gpus:g} + "
        f"{serving.batch:g} × {size(serving.cache)} × {kv_share(serving.model.shape, serving.gpus):.3g} + 1 GiB",
        size(needed),
    )
    if capacity is None:
        return _on_which(sheet, serving)
    usable = sheet.result("usable_per_gpu", capacity * USABLE, "By")
    sheet.assume(
        "usable",
        USABLE,
        f"90 % of {size(capacity)} can be used (vLLM's default).",
        f"{size(capacity)} 中 90% 可用（vLLM 默认值）。",
    )
    sheet.result("spare_per_gpu", usable - needed, "By")
    fits = needed <= usable
    _room(sheet, serving, usable) if fits else _changes(sheet, serving, usable)
    return sheet.finish(*_verdict(sheet, serving, needed, usable))


def kv_cache(sheet: Sheet) -> Calculation:
    """How large the KV cache is."""
    serving = serving_of(sheet)
    _cache_steps(sheet, serving)
    total, each = serving.batch * serving.cache, kv_bytes(serving.model.shape, 1, serving.element)
    return sheet.finish(
        sheet.say(
            f"KV cache of {serving.model.name}: {size(total)}", f"{serving.model.name} 的 KV cache：{size(total)}"
        ),
        sheet.say(
            f"{size(each)} per token, {size(serving.cache)} per sequence of {serving.sequence:,.0f} tokens, "
            f"{serving.batch:,.0f} of them.",
            (
                f"每 token {size(each)}，每条 {serving.sequence:,.0f} token 的序列 {size(serving.cache)}，共 "
                f"{serving.batch:,.0f} 条。"
            ),
        ),
    )


def _weights_step(sheet: Sheet, serving: Serving) -> None:
    working = weight_working(serving.model.parameters, serving.model.shape.embedding, serving.quantisation)
    sheet.step("Weights", "权重", working, f"{size(serving.weights)} ({serving.weights / 1e9:.3g} GB)")
    sheet.result("weights", serving.weights, "By")


def _cache_steps(sheet: Sheet, serving: Serving) -> None:
    shape, e = serving.model.shape, serving.element
    each = sheet.result("kv_per_token", kv_bytes(shape, 1, e), "By")
    formula = (
        f"L·(512 + 64)·{e:g} = {shape.layers}·576·{e:g}"
        if shape.latent
        else f"2·L·kv·d·{e:g} = 2·{shape.layers}·{shape.kv_heads}·{shape.head}·{e:g}"
    )
    sheet.step("KV cache per token", "每 token 的 KV cache", formula, size(each))
    window = f", {shape.local_layers}/{shape.layers}: min(s, {shape.window})" if shape.local_layers else ""
    sheet.step(
        "KV cache per sequence",
        "每条序列的 KV cache",
        f"{serving.sequence:,.0f} × {size(each)}{window}",
        size(serving.cache),
    )
    sheet.result("kv_per_sequence", serving.cache, "By")
    total = sheet.result("kv_total", serving.batch * serving.cache, "By")
    if serving.batch > 1:
        sheet.step("KV cache in all", "KV cache 合计", f"{serving.batch:g} × {size(serving.cache)}", size(total))


def _room(sheet: Sheet, serving: Serving, usable: float) -> None:
    sequences = sheet.result("sequences", serving.sequences(usable), "{sequence}")
    longest = sheet.result("longest_context", serving.longest(usable), "{token}")
    room = size(usable - serving.weights / serving.gpus - OVERHEAD)
    share = size(serving.cache * kv_share(serving.model.shape, serving.gpus))
    sheet.step(
        f"Sequences of {serving.sequence:,.0f} tokens that fit",
        f"可容纳 {serving.sequence:,.0f} token 的序列数",
        f"{room} / {share}",
        f"{sequences:,.0f}",
    )
    sheet.step(
        "Longest context by memory (the model's own limit may be lower)",
        "显存允许的最长上下文（模型自身上限可能更低）",
        f"{room} / KV",
        f"{longest:,.0f}",
    )


def _changes(sheet: Sheet, serving: Serving, usable: float) -> None:
    for kind, en, zh in (
        ("fp8", "8-bit weights", "8 位权重"),
        ("int4", "4-bit weights (AWQ or GPTQ)", "4 位权重（AWQ 或 GPTQ）"),
    ):
        other = Serving(serving.model, kind, serving.element, serving.sequence, serving.batch, serving.gpus)
        need = other.needed(serving.gpus)
        if BITS[kind] < BITS[serving.quantisation] and need <= usable:
            sheet.change(
                f"Use {en}: {size(need)} per GPU.", f"{zh}：每卡 {size(need)}。", f"{size(need)} ≤ {size(usable)}"
            )
    shorter = serving.longest(usable)
    if 0 < shorter < serving.sequence:
        sheet.change(
            f"Limit the context to {shorter:,} tokens.",
            f"上下文限制到 {shorter:,} token。",
            f"{shorter:,} < {serving.sequence:,.0f}",
        )
    number = _fewest(serving, usable)
    if number and number > serving.gpus:
        sheet.result("gpus_needed", number, "{gpu}")
        need = serving.needed(number)
        sheet.change(
            f"Split it over {number} such GPUs: {size(need)} per GPU.",
            f"张量并行到 {number} 张同样的卡：每卡 {size(need)}。",
            f"{size(need)} ≤ {size(usable)}",
        )


def _fewest(serving: Serving, usable: float) -> int | None:
    return fewest([(n, serving.needed(n)) for n in SPLITS], usable)


def _verdict(sheet: Sheet, serving: Serving, needed: float, usable: float) -> tuple[str, str]:
    where, gap = hardware_name(sheet, serving.gpus), size(abs(usable - needed))
    what = f"{serving.model.name} {serving.quantisation}"
    if needed <= usable:
        sequences = sheet.results["sequences"][0]
        return (
            sheet.say(f"It fits: {what} on {where}", f"放得下：{what}，{where}"),
            sheet.say(
                f"It needs {size(needed)} per GPU of {size(usable)} usable; {sequences:,.0f} sequences of "
                f"{serving.sequence:,.0f} tokens fit at once.",
                f"每卡需要 {size(needed)}，可用 {size(usable)}；"
                f"可同时容纳 {sequences:,.0f} 条 {serving.sequence:,.0f} token 的序列。",
            ),
        )
    return (
        sheet.say(f"It does not fit: {what} on {where}", f"放不下：{what}，{where}"),
        sheet.say(
            f"It needs {size(needed)} per GPU and {size(usable)} is usable: {gap} is missing.",
            f"每卡需要 {size(needed)}，可用 {size(usable)}，还差 {gap}。",
        ),
    )


def _on_which(sheet: Sheet, serving: Serving) -> Calculation:
    sizes = []
    for name in TYPICAL:
        gib = GPUS[name].memory
        if number := _fewest(serving, gib * GIB * USABLE):
            sizes.append(f"{number} × {gib:g} GB")
            sheet.result(f"gpus_of_{gib:g}_gb", number, "{gpu}")
    needed = serving.needed(1)
    joined = ", ".join(sizes) if sheet.lang == "en" else "、".join(sizes)
    return sheet.finish(
        sheet.say(
            f"{serving.model.name} {serving.quantisation}: {size(needed)}",
            f"{serving.model.name} {serving.quantisation}：{size(needed)}",
        ),
        sheet.say(
            f"It fits on {joined}." if sizes else "It fits on none of the common GPUs.",
            f"以下任一配置放得下：{joined}。" if sizes else "常见的 GPU 都放不下。",
        ),
    )

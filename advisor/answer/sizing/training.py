"""Will it fit to train: model states, activations and logits per GPU, against the memory there is."""

from __future__ import annotations

from dataclasses import replace

from advisor.answer.sizing.formulas import logit_bytes
from advisor.answer.sizing.hardware import GIB, GPUS, TYPICAL
from advisor.answer.sizing.plan import Plan
from advisor.answer.sizing.sheet import Calculation, Sheet, count, size
from advisor.answer.sizing.subject import (
    OVERHEAD,
    fewest,
    gpus_of,
    hardware_name,
    memory_of,
    model_of,
    overhead_step,
    weight_working,
    whole,
)

USABLE = 0.95  # of a GPU's memory; the rest goes to the driver, to ECC and to fragmentation of the allocator
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def training_memory(sheet: Sheet) -> Calculation:
    """The answer to "can I train it on this"."""
    plan, capacity = _plan(sheet), memory_of(sheet)
    if capacity and sheet.has("wanted") and (fitting := _fewest(plan, capacity * USABLE)):
        plan = replace(plan, gpus=float(fitting), stage=3 if fitting > 1 else plan.stage)
        sheet.result("gpus_needed", fitting, "{gpu}")
    _working(sheet, plan)
    sheet.result("needed_per_gpu", plan.needed, "By")
    if capacity is None:
        return _on_which(sheet, plan)
    usable = capacity * USABLE
    sheet.assume(
        "usable",
        USABLE,
        f"95 % of {size(capacity)} can be used; driver, ECC and fragmentation take the rest (our estimate).",
        f"{size(capacity)} 中 95% 可用，其余被驱动、ECC 和碎片占用（经验估计）。",
    )
    sheet.result("usable_per_gpu", usable, "By")
    sheet.result("spare_per_gpu", usable - plan.needed, "By")
    fits = plan.needed <= usable
    if fits:
        _largest_batch(sheet, plan, usable)
    else:
        _changes(sheet, plan, usable)
    return sheet.finish(*_verdict(sheet, plan, fits, usable))


def _plan(sheet: Sheet) -> Plan:
    model = model_of(sheet)
    gpus = 1.0 if sheet.has("wanted") else gpus_of(sheet)
    method = sheet.word("method", "full", "All parameters are trained (no LoRA).", "全参训练（不用 LoRA）。")
    optimizer = sheet.word("optimizer", "adamw", "AdamW.", "优化器为 AdamW。")
    precision = _precision(sheet)
    return Plan(
        model,
        method,
        optimizer,
        precision,
        _stage(sheet, gpus),
        gpus,
        sheet.number("batch", 1.0, "One sequence per GPU and micro-batch.", "每卡微批为 1 条序列。"),
        sheet.number("seq", 2048.0, "Sequences of 2,048 tokens.", "序列长度 2,048。"),
        sheet.word("recompute", "yes", "Full activation checkpointing.", "开启完整的激活重计算。") == "yes",
        sheet.word(
            "flash", "yes", "Fused attention (FlashAttention or SDPA).", "使用融合注意力（FlashAttention 或 SDPA）。"
        )
        == "yes",
        16.0
        if method == "full"
        else sheet.number("rank", 16.0, "LoRA of rank 16 on every linear layer.", "LoRA 秩 16，作用于所有线性层。"),
    )


def _precision(sheet: Sheet) -> str:
    if sheet.text("quant") == "fp32" and not sheet.has("precision"):
        return "fp32"
    return sheet.word(
        "precision",
        "mixed",
        "Mixed precision: 16-bit weights and gradients, a 32-bit copy in the optimizer.",
        "混合精度：16 位权重和梯度，优化器中保留一份 32 位权重。",
    )


def _stage(sheet: Sheet, gpus: float) -> int:
    if sheet.has("stage"):
        return int(sheet.stated("stage"))
    if gpus > 1:
        sheet.assume(
            "stage",
            3.0,
            f"Everything is sharded over the {gpus:g} GPUs (ZeRO-3 or FSDP); plain DDP keeps a whole copy on each.",
            f"在 {gpus:g} 张卡上全部分片（ZeRO-3 或 FSDP）；普通 DDP 每卡保留完整一份。",
        )
        return 3
    return 0


def _working(sheet: Sheet, plan: Plan) -> None:
    n, (w, g, o), each, model = count(plan.trained), plan.states, plan.each, plan.model
    if plan.method != "full":
        formula = weight_working(model.parameters, model.shape.embedding, plan.base_format)
        sheet.step(
            "Frozen base model",
            "冻结的基座模型",
            f"({formula}) / {plan.gpus:g}" if plan.stage == 3 and plan.gpus > 1 else formula,
            size(plan.base),
        )
        sheet.step(
            "Trained parameters (LoRA)",
            "可训练参数（LoRA）",
            f"r × Σ(in + out), r = {plan.rank:g}",
            f"{n} ({plan.trained / model.parameters:.2%})",
        )
        sheet.result("trained_parameters", plan.trained, "{parameter}")
        sheet.result("base", plan.base, "By")
    parts = [f" / {plan.gpus:g}" if plan.stage >= least and plan.gpus > 1 else "" for least in (3, 2, 1)]
    sheet.step("Weights", "权重", f"N × {each.weights:g} B = {n} × {each.weights:g}{parts[0]}", size(w))
    sheet.step("Gradients", "梯度", f"N × {each.gradients:g} B = {n} × {each.gradients:g}{parts[1]}", size(g))
    sheet.step(
        "Optimizer state", "优化器状态", f"N × {each.optimizer:g} B = {n} × {each.optimizer:g}{parts[2]}", size(o)
    )
    for name, value in zip(("weights", "gradients", "optimizer"), plan.states, strict=True):
        sheet.result(name, value, "By")
    _activation_step(sheet, plan)
    overhead_step(sheet)
    summands = [plan.base, *plan.states, plan.activations, OVERHEAD]
    added = " + ".join(size(summand) for summand in summands if summand)
    sheet.step("Needed per GPU", "每卡需要", added, f"{size(plan.needed)} ({plan.needed / 1e9:.3g} GB)")


def _activation_step(sheet: Sheet, plan: Plan) -> None:
    shape, s, b = plan.model.shape, plan.sequence, plan.batch
    inner = "34" if plan.flash else f"(34 + 5·{shape.heads}·{s:g}/{shape.hidden})"
    one = f"{s:g}·{b:g}·{shape.hidden}"
    formula = (
        f"2sbh·L + {'34sbh' if plan.flash else 'sbh(34 + 5as/h)'} = 2·{one}·{shape.layers} + {one}·{inner}"
        if plan.recompute
        else f"sbh·{'34' if plan.flash else '(34 + 5as/h)'}·L = {one}·{inner}·{shape.layers}"
    )
    logits = logit_bytes(shape, s, b)
    sheet.step("Activations", "激活值", formula, size(plan.activations - logits))
    if logits:
        sheet.step("Logits in 32 bits", "32 位 logits", f"4·s·b·V = 4·{s:g}·{b:g}·{shape.vocab}", size(logits))
    sheet.result("activations", plan.activations, "By")


def _largest_batch(sheet: Sheet, plan: Plan, usable: float) -> None:
    one = replace(plan, batch=1.0)
    fixed = one.needed - one.activations
    batch = whole((usable - fixed) / one.activations)
    sheet.result("largest_batch", batch, "{sequence}")
    sheet.step(
        "Largest micro-batch per GPU",
        "每卡最大微批",
        f"({size(usable)} - {size(fixed)}) / {size(one.activations)}",
        f"{batch:,}",
    )


def _alternatives(plan: Plan) -> list[tuple[str, str, Plan]]:
    """Changes from the cheapest to the dearest: what they are called, and the plan with them."""
    sharded = plan.stage if plan.gpus == 1 else 3
    adam = plan.optimizer == "adamw" and plan.method == "full"
    found = [
        ("a micro-batch of 1", "微批改为 1", replace(plan, batch=1.0), plan.batch > 1),
        ("activation checkpointing", "开启激活重计算", replace(plan, recompute=True), not plan.recompute),
        (
            "ZeRO-3 or FSDP over the GPUs there are",
            "用现有的卡做 ZeRO-3 或 FSDP",
            replace(plan, stage=3),
            plan.gpus > 1 and plan.stage < 3,
        ),
        ("8-bit Adam", "8-bit Adam", replace(plan, optimizer="adam8bit", stage=sharded, recompute=True), adam),
        (
            "LoRA (rank 16)",
            "LoRA（秩 16）",
            replace(plan, method="lora", stage=sharded, recompute=True),
            plan.method == "full",
        ),
        (
            "QLoRA (4-bit base, rank 16)",
            "QLoRA（4 位基座，秩 16）",
            replace(plan, method="qlora", stage=sharded, recompute=True),
            plan.method != "qlora",
        ),
    ]
    return [(en, zh, other) for en, zh, other, possible in found if possible]


def _changes(sheet: Sheet, plan: Plan, usable: float) -> None:
    for en, zh, other in _alternatives(plan):
        if other.needed <= usable:
            sheet.change(
                f"Use {en}: {size(other.needed)} per GPU.",
                f"{zh}：每卡 {size(other.needed)}。",
                f"{size(other.needed)} ≤ {size(usable)}",
            )
    offloaded = plan.needed - plan.states.optimizer
    if plan.method == "full" and offloaded <= usable:
        host = size(plan.states.optimizer * plan.gpus)
        sheet.change(
            (
                f"Offload the optimizer state to host memory (ZeRO-Offload): {size(offloaded)} per "
                f"GPU, {host} of RAM, slower steps."
            ),
            f"把优化器状态卸载到主机内存（ZeRO-Offload）：每卡 {size(offloaded)}，占用内存 {host}，每步更慢。",
            f"{size(plan.needed)} - {size(plan.states.optimizer)}",
        )
    more = _fewest(plan, usable)
    if more and more > plan.gpus:
        sheet.result("gpus_needed", more, "{gpu}")
        need = replace(plan, stage=3, gpus=float(more)).needed
        sheet.change(
            f"Use {more} such GPUs with ZeRO-3 or FSDP: {size(need)} per GPU.",
            f"改用 {more} 张同样的卡做 ZeRO-3 或 FSDP：每卡 {size(need)}。",
            f"{size(need)} ≤ {size(usable)}",
        )


def _fewest(plan: Plan, usable: float) -> int | None:
    return fewest([(n, replace(plan, stage=3, gpus=float(n)).needed) for n in COUNTS], usable)


def _what(sheet: Sheet, plan: Plan) -> str:
    how = {"full": ("full training", "全参训练"), "lora": ("LoRA", "LoRA 微调"), "qlora": ("QLoRA", "QLoRA 微调")}[
        plan.method
    ]
    return sheet.say(f"{how[0]} of {plan.model.name}", f"{plan.model.name} {how[1]}")


def _verdict(sheet: Sheet, plan: Plan, fits: bool, usable: float) -> tuple[str, str]:
    where, what = hardware_name(sheet, plan.gpus), _what(sheet, plan)
    gap = size(abs(usable - plan.needed))
    if fits:
        return (
            sheet.say(f"It fits: {what} on {where}", f"放得下：{what}，{where}"),
            sheet.say(
                f"It needs {size(plan.needed)} per GPU of {size(usable)} usable; {gap} is left for a larger batch.",
                f"每卡需要 {size(plan.needed)}，可用 {size(usable)}，余 {gap} 可用来增大批次。",
            ),
        )
    return (
        sheet.say(f"It does not fit: {what} on {where}", f"放不下：{what}，{where}"),
        sheet.say(
            f"It needs {size(plan.needed)} per GPU and {size(usable)} is usable: {gap} is missing on each.",
            f"每卡需要 {size(plan.needed)}，可用 {size(usable)}，每卡还差 {gap}。",
        ),
    )


def _on_which(sheet: Sheet, plan: Plan) -> Calculation:
    """No GPU was named: how many of the common sizes it takes."""
    sizes = []
    for name in TYPICAL:
        gib = GPUS[name].memory
        if number := _fewest(plan, gib * GIB * USABLE):
            sizes.append(f"{number} × {gib:g} GB")
            sheet.result(f"gpus_of_{gib:g}_gb", number, "{gpu}")
    what = _what(sheet, plan)
    title = sheet.say(f"{what[0].upper()}{what[1:]}: {size(plan.needed)} per GPU", f"{what}：每卡 {size(plan.needed)}")
    joined = ", ".join(sizes) if sheet.lang == "en" else "、".join(sizes)
    return sheet.finish(
        title,
        sheet.say(
            f"With ZeRO-3 or FSDP it fits on {joined}." if sizes else "It fits on none of the common GPUs.",
            f"用 ZeRO-3 或 FSDP 时，以下任一配置放得下：{joined}。" if sizes else "常见的 GPU 都放不下。",
        ),
    )

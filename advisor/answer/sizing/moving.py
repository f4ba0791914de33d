"""Exchange, pipeline, checkpoints and loading: how long, how much, how many."""

from __future__ import annotations

from advisor.answer.sizing.formulas import checkpoint_each, ring_seconds, young_interval
from advisor.answer.sizing.sheet import Calculation, Sheet, count, duration, rate, size
from advisor.answer.sizing.subject import gpu_of, model_of
from advisor.derive.loading import workers_needed
from advisor.derive.parallel import microbatches_for_a_tenth, pipeline_bubble
from advisor.text import percent

HOSTS, PER_HOST = 2.0, 8.0


def all_reduce(sheet: Sheet) -> Calculation:
    """How long reducing the gradients takes on a link, at its nominal rate."""
    size_all = _gradient_bytes(sheet)
    if not sheet.has("link_rate"):
        return sheet.finish(
            sheet.say(f"{size_all / 1e9:.3g} GB per all-reduce", f"每次 all-reduce {size_all / 1e9:.3g} GB"),
            sheet.say("For the time, the link is missing.", "要算时间，还缺链路带宽。"),
            sheet.say(
                "Over which link: NVLink, PCIe, or a network of how many Gb/s?",
                "走什么链路：NVLink、PCIe，还是多少 Gb/s 的网络？",
            ),
        )
    speed, network = sheet.stated("link_rate"), sheet.text("network") == "yes"
    ranks = _ranks(sheet, network)
    seconds = ring_seconds(size_all, ranks, speed)
    sheet.step(
        sheet.text("link"),
        sheet.text("link"),
        f"2(n-1)/n · S / B = 2·{ranks - 1:g}/{ranks:g}·{size_all / 1e9:.3g} GB / {rate(speed)}",
        duration(seconds),
    )
    inner = _inner(sheet, size_all) if network else 0.0
    total = sheet.result("seconds", seconds + inner, "s")
    limit = sheet.result("many_ranks_seconds", 2 * size_all / speed, "s")
    return sheet.finish(
        sheet.say(f"At least {duration(total)} per all-reduce", f"每次 all-reduce 至少 {duration(total)}"),
        sheet.say(
            (
                f"That is at the nominal rate of the link, which real bus bandwidth stays below. "
                f"However many ranks there are, it is less than {duration(limit)} at that rate."
            ),
            f"按链路标称速率计算，实际 bus bandwidth 会更低。按该速率，无论多少个 rank 都不超过 {duration(limit)}。",
        ),
    )


def _gradient_bytes(sheet: Sheet) -> float:
    if sheet.has("bytes"):
        return sheet.result("bytes", sheet.stated("bytes"), "By")
    model = model_of(sheet) if sheet.has("model") else None
    n = model.parameters if model else sheet.stated("params")
    wide = sheet.word("quant", "fp16", "Gradients in 16 bits.", "梯度为 16 位。") == "fp32"
    each = 4.0 if wide else 2.0
    sheet.step("Gradients", "梯度", f"N × {each:g} B = {count(n)} × {each:g}", f"{n * each / 1e9:.3g} GB")
    return sheet.result("bytes", n * each, "By")


def _ranks(sheet: Sheet, network: bool) -> float:
    if network:
        if sheet.has("nodes"):
            return sheet.stated("nodes")
        gpus = sheet.stated("gpus")
        hosts = gpus / PER_HOST if gpus > PER_HOST and gpus % PER_HOST == 0 else gpus if gpus > 1 else HOSTS
        en = f"{hosts:g} hosts, each with one such port."
        sheet.assume("nodes", hosts, en, f"{hosts:g} 台主机，每台一个这样的网口。")
        return hosts
    return sheet.number("gpus", PER_HOST, "8 GPUs in one host.", "单机 8 卡。")


def _inner(sheet: Sheet, size_all: float) -> float:
    """The part inside each host, over NVLink, where several GPUs share the network port."""
    gpu, hosts = gpu_of(sheet), sheet.stated("nodes")
    local = sheet.stated("gpus") / hosts if hosts else 0.0
    if gpu is None or not gpu.nvlink or local <= 1:
        return 0.0
    seconds = ring_seconds(size_all, local, gpu.nvlink)
    sheet.step(
        f"Inside the host, NVLink ({gpu.name})",
        f"机内 NVLink（{gpu.name}）",
        f"2·{local - 1:g}/{local:g}·{size_all / 1e9:.3g} GB / {rate(gpu.nvlink)}",
        duration(seconds),
    )
    return seconds


def bubble(sheet: Sheet) -> Calculation:
    """The idle share of a pipeline step."""
    stages, chunks = sheet.stated("stages"), sheet.stated("chunks", 1.0)
    batches = sheet.number(
        "microbatches",
        4 * stages,
        f"{4 * stages:g} micro-batches (four per stage).",
        f"{4 * stages:g} 个微批（每级 4 个）。",
    )
    share = sheet.result("bubble", float(pipeline_bubble(stages, batches, chunks) or 0.0), "1")
    formula = f"(p-1) / (v·m + p-1) = {stages - 1:g} / ({chunks:g}·{batches:g} + {stages - 1:g})"
    sheet.step("Bubble", "气泡占比", formula, percent(share, sheet.lang))
    tenth = float(microbatches_for_a_tenth(stages, chunks) or 0.0)
    if tenth:
        sheet.result("microbatches_for_a_tenth", tenth, "{batch}")
        sheet.step(
            "Micro-batches for a bubble of 10 %",
            "气泡占 10% 所需微批数",
            f"9(p-1)/v = 9·{stages - 1:g}/{chunks:g}",
            f"{tenth:g}",
        )
    return sheet.finish(
        sheet.say(f"Pipeline bubble: {percent(share)} of a step", f"流水线气泡：占每步的 {percent(share, 'zh-Hans')}"),
        sheet.say(
            f"{stages:g} stages, {batches:g} micro-batches, {chunks:g} chunks per stage.",
            f"{stages:g} 级，{batches:g} 个微批，每级 {chunks:g} 个分块。",
        ),
    )


def checkpoint(sheet: Sheet) -> Calculation:
    """How large a checkpoint is, how long writing it takes, and how often saving pays."""
    total = _checkpoint_bytes(sheet)
    title = sheet.say(f"Checkpoint: {total / 1e9:,.4g} GB", f"检查点：{total / 1e9:,.4g} GB")
    if not sheet.has("write_rate"):
        said = sheet.say(
            "With the write bandwidth given, the time to write it follows.", "给出写入带宽即可算出写入时间。"
        )
        return sheet.finish(title, said)
    speed = sheet.stated("write_rate")
    save = sheet.result("seconds", total / speed, "s")
    sheet.step("Time to write", "写入时间", f"{total / 1e9:,.4g} GB / {rate(speed)}", duration(save))
    lede = sheet.say(
        f"Writing it at {rate(speed)} takes {duration(save)}.", f"以 {rate(speed)} 写入需要 {duration(save)}。"
    )
    if sheet.has("failures"):
        between = sheet.stated("failures")
        every = sheet.result("interval", young_interval(save, between), "s")
        sheet.step(
            "Best interval (Young)",
            "最佳间隔（Young）",
            f"√(2·save·MTBF) = √(2·{duration(save)}·{duration(between)})",
            duration(every),
        )
        lede = sheet.say(f"{lede} Save every {duration(every)}.", f"{lede}每 {duration(every)} 保存一次最合适。")
    return sheet.finish(title, lede)


def _checkpoint_bytes(sheet: Sheet) -> float:
    if sheet.has("bytes"):
        return sheet.result("bytes", sheet.stated("bytes"), "By")
    n = model_of(sheet).parameters if sheet.has("model") else sheet.stated("params")
    optimizer = sheet.word(
        "optimizer", "adamw", "With the state of AdamW, to resume from.", "含 AdamW 状态，可用于恢复训练。"
    )
    precision = sheet.word(
        "precision",
        "mixed",
        "Mixed precision: 16-bit weights besides 32-bit ones.",
        "混合精度：16 位权重外加 32 位权重。",
    )
    each = checkpoint_each(precision, optimizer)
    total = n * each
    sheet.step(
        "Checkpoint", "检查点", f"N × {each:g} B = {count(n)} × {each:g}", f"{total / 1e9:,.4g} GB ({size(total)})"
    )
    weights = sheet.result("weights_only", n * 2, "By")
    sheet.step("Weights alone, 16 bits", "仅权重（16 位）", f"N × 2 B = {count(n)} × 2", f"{weights / 1e9:,.4g} GB")
    return sheet.result("bytes", total, "By")


def loader_workers(sheet: Sheet) -> Calculation:
    """How many loader workers keep up with a step."""
    step = sheet.stated("step_time")
    if sheet.has("load_time"):
        load = sheet.stated("load_time")
    else:
        one, batch = sheet.stated("sample_time"), sheet.stated("batch")
        load = one * batch
        sheet.step("Time to load a batch", "加载一个 batch 的时间", f"{batch:g} × {duration(one)}", duration(load))
    least = load / step
    needed = sheet.result("workers", float(workers_needed(load, step, None) or 0.0), "{worker}")
    sheet.step(
        "Workers that just keep up",
        "刚好跟上所需的 worker 数",
        f"load / step = {duration(load)} / {duration(step)}",
        f"{least:.3g}",
    )
    sheet.step(
        "With a quarter more for the spread of load times",
        "另加四分之一应对加载时间波动",
        f"⌈1.25 × {least:.3g}⌉",
        f"{needed:g}",
    )
    return sheet.finish(
        sheet.say(f"{needed:g} loader workers per process", f"每个训练进程需要 {needed:g} 个加载 worker"),
        sheet.say(
            (
                "Per GPU process; on one host they share the CPU cores, so the sum over its processes "
                "must not exceed them."
            ),
            "按每个 GPU 进程计；同一台机器上各进程共享 CPU 核，总数不要超过核数。",
        ),
    )

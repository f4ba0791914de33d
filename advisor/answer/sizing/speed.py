"""How fast: MFU from tokens/s, the bound on decoding, and the time that training takes."""

from __future__ import annotations

from advisor.answer.sizing.formulas import (
    decode_bound,
    training_flops_per_token,
    training_seconds,
    utilisation,
)
from advisor.answer.sizing.hardware import Gpu
from advisor.answer.sizing.inference import serving_of
from advisor.answer.sizing.sheet import Calculation, Sheet, count, duration, rate, size
from advisor.answer.sizing.subject import gpu_of, gpus_of, hardware_name, model_of
from advisor.text import percent, plain

MFU = 0.4  # what good large runs reach: PaLM 46 % (arXiv 2204.02311), Llama 3 38 to 43 % (arXiv 2407.21783)


def tera(flops: float) -> str:
    """FLOP/s in units of 10^12.

    >>> tera(1.582e16), tera(2.5e11)
    ('15,820', '0.25')
    """
    return plain(flops / 1e12)


def mfu(sheet: Sheet) -> Calculation:
    """Model FLOPs utilisation from the tokens per second of a training run."""
    model, gpu = model_of(sheet), gpu_of(sheet)
    gpus = gpus_of(sheet)
    rate_in = sheet.stated("tokens_per_second")
    tokens = rate_in * gpus if sheet.has("per_gpu") else rate_in
    if not sheet.has("per_gpu") and gpus > 1:
        sheet.assume("scope", "all", "The tokens/s are those of all GPUs together.", "tokens/s 为所有卡合计。")
    each = _flops_step(sheet, model.active, model.shape.layers, model.shape.heads * model.shape.head)
    done = sheet.result("flops", tokens * each, "{flop}/s")
    sheet.step("Useful FLOP/s", "有效 FLOP/s", f"{plain(tokens)} × {each:.4g}", f"{tera(done)} TFLOP/s")
    if gpu is None:
        return sheet.finish(
            sheet.say(f"{tera(done)} TFLOP/s of useful work", f"有效算力 {tera(done)} TFLOP/s"),
            sheet.say("For the MFU, the peak of the GPUs is missing.", "要算 MFU，还缺 GPU 的峰值算力。"),
            sheet.say("Which GPUs are they, and how many?", "用的是什么 GPU，几张？"),
        )
    share = sheet.result("mfu", utilisation(tokens, each, gpus, gpu.peak), "1")
    _peak_step(sheet, gpu, gpus)
    sheet.step("MFU", "MFU", f"{tera(done)} / {tera(gpus * gpu.peak)}", percent(share, sheet.lang))
    where = hardware_name(sheet, gpus)
    title = sheet.say(
        f"MFU {percent(share)}: {model.name} on {where}", f"MFU {percent(share, 'zh-Hans')}：{model.name}，{where}"
    )
    return sheet.finish(title, _judged(sheet, share))


def _judged(sheet: Sheet, share: float) -> str:
    if share > 1:
        return sheet.say(
            (
                "More than the peak is not possible: check whether the tokens/s, the model size and "
                "the number of GPUs belong together."
            ),
            "不可能超过峰值：请检查 tokens/s、模型大小和卡数是否对应。",
        )
    return sheet.say(
        "Large runs that are tuned well reach 38 to 46 % in 16 bits.",
        "调优良好的大规模训练在 16 位精度下可达 38% 到 46%。",
    )


def _flops_step(sheet: Sheet, parameters: float, layers: int, width: int) -> float:
    """FLOPs per token, with attention's part where the model and the sequence length are known."""
    known = sheet.has("model", "seq")
    sequence = sheet.stated("seq") if known else 0.0
    if not known:
        sheet.assume(
            "attention",
            0.0,
            (
                "Attention's own products (12 L h s) are left out, as the model or the sequence "
                "length is not stated; the MFU comes out a little low."
            ),
            "未给出模型或序列长度，忽略注意力自身的计算（12 L h s），MFU 会略偏低。",
        )
    each = training_flops_per_token(parameters, layers, width, sequence)
    extra = (
        f" + 12·L·h·s = 6·{count(parameters)} + 12·{layers}·{width}·{sequence:g}"
        if known
        else f" = 6·{count(parameters)}"
    )
    sheet.step("FLOPs per token", "每 token 的 FLOPs", f"6·N{extra}", f"{each:.4g}")
    return each


def _peak_step(sheet: Sheet, gpu: Gpu, gpus: float) -> None:
    peak = gpus * gpu.peak
    sheet.assume(
        "peak",
        gpu.peak,
        f"Peak of {gpu.name}: {gpu.peak / 1e12:g} TFLOP/s, dense, 16 bits.",
        f"{gpu.name} 的峰值：{gpu.peak / 1e12:g} TFLOP/s（稠密，16 位）。",
    )
    sheet.step("Peak", "峰值", f"{gpus:g} × {gpu.peak / 1e12:g} TFLOP/s", f"{tera(peak)} TFLOP/s")


def decode_speed(sheet: Sheet) -> Calculation:
    """The most tokens per second that memory bandwidth allows when generating."""
    serving, gpu = serving_of(sheet), gpu_of(sheet)
    cache = serving.cache
    read = serving.weights * serving.model.active / serving.model.parameters
    if serving.model.active < serving.model.parameters:
        sheet.assume(
            "experts",
            1.0,
            "Each step reads the experts of one token; a larger batch reads more of them.",
            "每步只读取一个 token 用到的专家；批次越大读得越多。",
        )
    sheet.step("Weights read per step", "每步读取的权重", f"{count(serving.model.active)} × bits / 8", size(read))
    sheet.step("KV cache read per sequence", "每条序列读取的 KV cache", f"{serving.sequence:,.0f} × KV", size(cache))
    if gpu is None:
        return sheet.finish(
            sheet.say(f"Each step reads {size(read + cache)}", f"每步读取 {size(read + cache)}"),
            sheet.say("For the speed, the memory bandwidth is missing.", "要算速度，还缺显存带宽。"),
            sheet.say("Which GPU is it, and how many?", "用的是什么 GPU，几张？"),
        )
    bandwidth = gpu.bandwidth * serving.gpus
    bound = sheet.result("tokens_per_second", decode_bound(bandwidth, read, cache, serving.batch), "{token}/s")
    sheet.result("per_sequence", bound / serving.batch, "{token}/s")
    formula = (
        f"b·BW / (W + b·KV) = {serving.batch:g}·{rate(bandwidth)} / ({size(read)} + {serving.batch:g}·{size(cache)})"
    )
    sheet.step("Tokens/s at most", "tokens/s 上限", formula, f"{bound:,.4g}")
    where = hardware_name(sheet, serving.gpus)
    return sheet.finish(
        sheet.say(
            f"At most {bound:,.3g} tokens/s: {serving.model.name} on {where}",
            f"最多 {bound:,.3g} tokens/s：{serving.model.name}，{where}",
        ),
        sheet.say(
            "That is what memory bandwidth allows; a real server stays below it.",
            "这是显存带宽决定的上限，实际服务会低于它。",
        ),
    )


def training_time(sheet: Sheet) -> Calculation:
    """How long training on so many tokens takes, and what it costs."""
    model, gpu = model_of(sheet), gpu_of(sheet)
    tokens = sheet.stated("tokens")
    total = sheet.result("flops", 6 * model.active * tokens, "{flop}")
    sheet.step("FLOPs in all", "总 FLOPs", f"6·N·D = 6·{count(model.active)}·{count(tokens)}", f"{total:.4g}")
    if gpu is None:
        return sheet.finish(
            sheet.say(f"{total:.3g} FLOPs", f"{total:.3g} FLOPs"),
            sheet.say("For the time, the GPUs are missing.", "要算时间，还缺 GPU。"),
            sheet.say("Which GPUs are they, and how many?", "用什么 GPU，几张？"),
        )
    gpus = gpus_of(sheet)
    share = sheet.number(
        "mfu",
        MFU,
        "An MFU of 40 %, as large runs that are tuned well reach.",
        "MFU 按 40% 计（调优良好的大规模训练水平）。",
    )
    _peak_step(sheet, gpu, gpus)
    seconds = sheet.result("seconds", training_seconds(model.active, tokens, gpus, gpu.peak, share), "s")
    hours = sheet.result("gpu_hours", seconds * gpus / 3600, "h")
    sheet.step("Time", "时间", f"{total:.4g} / ({gpus * gpu.peak:.4g} × {share:g})", duration(seconds))
    sheet.step("GPU hours", "卡时", f"{duration(seconds)} × {gpus:g}", f"{hours:,.0f}")
    if sheet.has("price"):
        cost = sheet.result("cost", hours * sheet.stated("price"), "1")
        sheet.step("Cost", "成本", f"{hours:,.0f} × {sheet.stated('price'):g}", f"{cost:,.0f}")
    where = hardware_name(sheet, gpus)
    return sheet.finish(
        sheet.say(
            f"About {duration(seconds)}: {model.name}, {count(tokens)} tokens on {where}",
            f"约 {duration(seconds)}：{model.name}，{count(tokens)} token，{where}",
        ),
        sheet.say(f"{hours:,.0f} GPU hours, without restarts and evaluation.", f"{hours:,.0f} 卡时，不含重启和评估。"),
    )

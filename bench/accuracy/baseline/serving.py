"""Model servers: what one tells of itself at night, on a normal day and when it is full but not late.

Decoding reads all weights and the KV cache of the batch once per token, prefill computes 2 FLOPs per parameter and
token (arXiv 2211.05102); requests running follow from rate and duration by Little's law. KV bytes per token are
those of the models' published shapes (8B with grouped queries 128 KiB, 70B 320 KiB, 7B without 512 KiB).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.gpu import GpuLoad
from bench.accuracy.baseline.host import Load
from bench.accuracy.baseline.machines import GIB, Gpu, Machine

KIB = 1024.0
# Nobody who cares for readers admits more requests than can be served in time: between the interactive and the server
# limits of MLPerf Inference (0.45 to 2 s to the first token, 0.04 to 0.2 s per token, Llama 2 70B).
FIRST_S, TOKEN_S = 0.9, 0.09
FILL = {"night": (0.0005, 0.02), "day": (0.15, 0.5), "full": (0.72, 0.88)}


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is served."""

    name: str
    parameters: float
    kv: float  # bytes per token
    weight_bytes: float = 2.0
    active: float = 1.0
    context: int = 32768


MODELS = {
    m.name: m
    for m in (
        Model("llama-8b", 8e9, 128 * KIB),
        Model("llama-8b-fp8", 8e9, 128 * KIB, 1.0),
        Model("llama-8b-awq", 8e9, 128 * KIB, 0.6, context=8192),
        Model("qwen-1.5b", 1.5e9, 28 * KIB),
        Model("qwen-32b-fp8", 32e9, 256 * KIB, 1.0),
        Model("llama-70b", 70e9, 320 * KIB),
        Model("llama-70b-fp8", 70e9, 320 * KIB, 1.0),
        Model("mixtral-8x7b", 46.7e9, 128 * KIB, active=0.28),
    )
}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the clients send: tokens per prompt and answer, the share of the prompt that others share."""

    level: str
    prompt: int
    answer: int
    shared: float


@dataclass(frozen=True, slots=True)
class Served:
    """A server under traffic: the figures that everything else follows from."""

    running: float
    per_token: float
    prefill: float
    queue: float
    capacity: float
    fill: float
    rate: float
    duration: float


def serve(draw: Draw, model: Model, machine: Machine, gpus: int, traffic: Traffic) -> Served | None:
    """The steady state of `model` on `gpus` GPUs of the machine, or None where it does not fit."""
    gpu = machine.gpu
    assert gpu is not None
    weights = model.parameters * model.weight_bytes
    pool = 0.9 * gpu.memory * gpus - weights - 2.5 * GIB * gpus
    length = traffic.prompt + traffic.answer / 2
    capacity = pool / model.kv
    if capacity < 6 * length:
        return None
    fill = draw(*FILL[traffic.level])
    running = min(256.0, max(0.02, fill * capacity / length))
    flops, bandwidth = gpu.flops * gpus * 0.5, gpu.bandwidth * gpus * 0.65
    work = 2 * model.parameters * model.active
    most = (0.6 * TOKEN_S * bandwidth - weights) / (length * model.kv)  # requests that the cache is read for in time
    running = min(running, 0.6 * TOKEN_S * flops / work, max(most, 1.0))
    read = weights * min(1.0, model.active * max(1.0, running / 4)) + running * length * model.kv
    prefill = traffic.prompt * (1 - 0.9 * traffic.shared) * work / flops + 0.012
    decode = max(read / bandwidth, running * work / flops) + 0.002 * (1 + 0.3 * (gpus > 1))
    duration = prefill + traffic.answer * decode
    rate = running / duration
    busy = min(0.6, rate * prefill)  # decoding stands still or shares the step while others prefill
    per_token = decode / (1 - busy)
    if prefill > FIRST_S or per_token > TOKEN_S:
        return None
    queue = draw(0.0005, 0.004) if traffic.level != "full" else draw(0.002, 0.04)
    duration = queue + prefill + (traffic.answer - 1) * per_token
    return Served(
        running, per_token, prefill, queue, capacity, running * length / capacity, running / duration, duration
    )


def llm_facts(draw: Draw, framework: str, model: Model, traffic: Traffic, gpus: int, served: Served) -> Facts:
    """What vLLM, SGLang and TGI tell at their metrics endpoint and in their log."""
    first = served.queue + served.prefill * draw(1.0, 1.3)
    tail = draw(1.1, 1.6) if traffic.level == "night" else draw(1.4, 3.0)
    waiting = draw(0.0, 2.0) if traffic.level == "full" else 0.0
    facts: Facts = {
        "run.phase": "serving",
        "run.framework": framework,
        "run.gpu.used": True,
        "gen_ai.server.time_to_first_token": nice(first),
        "gen_ai.server.time_per_output_token": nice(served.per_token),
        "gen_ai.server.request.duration": nice(served.duration + first - served.queue - served.prefill),
        "gen_ai.server.queue.time": served.queue,
        "gen_ai.server.requests.running": nice(served.running),
        "gen_ai.server.requests.waiting": waiting,
        "gen_ai.server.requests.waiting.trend": draw(-0.002, 0.002) if waiting else 0.0,
        "gen_ai.server.prefill.time": nice(served.prefill),
        "gen_ai.server.generation_tokens.rate": nice(served.rate * traffic.answer),
        "gen_ai.server.prompt_tokens.rate": nice(served.rate * traffic.prompt * (1 - 0.9 * traffic.shared)),
        "gen_ai.server.prompt_tokens.mean": traffic.prompt,
        "gen_ai.server.requests.rate": nice(served.rate),
        "gen_ai.server.batch.size.mean": nice(max(1.0, served.running)),
        # Clients ask for some thousand tokens and most answers end long before.
        "gen_ai.server.max_tokens.ratio": nice(traffic.answer / draw.one(512, 1024, 2048, 4096)),
        "gen_ai.server.frontend.cpu.utilization": nice(0.02 + min(0.7, served.rate * traffic.answer * 6e-5)),
        "gen_ai.server.ttft_client_gap": draw(0.001, 0.015),
        "gen_ai.server.startup.time": nice(25 + model.parameters * model.weight_bytes / 1.5e9 + draw(0, 60)),
        "config.context.length": _context(model, served),
        "config.tensor_parallel.size": gpus,
        "config.model.device": "cuda",
    }
    if framework in ("vllm", "sglang"):
        facts |= _paged(draw, framework, model, traffic, served, tail)
    return facts


def _context(model: Model, served: Served) -> int:
    """The longest request that is allowed; a server whose cache is smaller than one such request does not start."""
    return min(model.context, 2 ** int(math.log2(served.capacity)))


def _paged(draw: Draw, framework: str, model: Model, traffic: Traffic, served: Served, tail: float) -> Facts:
    hits = 0.9 * traffic.shared * draw(0.9, 1.0)
    facts: Facts = {
        "gen_ai.server.inter_token_latency": nice(served.per_token),
        "gen_ai.server.inter_token_latency.p99": nice(served.per_token * tail),
        "gen_ai.server.inter_token_latency.tail_ratio": tail,
        "gen_ai.server.inference.time": nice(served.duration - served.queue),
        "gen_ai.server.kv_cache.utilization": nice(served.fill),
        "gen_ai.server.kv_cache.utilization.peak": nice(min(0.97, served.fill * draw(1.02, 1.15))),
        "gen_ai.server.kv_cache.capacity": nice(served.capacity),
        "gen_ai.server.kv_cache.concurrency": nice(served.capacity / _context(model, served)),
        "gen_ai.server.preemptions.rate": 0.0,
        "gen_ai.server.prefix_cache.hit_rate": nice(hits),
        "gen_ai.server.prompt.shared_prefix.fraction": traffic.shared,
        "gen_ai.server.scheduler.cpu.utilization": nice(0.05 + 0.8 * min(1.0, served.running / 100)),
        "gen_ai.server.engine.idle.fraction": draw(0.01, 0.08),
        "gen_ai.server.weights.load.time": nice(model.parameters * model.weight_bytes / 1.5e9),
        "gen_ai.server.cuda_graph.fraction": draw(0.9, 1.0),
        "gen_ai.server.replica.load.imbalance": draw(1.0, 1.15) if served.running > 2 else 1.0,
        "config.enforce_eager": False,
        "config.prefix_caching": True,
        "config.kv_cache.dtype": "auto",
        "config.quantization": {2.0: "none", 1.0: "fp8"}.get(model.weight_bytes, "awq"),
        "config.attention.backend": "FLASH_ATTN" if framework == "vllm" else "fa3",
        "config.offload": False,
    }
    if framework == "sglang":
        facts["gen_ai.server.grammar.time"] = draw(0.0, 0.008)
    if draw.chance(0.15):
        facts |= {
            "gen_ai.server.spec.acceptance_rate": draw(0.6, 0.85),
            "gen_ai.server.spec.accept_length": draw(2.2, 3.4),
        }
    return facts


def triton_facts(draw: Draw, level: str) -> Facts:
    """A network for images behind Triton with dynamic batching."""
    rate = {"night": draw(0.1, 3), "day": draw(60, 200), "full": draw(400, 900)}[level]
    batch = {"night": 1.0, "day": draw(1.5, 4), "full": draw(6, 14)}[level]
    inference = 0.004 + 0.0006 * batch
    queue = draw(0.0003, 0.002)
    return {
        "run.phase": "serving",
        "run.framework": "triton",
        "run.gpu.used": True,
        "gen_ai.server.request.duration": nice(queue + inference + draw(0.0002, 0.001)),
        "gen_ai.server.queue.time": queue,
        "gen_ai.server.inference.time": nice(inference),
        "gen_ai.server.requests.rate": nice(rate),
        "gen_ai.server.requests.running": nice(rate * inference),
        "gen_ai.server.requests.waiting": 0.0,
        "gen_ai.server.batch.size.mean": batch,
        "gen_ai.server.frontend.cpu.utilization": nice(0.01 + rate * 6e-4),
        "config.model.device": "cuda",
    }


def loads(draw: Draw, gpu: Gpu, level: str, gpus: int, cores: float) -> tuple[Load, GpuLoad]:
    """What a server asks of host and GPUs; vLLM and SGLang take nine tenths of the memory when they start."""
    util = {"night": draw(0.0, 0.04), "day": draw(0.35, 0.85), "full": draw(0.9, 0.99)}[level]
    host = Load(
        cores=cores + 1.1 * gpus * util, main=min(1.0, 0.1 + util), processes=2 + gpus, threads=draw.whole(60, 300),
        memory=draw(4, 14) * GIB + 3 * GIB * gpus, write=draw.scale(1e3, 1e5), network=draw.scale(1e4, 3e6),
        duration=300, age=draw.scale(3e3, 9e5),
    )  # fmt: skip
    device = GpuLoad(
        util=util, matrix=0.25 * util, dram=0.7 * util, memory=gpu.memory * draw(0.89, 0.945), rx=draw.scale(1e5, 3e7),
        links=4e9 * util if gpu.links and gpus > 1 else 0.0, used=gpus, steady=0.01 if level != "day" else 0.12,
    )  # fmt: skip
    return host, device

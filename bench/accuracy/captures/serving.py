"""Metrics pages of vLLM, SGLang, TGI and Triton, and the log of vLLM, of a simulated server."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.accuracy.captures.engine import APART_S, DEFAULTS, WARM_S, Moment, simulate
from bench.accuracy.captures.exposition import family, histogram, page
from bench.accuracy.captures.machine import Machine

BOOT = 1_741_690_000.0
_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
            80.0, 160.0, 640.0)  # fmt: skip
_REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)
_GAPS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def replicas(machine: Machine) -> list[tuple[Moment, ...]]:
    """The moments of every server: one, or several where the description has shares of the load."""
    told = {**DEFAULTS, **machine.section("serving")}
    shares = told.get("replicas") or [1.0]
    rates = [told["rate"] * share for share in shares] if told.get("replicas") else [told["rate"]]
    return [simulate(f"{machine.name} {i}", told | {"rate": rate}) for i, rate in enumerate(rates)]


def _pages(machine: Machine) -> list[tuple[int, str, dict[str, Any], Moment]]:
    """Replica, suffix of the file, description and moment, for two pages of each server."""
    told = {**DEFAULTS, **machine.section("serving")}
    out = []
    for i, moments in enumerate(replicas(machine)):
        for n, at in enumerate((WARM_S, WARM_S + APART_S)):
            moment = next(m for m in moments if m.at >= at - 1)
            out.append((i, f"{i}-{n}", told, moment))
    return out


def vllm(machine: Machine) -> dict[str, str]:
    """Two pages of ``/metrics`` of each vLLM server (V1), 60 s apart."""
    return {f"vllm-{name}.prom": _stamped(_vllm(i, told, m), m.at) for i, name, told, m in _pages(machine)}


def _stamped(text: str, at: float) -> str:
    """With the time of the scrape, as a federation endpoint or a saved query gives it."""
    stamp = round((BOOT + at) * 1000)
    return "".join(f"{line if line.startswith('#') else f'{line} {stamp}'}\n" for line in text.splitlines())


def _vllm(replica: int, told: dict[str, Any], m: Moment) -> str:
    labels = {"engine": "0", "model_name": MODEL} | (
        {"instance": f"10.2.0.{replica}:8000"} if told.get("replicas") else {}
    )
    c = m.counters
    gauges = {"num_requests_running": m.running, "num_requests_waiting": m.waiting, "kv_cache_usage_perc": m.used}
    counters = {
        "prefix_cache_queries": c["asked"], "prefix_cache_hits": c["hit"], "num_preemptions": c["preempted"],
        "prompt_tokens": c["prompt"], "generation_tokens": round(c["generated"]),
    }  # fmt: skip
    if told["drafts"]:
        counters |= {"spec_decode_num_drafts": c["drafts"], "spec_decode_num_draft_tokens": c["drafted"],
                     "spec_decode_num_accepted_tokens": round(c["accepted"])}  # fmt: skip
    cache = {
        "block_size": 16, "cache_dtype": "auto", "calculate_kv_scales": "False", "cpu_offload_gb": told.get("offload_gb", 0),
        "enable_prefix_caching": told.get("prefix_caching", True), "engine": "0", "gpu_memory_utilization": 0.9,
        "num_gpu_blocks": told["kv_tokens"] // 16, "num_gpu_blocks_override": "None", "swap_space": 4,
    }  # fmt: skip
    done = {"stop": 0.8 * c["finished"], "length": 0.2 * c["finished"], "abort": 0.0}
    parts = [family(f"vllm:{name}", "gauge", [(labels, value)]) for name, value in gauges.items()]
    parts += [family(f"vllm:{name}_total", "counter", [(labels, value)]) for name, value in counters.items()]
    parts.append(family("vllm:request_success_total", "counter", [
        ({**labels, "finished_reason": why}, round(count)) for why, count in done.items()]))  # fmt: skip
    parts.append(family("vllm:cache_config_info", "gauge", [(cache, 1)], "Information of the LLMEngine CacheConfig"))
    wanted = told.get("max_tokens") or 1.6 * told["output"]
    for name, bounds, seen in (
        ("time_to_first_token_seconds", _SECONDS, m.seen["ttft"]), ("inter_token_latency_seconds", _GAPS, m.seen["itl"]),
        ("request_time_per_output_token_seconds", _GAPS, m.seen["tpot"]),
        ("e2e_request_latency_seconds", _REQUEST, m.seen["e2e"]), ("request_queue_time_seconds", _REQUEST, m.seen["queue"]),
        ("request_inference_time_seconds", _REQUEST, m.seen["inference"]),
        ("request_prefill_time_seconds", _REQUEST, m.seen["prefill"]),
        ("request_prompt_tokens", _TOKENS, m.seen["prompts"]), ("request_generation_tokens", _TOKENS, m.seen["outputs"]),
        ("request_params_max_tokens", _TOKENS, [(wanted, w) for _, w in m.seen["outputs"]]),
    ):  # fmt: skip
        parts.append(histogram(f"vllm:{name}", labels, bounds, seen))
    return page(*parts, *_process(m, c["cpu"]))


def _process(m: Moment, cpu: float) -> list[list[str]]:
    return [
        family("process_cpu_seconds_total", "counter", [({}, 31.4 + cpu)]),
        family("process_start_time_seconds", "gauge", [({}, BOOT - 60)]),
        family("process_resident_memory_bytes", "gauge", [({}, 3.91e9)]),
        family("process_open_fds", "gauge", [({}, 92 + m.running)]),
        family("python_gc_collections_total", "counter", [({"generation": g}, 900 - 300 * g) for g in range(3)]),
        family("python_info", "gauge", [({"implementation": "CPython", "version": "3.12.9"}, 1)]),
    ]


def sglang(machine: Machine) -> dict[str, str]:
    """Two pages of each SGLang server."""
    return {f"sglang-{name}.prom": _stamped(_sglang(told, m), m.at) for _, name, told, m in _pages(machine)}


def _sglang(told: dict[str, Any], m: Moment) -> str:
    labels = {"engine_type": "unified", "model_name": MODEL, "pp_rank": 0, "tp_rank": 0}
    c, seconds = m.counters, max(1.0, m.at)
    gauges = {
        "num_running_reqs": m.running, "num_queue_reqs": m.waiting, "token_usage": round(m.used, 4),
        "num_used_tokens": round(m.used * told["kv_tokens"]), "gen_throughput": round(c["generated"] / seconds, 2),
        "cache_hit_rate": round(c["hit"] / max(1.0, c["asked"]), 4), "max_total_num_tokens": told["kv_tokens"],
        "num_grammar_queue_reqs": 0, "spec_accept_length": 1 + told["drafts"] * told["acceptance"] if told["drafts"] else 0,
    }  # fmt: skip
    counters = {"prompt_tokens": c["prompt"], "generation_tokens": round(c["generated"]), "cached_tokens": c["hit"],
                "num_requests": c["finished"], "num_aborted_requests": 0, "num_retracted_requests": c["preempted"]}  # fmt: skip
    parts = [family(f"sglang:{name}", "gauge", [(labels, value)]) for name, value in gauges.items()]
    parts += [family(f"sglang:{name}_total", "counter", [(labels, value)]) for name, value in counters.items()]
    for name, bounds, seen in (
        ("time_to_first_token_seconds", _SECONDS, m.seen["ttft"]), ("inter_token_latency_seconds", _GAPS, m.seen["itl"]),
        ("e2e_request_latency_seconds", _REQUEST, m.seen["e2e"]), ("queue_time_seconds", _REQUEST, m.seen["queue"]),
        ("prompt_tokens_histogram", _TOKENS, m.seen["prompts"]),
        ("grammar_compilation_time_seconds", _SECONDS, m.seen["grammar"]),
    ):  # fmt: skip
        if seen:
            parts.append(histogram(f"sglang:{name}", labels, bounds, seen))
    return page(*parts)


def tgi(machine: Machine) -> dict[str, str]:
    """Two pages of each TGI server."""
    return {f"tgi-{name}.prom": _stamped(_tgi(told, m), m.at) for _, name, told, m in _pages(machine)}


def _tgi(told: dict[str, Any], m: Moment) -> str:
    parts = [
        family("tgi_queue_size", "gauge", [({}, m.waiting)]),
        family("tgi_batch_current_size", "gauge", [({}, m.running)]),
        family("tgi_batch_current_max_tokens", "gauge", [({}, told["kv_tokens"])]),
        family("tgi_request_success", "counter", [({"method": "generate"}, m.counters["finished"])]),
        family("tgi_request_count", "counter", [({}, m.counters["came"])]),
    ]
    wanted = told.get("max_tokens") or 1.6 * told["output"]
    for name, bounds, seen in (
        ("request_duration", _REQUEST, m.seen["e2e"]), ("request_inference_duration", _REQUEST, m.seen["inference"]),
        ("request_queue_duration", _REQUEST, m.seen["queue"]), ("request_input_length", _TOKENS, m.seen["prompts"]),
        ("request_generated_tokens", _TOKENS, m.seen["outputs"]),
        ("request_max_new_tokens", _TOKENS, [(wanted, w) for _, w in m.seen["outputs"]]),
        ("request_mean_time_per_token_duration", _GAPS, m.seen["tpot"]),
    ):  # fmt: skip
        parts.append(histogram(f"tgi_{name}", {}, bounds, seen))
    passes = [(value, 1.0) for value, _ in m.seen["itl"]]
    parts.append(histogram("tgi_batch_inference_duration", {"method": "decode"}, _GAPS, passes))
    parts.append(histogram("tgi_batch_inference_duration", {"method": "prefill"}, _GAPS, m.seen["prefill"]))
    return page(*parts)


_START = """\
INFO 03-11 11:{a:02d}:02 [api_server.py:1043] vLLM API server version 0.8.5
INFO 03-11 11:{a:02d}:02 [api_server.py:1044] args: Namespace(host=None, port=8000, model='{model}', max_model_len={length}, gpu_memory_utilization=0.9, max_num_seqs={seqs}, enforce_eager={eager}, quantization={quant}, cpu_offload_gb={offload}, enable_prefix_caching={prefix}, tensor_parallel_size={tp})
INFO 03-11 11:{a:02d}:11 [config.py:2003] Chunked prefill is enabled with max_num_batched_tokens={budget}.
INFO 03-11 11:{a:02d}:18 [core.py:58] Initializing a V1 LLM engine (v0.8.5) with config: model='{model}', tokenizer='{model}', dtype=torch.bfloat16, max_seq_len={length}, tensor_parallel_size={tp}, pipeline_parallel_size=1, quantization={quant}, enforce_eager={eager}, kv_cache_dtype=auto, device_config=cuda, enable_prefix_caching={prefix}, chunked_prefill_enabled=True
INFO 03-11 11:{a:02d}:25 [gpu_model_runner.py:1329] Starting to load model {model}...
INFO 03-11 11:{b:02d}:{bs:02d} [loader.py:458] Loading weights took {weights:.2f} seconds
INFO 03-11 11:{b:02d}:{bs:02d} [gpu_model_runner.py:1347] Model loading took 14.9889 GiB and {took:.6f} seconds
INFO 03-11 11:{c:02d}:{cs:02d} [kv_cache_utils.py:634] GPU KV cache size: {kv:,} tokens
INFO 03-11 11:{c:02d}:{cs:02d} [kv_cache_utils.py:637] Maximum concurrency for {length:,} tokens per request: {room:.2f}x
{graphs}INFO 03-11 11:{d:02d}:{ds:02d} [core.py:159] init engine (profile, create kv cache, warmup model) took {init:.2f} seconds
INFO 03-11 11:{d:02d}:{ds:02d} [api_server.py:1090] Starting vLLM API server on http://0.0.0.0:8000
INFO:     Started server process [1]
INFO:     Waiting for application startup.
INFO:     Application startup complete.
"""
_GRAPHS = (
    "INFO 03-11 11:{c:02d}:{cs:02d} [gpu_model_runner.py:1686] Graph capturing finished in 22 secs, took 0.53 GiB\n"
)


def vllm_log(machine: Machine) -> dict[str, str]:
    """The log of one vLLM server: its start, requests and a line of status every 10 s."""
    told = {**DEFAULTS, **machine.section("serving")}
    moments = replicas(machine)[0]
    lines = _started(told).splitlines()
    before = moments[0]
    for m in moments[1:]:
        lines += _served(before, m)
        before = m
    return {"vllm.log": "\n".join(lines) + "\n"}


def _started(told: dict[str, Any]) -> str:
    weights, init = told.get("load_s", 6.1), told.get("init_s", 38.0)
    moments = [25 + weights + 0.5, 25 + weights + init * 0.45, 25 + weights + init]
    clocks = [(10 + int(t) // 60, int(t) % 60) for t in moments]
    (b, bs), (c, cs), (d, ds) = clocks
    length, kv = told.get("context", 8192), told["kv_tokens"]
    values = {"a": 10, "b": b, "bs": bs, "c": c, "cs": cs, "d": d, "ds": ds}
    return _START.format(
        **values, model=MODEL, length=length, seqs=told["max_seqs"], eager=told.get("eager", False),
        quant=told.get("quantization"), offload=told.get("offload_gb", 0), prefix=told.get("prefix_caching", True),
        budget=told["budget"], weights=weights, took=weights + 0.6, kv=kv, room=kv / length, init=init,
        tp=told.get("tp", 1), graphs="" if told.get("eager") else _GRAPHS.format(**values),
    )  # fmt: skip


def _served(before: Moment, m: Moment) -> Sequence[str]:
    def rate(name: str) -> float:
        return (m.counters[name] - before.counters[name]) / (m.at - before.at)

    clock = f"03-11 11:{20 + int(m.at) // 60:02d}:{int(m.at) % 60:02d}"
    done = round(m.counters["finished"] - before.counters["finished"])
    access = [
        f'INFO:     10.2.7.{i % 200}:4{i % 10}122 - "POST /v1/chat/completions HTTP/1.1" 200 OK' for i in range(done)
    ]
    hits = 100 * m.counters["hit"] / max(1.0, m.counters["asked"])
    status = (
        f"INFO {clock} [loggers.py:111] Engine 000: Avg prompt throughput: {rate('prompt'):.1f} tokens/s, "
        f"Avg generation throughput: {rate('generated'):.1f} tokens/s, Running: {m.running} reqs, Waiting: {m.waiting} reqs, "
        f"GPU KV cache usage: {100 * m.used:.1f}%, Prefix cache hit rate: {hits:.1f}%"
    )
    drafted = rate("drafted")
    drafts = []
    if drafted:
        share = rate("accepted") / drafted
        drafts = [
            f"INFO {clock} [metrics.py:86] SpecDecoding metrics: Draft acceptance rate: {100 * share:.1f}%, Mean acceptance "
            f"length: {1 + rate('accepted') / rate('drafts'):.2f}, Accepted: {rate('accepted') * 10:.0f} tokens, Drafted: "
            f"{drafted * 10:.0f} tokens"
        ]
    return [*access, status, *drafts]


def triton(machine: Machine) -> dict[str, str]:
    """Two pages of a Triton server with one model; its queue is the one of the description."""
    return {f"triton-{name}.prom": _stamped(_triton(m), m.at) for _, name, _, m in _pages(machine)}


def _triton(m: Moment) -> str:
    labels = {"model": "encoder", "version": "1"}
    done = m.counters["finished"]
    us = {
        "request": sum(v for v, _ in m.seen["e2e"]), "queue": sum(v for v, _ in m.seen["queue"]),
        "compute_infer": sum(v for v, _ in m.seen["inference"]), "compute_input": 0.0004 * done,
        "compute_output": 0.0003 * done,
    }  # fmt: skip
    size = max(1.0, m.counters["generated"] / max(1.0, m.counters["steps"]))
    parts = [
        family("nv_inference_request_success", "counter", [(labels, done)]),
        family("nv_inference_request_failure", "counter", [({**labels, "reason": "OTHER"}, 0)]),
        family("nv_inference_count", "counter", [(labels, done)]),
        family("nv_inference_exec_count", "counter", [(labels, round(done / size))]),
        family("nv_inference_pending_request_count", "gauge", [(labels, m.waiting)]),
    ]
    parts += [family(f"nv_inference_{n}_duration_us", "counter", [(labels, round(v * 1e6))]) for n, v in us.items()]
    gpu = {"gpu_uuid": "GPU-00000001-5ca1-ab1e-0000-000000000001"}
    for name, value in (("utilization", min(1.0, m.counters["busy"] / m.at)), ("memory_used_bytes", 3.1e10),
                        ("memory_total_bytes", 8.5e10), ("power_usage", 310.0), ("power_limit", 700.0)):  # fmt: skip
        parts.append(family(f"nv_gpu_{name}", "gauge", [(gpu, value)]))
    return page(*parts)

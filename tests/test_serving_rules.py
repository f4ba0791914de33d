"""Server metrics end to end: a real endpoint is scraped, and the right rule fires, with its number, or none."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from metrics_server import Page, counter, gauge, histogram, serving, vllm
from prometheus_client.core import Metric

from advisor.models import Diagnosis
from advisor.pipeline import Advisor


@pytest.fixture(scope="module")
def advisor() -> Advisor:
    return Advisor()


def look(advisor: Advisor, *pages: Page, seconds: float = 0.3) -> Diagnosis:
    from contextlib import ExitStack

    with ExitStack() as stack:
        urls = [stack.enter_context(serving(page)) for page in pages]
        return advisor.diagnose_endpoint(urls[0], seconds, urls[1:])


def rules(diagnosis: Diagnosis) -> set[str]:
    return {finding.rule.id for finding in diagnosis.findings}


def value(diagnosis: Diagnosis, name: str) -> object:
    fact = diagnosis.profile.facts.get(f"gen_ai.server.{name}")
    return fact.value if fact else None


def test_a_healthy_vllm_server_is_healthy(advisor: Advisor) -> None:
    seen = look(advisor, vllm)

    assert rules(seen) == set()
    assert seen.verdict == "healthy"
    assert "5 s" in seen.reason.en
    assert [s.state for s in seen.profile.sources] == ["ok"]
    assert value(seen, "time_to_first_token") == pytest.approx(0.2)
    assert value(seen, "requests.running") == 40


def test_a_server_without_traffic_is_not_called_healthy(advisor: Advisor) -> None:
    idle = look(advisor, lambda n: vllm(n, running=0, tokens=0, done=0, gaps=[(0.02, 0)]))

    assert idle.verdict == "inconclusive"
    assert rules(idle) == set()
    assert value(idle, "request.duration") is None
    assert value(idle, "generation_tokens.rate") == 0


@pytest.mark.parametrize("old", [False, True])
def test_a_full_cache_that_preempts(advisor: Advisor, old: bool) -> None:
    seen = look(advisor, lambda n: vllm(n, cache=0.97, preempted=5, waiting=2, old=old))

    assert "kv-cache-preemption" in rules(seen)
    assert value(seen, "kv_cache.utilization") == pytest.approx(0.97)


def test_requests_that_wait(advisor: Advisor) -> None:
    seen = look(advisor, lambda n: vllm(n, waiting=120, queue=3.0, ttft=3.4, duration=9.0, cache=0.95))

    assert "queue-buildup" in rules(seen)
    assert value(seen, "queue.fraction") == pytest.approx(3.0 / 3.4)


def test_long_prompts_between_the_tokens_of_others(advisor: Advisor) -> None:
    seen = look(advisor, lambda n: vllm(n, prompt=6000, gaps=[(0.02, 960), (0.7, 40)]))

    assert "prefill-stalls-decode" in rules(seen)
    assert value(seen, "inter_token_latency.p99") == pytest.approx(
        0.6875
    )  # 30 of the 40 in the bucket from 0.5 to 0.75


def test_preemption_explains_the_same_pauses(advisor: Advisor) -> None:
    seen = look(advisor, lambda n: vllm(n, prompt=6000, gaps=[(0.02, 960), (0.7, 40)], preempted=5, cache=0.97))

    assert "prefill-stalls-decode" not in rules(seen)
    assert "kv-cache-preemption" in rules(seen)


def test_a_small_batch_with_a_queue(advisor: Advisor) -> None:
    small = look(advisor, lambda n: vllm(n, running=4, waiting=30, cache=0.2, queue=2.0, ttft=2.2, duration=8.0))
    full = look(advisor, lambda n: vllm(n, running=4, waiting=30, cache=0.9, queue=2.0, ttft=2.2, duration=8.0))

    assert "decode-batch-too-small" in rules(small)
    assert "decode-batch-too-small" not in rules(full)


def test_few_clients(advisor: Advisor) -> None:
    assert "client-underload" in rules(look(advisor, lambda n: vllm(n, running=2, cache=0.05)))


def test_slow_prefill(advisor: Advisor) -> None:
    assert "ttft-prefill-bound" in rules(look(advisor, lambda n: vllm(n, prefill=3.0, ttft=3.3, duration=20.0)))


def test_uneven_data_parallel_engines(advisor: Advisor) -> None:
    load = {(("engine", "0"),): 90.0, (("engine", "1"),): 10.0}
    queue = {(("engine", "0"),): 30.0, (("engine", "1"),): 0.0}
    seen = look(advisor, lambda n: vllm(n, running=load, waiting=queue, queue=2.0, ttft=2.5, duration=9.0))

    assert "replica-imbalance" in rules(seen)
    assert value(seen, "replica.load.imbalance") == pytest.approx(1.8)
    assert value(seen, "requests.running") == 100
    assert value(seen, "requests.waiting") == 30


def test_replicas_at_two_addresses_are_one_service(advisor: Advisor) -> None:
    seen = look(advisor, lambda n: vllm(n, running=60), lambda n: vllm(n, running=20))

    assert value(seen, "requests.running") == 80
    assert value(seen, "replica.load.imbalance") == pytest.approx(1.5)
    assert len(seen.profile.sources) == 1


def test_drafts_that_are_thrown_away(advisor: Advisor) -> None:
    drafts = {
        "vllm__spec_decode_num_drafts": 100,
        "vllm__spec_decode_num_draft_tokens": 400,
        "vllm__spec_decode_num_accepted_tokens": 40,
    }
    seen = look(advisor, lambda n: vllm(n, **drafts))

    assert "spec-decode-low-acceptance" in rules(seen)
    assert value(seen, "spec.acceptance_rate") == pytest.approx(0.1)
    assert value(seen, "spec.accept_length") == pytest.approx(1.4)


def test_a_low_hit_rate_needs_to_know_what_prompts_share(advisor: Advisor) -> None:
    cache = {"vllm__prefix_cache_queries": 1000, "vllm__prefix_cache_hits": 20}
    seen = look(advisor, lambda n: vllm(n, **cache))

    assert value(seen, "prefix_cache.hit_rate") == pytest.approx(0.02)
    missing = {i.rule: i.missing for i in seen.incomplete}
    assert missing["prefix-cache-low-hit"] == ("gen_ai.server.prompt.shared_prefix.fraction",)


def dcgm(util: float, **fields: float) -> list[Metric]:
    gpu = {"gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "n1"}
    page = {"DCGM_FI_DEV_GPU_UTIL": util, "DCGM_FI_DEV_FB_USED": 70_000, "DCGM_FI_DEV_FB_FREE": 11_000, **fields}
    return [gauge(name, number, **gpu) for name, number in page.items()]


def test_an_exporter_of_gpus_completes_the_picture(advisor: Advisor) -> None:
    slow = [(0.2, 1000.0)]
    page: Page = lambda n: vllm(n, gaps=slow, duration=20)  # noqa: E731
    seen = look(advisor, page, lambda _: dcgm(98, DCGM_FI_PROF_DRAM_ACTIVE=0.8))

    assert "tpot-decode-bound" in rules(seen)
    assert seen.profile.facts["hw.gpu.dram.active"].value == 0.8
    assert {s.note.split(";")[0] for s in seen.profile.sources} == {"vLLM", "DCGM exporter"}


def test_a_fatal_xid(advisor: Advisor) -> None:
    seen = look(advisor, lambda _: dcgm(0, DCGM_FI_DEV_XID_ERRORS=79))

    assert "xid-critical" in rules(seen)
    assert seen.profile.facts["hw.gpu.xid.last"].where == "gpu 0"


def sglang(n: int, *, running: float = 40, waiting: float = 0, used: float = 0.6, **extra: float) -> list[Metric]:
    me = {"model_name": "m", "engine_type": "unified", "tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}
    page = [
        gauge("sglang:num_running_reqs", running, **me),
        gauge("sglang:num_queue_reqs", waiting, **me),
        gauge("sglang:token_usage", used, **me),
        counter("sglang:realtime_tokens", 4000 * n, mode="decode", **me),
        counter("sglang:num_requests", 10 * n, model_name="m"),
        histogram("sglang:time_to_first_token_seconds", [(0.3, 10 * n)], model_name="m"),
        histogram("sglang:e2e_request_latency_seconds", [(6.0, 10 * n)], model_name="m"),
        histogram("sglang:queue_time_seconds", [(0.01, 10 * n)], **me),
    ]
    for name, number in extra.items():
        page.append(gauge(f"sglang:{name}", number, **me))
    return page


def test_a_healthy_sglang_server(advisor: Advisor) -> None:
    seen = look(advisor, sglang)

    assert (rules(seen), seen.verdict) == (set(), "healthy")


def test_an_engine_that_idles_with_requests(advisor: Advisor) -> None:
    seen = look(advisor, lambda n: sglang(n, fwd_occupancy=61.0))

    assert "scheduler-host-overhead" in rules(seen)
    assert value(seen, "engine.idle.fraction") == pytest.approx(0.39)


def test_decode_without_graphs(advisor: Advisor) -> None:
    def page(n: int) -> Iterable[Metric]:
        passes = {(("mode", "decode_cuda_graph"),): 10.0 * n, (("mode", "decode_none"),): 90.0 * n}
        return [*sglang(n, running=8), counter("sglang:cuda_graph_passes", passes, model_name="m", tp_rank="0")]

    seen = look(advisor, page, lambda _: dcgm(55))

    assert "cuda-graphs-disabled" in rules(seen)
    assert value(seen, "cuda_graph.fraction") == pytest.approx(0.1)


def test_slow_grammars_and_a_slow_start(advisor: Advisor) -> None:
    def page(n: int) -> Iterable[Metric]:
        phases = {(("phase", "load_weight"),): 193.0, (("phase", "scheduler_e2e"),): 245.0}
        slow = histogram("sglang:grammar_compilation_time_seconds", [(0.2, 5 * n)], model_name="m")
        return [*sglang(n), slow, gauge("sglang:startup_time_seconds", phases, model_name="m")]

    seen = look(advisor, page)

    assert {"grammar-overhead", "cold-start-slow"} <= rules(seen)
    assert value(seen, "startup.time") == 245
    assert value(seen, "weights.load.time") == 193


def tgi(n: int, *, size: float = 30, queue: float = 0) -> list[Metric]:
    return [
        gauge("tgi_batch_current_size", size),
        gauge("tgi_queue_size", queue),
        gauge("tgi_request_success", 10 * n),  # TGI's counters lack _total; a gauge has the same text
        histogram("tgi_request_duration", [(4.0, 10 * n)]),
        histogram("tgi_request_queue_duration", [(0.02, 10 * n)]),
        histogram("tgi_request_generated_tokens", [(200, 10 * n)], (100, 1000)),
        histogram("tgi_batch_inference_duration", [(0.03, 100 * n)], method="decode"),
    ]


def test_tgi_with_a_queue_and_without(advisor: Advisor) -> None:
    calm, busy = look(advisor, tgi), look(advisor, lambda n: tgi(n, queue=80))

    assert (rules(calm), calm.verdict) == (set(), "healthy")
    assert "queue-buildup" in rules(busy)
    assert value(busy, "time_per_output_token") == pytest.approx(0.03)


def triton(n: int, *, waiting: float = 0, executions: float = 1, util: float = 0.9) -> list[Metric]:
    me = {"model": "bert", "version": "1"}
    return [
        gauge("nv_inference_pending_request_count", waiting, **me),
        gauge("nv_inference_request_success", 32 * n, **me),
        gauge("nv_inference_count", 32 * n, **me),
        gauge("nv_inference_exec_count", executions * n, **me),
        gauge("nv_inference_request_duration_us", 32 * n * 40_000, **me),
        gauge("nv_inference_queue_duration_us", 32 * n * 10_000, **me),
        gauge("nv_inference_compute_infer_duration_us", 32 * n * 30_000, **me),
        gauge("nv_gpu_utilization", util, gpu_uuid="GPU-1"),
    ]


def test_triton_without_batching(advisor: Advisor) -> None:
    batched, single = look(advisor, triton), look(advisor, lambda n: triton(n, waiting=20, executions=32, util=0.3))

    assert (rules(batched), batched.verdict) == (set(), "healthy")
    assert value(batched, "batch.size.mean") == 32
    assert "decode-batch-too-small" in rules(single)
    assert value(single, "queue.time") == pytest.approx(0.01)


def stalled(**facts: float) -> dict[str, object]:
    start = {"run.phase": "serving", "run.duration": 60.0, "gen_ai.server.generation_tokens.rate": 0.0}
    return {"facts": {**start, "gen_ai.server.requests.running": 3.0, **facts}}


def test_an_embedding_server_is_not_stalled(advisor: Advisor) -> None:
    """The rule needs a minute, so the window is stretched: facts as scraped, a duration as stated."""
    seen = look(advisor, lambda n: vllm(n, running=3, tokens=0, done=50))
    dead = look(advisor, lambda n: vllm(n, running=3, tokens=0, done=0))
    rates = [value(d, "requests.rate") for d in (seen, dead)]

    assert rates[0] > 0
    assert rates[1] == 0
    alive, hung = (advisor.diagnose(stalled(**{"gen_ai.server.requests.rate": rate})) for rate in rates)
    assert "server-stalled" not in rules(alive)
    assert "server-stalled" in rules(hung)

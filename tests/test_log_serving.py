"""Logs of model servers -> facts, exactly: every generation of their lines, whatever stands around them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.derive import with_derived
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.pipeline import Advisor
from advisor.profile import SCALE
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.log.serving.clock import Clock
from advisor.readers.read import opened
from advisor.readers.recognise import recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "vllm_log"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real server logs here")
SPECS = kb.load().facts
ADVISOR = Advisor()
GEN = "gen_ai.server."

V0 = """\
INFO 02-28 23:59:50 metrics.py:334] Avg prompt throughput: 100.0 tokens/s, Avg generation throughput: 40.0 tokens/s, \
Running: 4 reqs, Swapped: 0 reqs, Pending: 10 reqs, GPU KV cache usage: 80.0%, CPU KV cache usage: 0.0%.
INFO 02-28 23:59:55 metrics.py:334] Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 0.0 tokens/s, \
Running: 0 reqs, Swapped: 0 reqs, Pending: 0 reqs, GPU KV cache usage: 0.0%, CPU KV cache usage: 0.0%.
WARNING 03-01 00:00:00 scheduler.py:1057] Sequence group 7 is preempted by PreemptionMode.RECOMPUTE mode because there \
is not enough KV cache space. This can affect the end-to-end performance. total_num_cumulative_preemption=1
WARNING 03-01 00:00:05 scheduler.py:1057] Sequence group 9 is preempted by PreemptionMode.RECOMPUTE mode because there \
is not enough KV cache space. This can affect the end-to-end performance. total_num_cumulative_preemption=51
INFO 03-01 00:00:10 metrics.py:334] Avg prompt throughput: 300.0 tokens/s, Avg generation throughput: 60.0 tokens/s, \
Running: 6 reqs, Swapped: 0 reqs, Pending: 30 reqs, GPU KV cache usage: 99.0%, CPU KV cache usage: 0.0%.
INFO 03-01 00:00:10 metrics.py:361] Prefix cache hit rate: GPU: 25.50%, CPU: 0.00%
"""


def v1(clock: str, engine: str, running: int, waiting: int, cache: float, more: str = "") -> str:
    return (
        f"(APIServer pid=7) INFO 07-10 {clock} [loggers.py:123] Engine {engine}: Avg prompt throughput: "
        f"{running * 100}.0 tokens/s, Avg generation throughput: {running * 10}.0 tokens/s, "
        f"Running: {running} reqs, Waiting: {waiting} "
        f"reqs, {more}GPU KV cache usage: {cache}%, Prefix cache hit rate: {running}.0%\n"
    )


V1 = (
    v1("10:00:00", "000", 4, 10, 50.0, "Preemptions: 2, ")
    + v1("10:00:00", "001", 12, 0, 90.0)
    + v1("10:00:10", "000", 6, 20, 60.0, "Preemptions: 3, ")
    + v1("10:00:11", "001", 14, 0, 94.0)
)

SGLANG = """\
[2025-12-02 12:03:00 TP0] Prefill batch. #new-seq: 1, #new-token: 1000, #cached-token: 1000, token usage: 0.00, \
#running-req: 0, #queue-req: 0
[2025-12-02 12:03:01 TP0] Decode batch. #running-req: 40, #token: 59, token usage: 0.90, cuda graph: True, \
gen throughput (token/s): 0.96, #queue-req: 10
[2025-12-02 12:03:01 TP1] Decode batch. #running-req: 40, #token: 59, token usage: 0.90, cuda graph: True, \
gen throughput (token/s): 0.96, #queue-req: 10
[2025-12-02 12:03:03 TP0] Decode batch, #running-req: 44, #token: 59, token usage: 0.94, cuda graph: False, \
gen throughput (token/s): 1000.0, #queue-req: 12
[2025-12-02 12:03:03 TP0] KV cache pool is full. Retract requests. #retracted_reqs: 2, #new_token_ratio: 0.09 -> 0.34
[2025-12-02 12:03:05 TP0] Prefill batch, #new-seq: 1, #new-token: 3000, #cached-token: 0, full token usage: 0.90, \
swa token usage: 0.10, #running-req: 44, #queue-req: 11, input throughput (token/s): 3.0
[2025-12-02 12:03:11 TP0] Decode batch, #running-req: 42, #full token: 59, full token usage: 0.98, accept len: 2.50, \
accept rate: 0.50, cuda graph: True, gen throughput (token/s): 2000.0, #queue-req: 14
[2025-12-02 12:10:00 TP0] Prefill batch, #new-seq: 1, #new-token: 9000, #cached-token: 0, token usage: 0.00, \
#running-req: 0, #queue-req: 0
"""


def told(text: str, origin: str = "server.log") -> Told:
    artefact = Artefact(origin, data=text.encode())
    kind = recognise(artefact)
    if kind is None:
        raise InputError("binary")
    (found,) = kind.read([artefact], no_tick)
    return found


def facts(text: str) -> dict[str, Value]:
    """Every fact, in the vocabulary, with its unit and within its range; the server's own without their prefix."""
    found: dict[str, Value] = {}
    for reading in told(text).readings:
        assert isinstance(reading, Reading)
        assert reading.source.kind == "log"
        for fact in reading.facts:
            spec = SPECS[fact.name]
            assert fact.unit == spec.unit or (fact.unit, spec.unit) in SCALE, fact.name
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact.name
                assert spec.high is None or fact.value <= spec.high, fact.name
            found.setdefault(fact.name.removeprefix(GEN), fact.value)
    return found


def refused(text: str) -> str:
    """The sentence with which a text is refused; empty when it is read."""
    try:
        facts(text)
    except InputError as error:
        return str(error)
    return ""


def first_rule(text: str) -> str | None:
    findings = ADVISOR._diagnose_told(told(text), (), ()).findings
    return findings[0].rule.id if findings else None


# --- vLLM -----------------------------------------------------------------------------


def test_v0_tells_means_of_the_busy_lines_and_preemptions_over_the_end_of_february() -> None:
    found = facts(V0)

    assert found["run.framework"] == "vllm"
    assert (found["requests.running"], found["requests.waiting"]) == (5, 20)
    assert (found["prompt_tokens.rate"], found["generation_tokens.rate"]) == (200, 50)
    assert (found["kv_cache.utilization"], found["kv_cache.utilization.peak"]) == (pytest.approx(0.895), 0.99)
    assert found["prefix_cache.hit_rate"] == pytest.approx(0.255)
    assert found["preemptions.count"] == 51  # the warning comes for the first and for every 50th after it
    assert found["requests.waiting.trend"] == 1.0
    assert told(V0).seconds == 20


def test_preemptions_are_told_over_the_time_of_the_log() -> None:
    assert facts(V0)["preemptions.rate"] == pytest.approx(51 / 20)
    assert first_rule(V0) == "kv-cache-preemption"


def test_engines_add_up_and_the_fullest_cache_counts() -> None:
    found = facts(V1)

    assert (found["requests.running"], found["requests.waiting"]) == (18, 15)
    assert (found["prompt_tokens.rate"], found["generation_tokens.rate"]) == (1800, 180)
    assert found["kv_cache.utilization"] == pytest.approx(0.92)
    assert found["batch.size.mean"] == 9
    assert found["replica.load.imbalance"] == pytest.approx(13 * 2 / 18)
    assert found["prefix_cache.hit_rate"] == pytest.approx(0.10)
    assert found["preemptions.count"] == 5
    assert found["preemptions.rate"] == pytest.approx(3 / 11)
    series = told(V1).readings[0].series["gen_ai.server.requests.running"]
    assert (series.t, series.v) == ((0.0, 10.0), (16.0, 20.0))


def test_facts_name_their_line() -> None:
    (reading,) = told("$ tail server.log\n" + V1).readings
    where = {f.name: f.where for f in reading.facts}

    assert where[GEN + "kv_cache.utilization.peak"] == "server.log:5"
    assert where[GEN + "preemptions.count"] == "server.log:2"


@pytest.mark.parametrize(
    "prefix", ["[rank0]: ", "2: ", "> ", "vllm-1  | ", "2025-07-10T09:00:00.5Z stdout F ", "\x1b[36m"]
)
def test_what_stands_before_a_line_changes_nothing(prefix: str) -> None:
    assert facts("".join(prefix + line + "\n" for line in V1.splitlines())) == facts(V1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    artefact = Artefact("server.log", data=V1.replace("\n", end).encode(encoding))
    kind = recognise(artefact)
    assert kind is not None
    assert kind.read([artefact], no_tick)[0].readings[0].facts == told(V1).readings[0].facts


def test_noise_and_other_logs_around() -> None:
    around = "why?\n```\nepoch 1 loss 2.5\n" + V1 + "```\nTraceback (most recent call last):\n" + "x" * 5000 + "\n"

    assert facts(around) == facts(V1)


def test_containers_are_replicas() -> None:
    lines = [f"vllm-{i % 2} | {line}" for i, line in enumerate(V1.replace("Engine 001", "Engine 000").splitlines())]

    assert facts("\n".join(lines))["requests.running"] == 18


def test_the_sum_over_engines_does_not_count_twice() -> None:
    both = v1("10:00:00", "000", 8, 2, 40.0) + v1("10:00:00", "000", 8, 2, 40.0).replace(
        "Engine 000: ", "2 Engines Aggregated: "
    )

    assert facts(both)["requests.running"] == 8


def test_the_first_v1_and_a_line_broken_by_the_terminal() -> None:
    old = (
        "INFO 01-20 10:00:00 loggers.py:50] Avg prompt throughput: 5.0 tokens/s, Avg generation throughput: 7.0 "
        "tokens/s, Running: 2 reqs, Waiting: 1 reqs \n"
    )
    assert facts(old)["requests.running"] == 2
    assert facts(old.replace(" Running", "\nRunning"))["requests.waiting"] == 1


def test_one_warning_alone_has_no_rate() -> None:
    warning = V0.splitlines()[2]
    found = facts(warning)

    assert found["preemptions.count"] == 1
    assert "preemptions.rate" not in found
    assert first_rule(warning) == "kv-cache-exhausted"


def test_requests_that_are_swapped_out_were_preempted() -> None:
    line = V0.splitlines()[0].replace("Swapped: 0", "Swapped: 3")

    assert facts(line)["preemptions.count"] == 3


def test_speculative_decoding_of_both_generations() -> None:
    new = (
        "INFO 05-18 11:19:54 [metrics.py:101] SpecDecoding metrics: Mean acceptance length: 3.00, Accepted throughput: "
        "6.0 tokens/s, Drafted throughput: 9.0 tokens/s, Accepted: 60 tokens, Drafted: 100 tokens, Per-position "
        "acceptance rate: 0.9, 0.6, 0.3, Avg Draft acceptance rate: 60.0%\n"
    )
    old = (
        "INFO 12-16 16:46:04 metrics.py:482] Speculative metrics: Draft acceptance rate: 0.250, System efficiency: "
        "0.4, Number of speculative tokens: 4, Number of accepted tokens: 100, Number of draft tokens: 400, "
        "Number of emitted tokens: 130."
    )
    assert (facts(V1 + new)["spec.acceptance_rate"], facts(V1 + new)["spec.accept_length"]) == (0.6, 3.0)
    assert (facts(V0 + old)["spec.acceptance_rate"], facts(V0 + old)["spec.accept_length"]) == (0.25, 1.3)
    assert first_rule(old) == "spec-decode-low-acceptance"


START = """\
(APIServer pid=1) INFO 12-18 09:44:00 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO 12-18 09:44:00 [utils.py:233] non-default args: {'model_tag': 'm', 'cpu_offload_gb': 4.0}
(EngineCore_DP0 pid=5) INFO 12-18 09:44:10 [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='m', \
speculative_config=None, dtype=torch.bfloat16, max_seq_len=8192, tensor_parallel_size=2, pipeline_parallel_size=1, \
quantization=None, enforce_eager=True, kv_cache_dtype=fp8, enable_prefix_caching=True, compilation_config={"level":0}
(EngineCore_DP0 pid=5) INFO 12-18 09:44:40 [gpu_model_runner.py:1] Model loading took 14.9889 GiB and 25.100000 seconds
(EngineCore_DP0 pid=5) INFO 12-18 09:44:57 [kv_cache_utils.py:864] GPU KV cache size: 78,800 tokens
(EngineCore_DP0 pid=5) INFO 12-18 09:44:57 [kv.py:868] Maximum concurrency for 8,192 tokens per request: 9.62x
(EngineCore_DP1 pid=6) INFO 12-18 09:44:57 [kv_cache_utils.py:864] GPU KV cache size: 78,800 tokens
(APIServer pid=1) INFO 12-18 09:46:20 [api_server.py:1] Starting vLLM API server 0 on http://0.0.0.0:8000
(APIServer pid=1) INFO:     Application startup complete.
"""


def test_settings_and_how_long_the_start_took() -> None:
    found = facts(START)

    assert found["config.tensor_parallel.size"] == 2
    assert found["config.enforce_eager"] is True
    assert found["config.offload"] is True
    assert found["config.prefix_caching"] is True
    assert (found["config.quantization"], found["config.kv_cache.dtype"]) == ("none", "fp8")
    assert found["config.model.dtype"] == "bfloat16"
    assert (found["config.context.length"], found["kv_cache.concurrency"]) == (8192, 9.62)
    assert found["kv_cache.capacity"] == 2 * 78_800
    assert (found["startup.time"], found["weights.load.time"]) == (140, 25.1)
    assert first_rule(START) is not None  # a start of more than two minutes
    assert "requests.running" not in found


def test_blocks_of_the_first_releases() -> None:
    start = "INFO 08-22 15:27:08 llm_engine.py:72] Initializing an LLM engine (v0.4.0) with config: dtype=half"
    blocks = "\nINFO 08-22 15:27:25 # GPU blocks: 865, # CPU blocks: 327"

    assert facts(start + ", block_size=16" + blocks)["kv_cache.capacity"] == 865 * 16
    assert "kv_cache.capacity" not in facts(start + blocks)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (
            "ValueError: To serve at least one request with the models's max seq len (262144), (24.00 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (8.04 GiB). Based on the available memory, ...",
            0.335,
        ),
        (
            "The model's max seq len (32768) is larger than the maximum number of tokens that can be stored in KV "
            "cache (8192). Try increasing `gpu_memory_utilization`",
            0.25,
        ),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", 0),
    ],
)
def test_a_server_that_refuses_to_start(text: str, fits: float) -> None:
    assert facts(text)["kv_cache.concurrency"] == pytest.approx(fits, abs=1e-4)
    assert first_rule(text) == "context-exceeds-kv-cache"
    assert facts(text + "\n" + START)["kv_cache.concurrency"] == 9.62  # a later start went well


def test_requests_are_counted_from_the_lines_of_the_http_server() -> None:
    post = '(APIServer pid=7) INFO:     127.0.0.1:5 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'
    lines = V1.splitlines(keepends=True)

    assert facts(lines[0] + post * 4 + post.replace("200 OK", "400 Bad Request") + lines[2])["requests.rate"] == 0.4
    assert "requests.rate" not in facts(V1)


def test_prompts_that_use_up_the_server() -> None:
    text = "".join(
        f"INFO 03-17 15:38:{10 * i:02d} [loggers.py:259] Engine 000: Avg prompt throughput: 9000.0 tokens/s, Avg "
        f"generation throughput: 20.0 tokens/s, Running: {8 + i} reqs, Waiting: 60 reqs, GPU KV cache usage: 20.0%\n"
        for i in range(4)
    )
    assert first_rule(text) == "prefill-saturated"


# --- SGLang ---------------------------------------------------------------------------


def test_sglang() -> None:
    found = facts(SGLANG)

    assert found["run.framework"] == "sglang"
    assert (found["requests.running"], found["requests.waiting"]) == (42, 12)
    assert found["generation_tokens.rate"] == 1500  # the first one is over the idle time before it
    assert found["prompt_tokens.rate"] == pytest.approx(3000 / 11)
    assert found["prefix_cache.hit_rate"] == pytest.approx(1 / 14)
    assert (found["kv_cache.utilization"], found["kv_cache.utilization.peak"]) == (pytest.approx(0.94), 0.98)
    assert found["cuda_graph.fraction"] == pytest.approx(2 / 3)
    assert (found["spec.accept_length"], found["spec.acceptance_rate"]) == (2.5, 0.5)
    assert (found["preemptions.count"], found["preemptions.rate"]) == (2, pytest.approx(2 / 11))
    assert first_rule(SGLANG) == "kv-cache-preemption"
    assert "409 s without any batch left out" in told(SGLANG).readings[0].source.note


def test_sglang_ranks_repeat_and_data_parallel_engines_add_up() -> None:
    lines = [line for line in SGLANG.splitlines() if "Decode" in line and "TP1" not in line]
    two = "\n".join(x for line in lines for x in (line.replace("TP0", "DP0 TP0"), line.replace("TP0", "DP3 TP3 EP3")))

    assert facts(two)["requests.running"] == 84
    assert facts(two)["preemptions.count"] == 0  # each retraction would be in the log


def test_sglang_start() -> None:
    found = facts(
        "[2025-12-02 12:01:15] server_args=ServerArgs(model_path='m', quantization='fp8', tp_size=2, dp_size=1, "
        "disable_cuda_graph=True, disable_radix_cache=True, context_length=None)\n"
        "[2025-12-02 12:01:17 TP0] Load weight begin. avail mem=92.50 GB\n"
        "[2025-12-02 12:01:29 TP0] Load weight end. type=LlamaForCausalLM, mem usage=15.1 GB.\n"
        "[2025-12-02 12:01:40 TP0] max_total_num_tokens=600000, chunked_prefill_size=8192, context_len=60000\n"
        "[2025-12-02 12:02:15] The server is fired up and ready to roll!\n"
    )

    assert (found["config.enforce_eager"], found["config.prefix_caching"]) == (True, False)
    assert (found["config.quantization"], found["config.tensor_parallel.size"]) == ("fp8", 2)
    assert (found["kv_cache.capacity"], found["kv_cache.concurrency"]) == (600_000, 10)
    assert (found["weights.load.time"], found["startup.time"]) == (12, 60)


# --- TGI, TensorRT-LLM, llama.cpp and Ollama ------------------------------------------

TGI = """\
2024-12-10T21:50:03.000000Z  INFO chat_completions{parameters=GenerateParameters { max_new_tokens: Some(100) } \
total_time="3s" validation_time="955.594µs" queue_time="2s" inference_time="1s" time_per_token="20ms" seed="None"}: \
text_generation_router::server: router/src/server.rs:622: Success
2024-12-10T21:50:10.000000Z  INFO generate{total_time="5.0s" validation_time="9ns" queue_time="4000.0ms" \
inference_time="1.0s" time_per_token="20ms"}: text_generation_router::server: Success
"""


def test_tgi_and_its_mean_numbers_of_requests() -> None:
    found = facts(TGI)

    assert (found["request.duration"], found["queue.time"], found["time_per_output_token"]) == (4, 3, 0.02)
    assert (found["requests.waiting"], found["requests.running"]) == (6 / 10, 2 / 10)
    assert (found["requests.rate"], found["generation_tokens.rate"]) == (0.2, 10)
    assert found["max_tokens.ratio"] == 0.5
    assert told(TGI).started == pytest.approx(1733867403.0)


def test_tgi_as_json_lines() -> None:
    span = '{"queue_time":"2s","inference_time":"1s","time_per_token":"20ms","total_time":"3s"}'
    line = f'{{"timestamp":"2024-12-10T21:50:03.0Z","level":"INFO","message":"Success","span":{span}}}\n'

    assert facts(line * 2)["queue.time"] == 2


def test_tensorrt_llm() -> None:
    step = (
        "[TRT-LLM] [I] iter = {n}, global_rank = {rank}, rank = {rank}, currank_total_requests = 4/4, host_step_time = "
        "20.0ms, prev_device_step_time = {device}, timestamp = 2026-07-07 00:00:0{n}, num_scheduled_requests: 8, "
        "states = {{'num_ctx_requests': 0, 'num_ctx_tokens': 100, 'num_generation_tokens': 8}}\n"
    )
    text = "".join(step.format(n=n, rank=r, device="N/A" if n == 1 else "15.0ms") for n in (1, 2, 3) for r in (0, 1))
    found = facts(text)

    assert (found["requests.running"], found["generation_tokens.rate"]) == (8, pytest.approx(400))
    assert found["engine.idle.fraction"] == pytest.approx(0.25)


LLAMA = """\
load_tensors: offloaded 20/33 layers to GPU
llama_context: n_ctx         = 8192
slot print_timing: prompt eval time =   100.00 ms /  50 tokens (  2.00 ms per token,  500.00 tokens per second)
slot print_timing:        eval time =  4000.00 ms / 100 tokens ( 40.00 ms per token,   25.00 tokens per second)
slot print_timing:       total time =  4100.00 ms / 150 tokens
llama_print_timings: prompt eval time =   300.00 ms /  150 tokens (  2.00 ms per token,  500.00 tokens per second)
llama_print_timings:        eval time =  2000.00 ms / 100 runs   ( 20.00 ms per token,   50.00 tokens per second)
llama_print_timings:       total time =  2300.00 ms
"""
OLLAMA = """\
time=2025-07-24T18:29:07.462+09:00 level=INFO source=server.go:175 msg=offload library=cuda layers.requested=-1 \
layers.model=33 layers.offload=33 layers.split="" memory.available="[6.5 GiB]"
time=2025-07-24T18:29:17.462+09:00 level=INFO source=server.go:601 msg="llama runner started in 2.51 seconds"
[GIN] 2025/07/24 - 18:29:20 | 200 |  1m2.5s |      127.0.0.1 | POST     "/api/chat"
[GIN] 2025/07/24 - 18:29:29 | 200 |     550.689µs |      172.20.0.3 | GET      "/api/tags"
[GIN] 2025/07/24 - 18:29:40 | 200 |  57.5s |      127.0.0.1 | POST     "/v1/chat/completions"
"""
VERBOSE = """\
total duration:       4.2s
load duration:        12.1ms
prompt eval count:    26 token(s)
prompt eval duration: 130ms
prompt eval rate:     200.00 tokens/s
eval count:           200 token(s)
eval duration:        4.0s
eval rate:            50.0 tokens/s
"""


def test_llama_cpp() -> None:
    found = facts(LLAMA)

    assert found["gpu_layers.fraction"] == pytest.approx(20 / 33)
    assert (found["prefill.time"], found["prompt_tokens.mean"]) == (0.2, 100)
    assert (found["time_per_output_token"], found["request.duration"]) == (0.03, pytest.approx(3.2))
    assert first_rule(LLAMA) == "layers-on-cpu"
    assert first_rule(LLAMA.replace("20/33", "33/33")) is None


SHAPE = """\
print_info: n_layer          = 32
print_info: n_head_kv        = 8
print_info: n_embd_head_k    = 128
print_info: n_embd_head_v    = 128
llama_kv_cache_unified: size = 1024.00 MiB (8192 cells, 32 layers, 1 seqs), K (f16):  512.00 MiB, V (f16):  512.00 MiB
"""


def test_the_shape_of_the_model_gives_the_size_of_the_kv_cache() -> None:
    found = facts(SHAPE + LLAMA)

    assert (found["config.model.layers"], found["config.model.kv_heads"], found["config.model.head_size"]) == (
        32,
        8,
        128,
    )
    assert with_derived(found)["derived.serving.kv.context.bytes"] == 1024 * 2**20  # as the log itself says
    latent = SHAPE.replace("n_embd_head_v    = 128", "n_embd_head_v    = 64")
    assert "config.model.kv_heads" not in facts(latent + LLAMA)


def test_ollama() -> None:
    found = facts(OLLAMA)

    assert (found["run.framework"], found["gpu_layers.fraction"]) == ("ollama", 1)
    assert (found["request.duration"], found["startup.time"]) == (60, 2.51)
    assert "gpu_layers.fraction" not in facts(OLLAMA.replace("library=cuda", "library=cpu"))
    assert facts(VERBOSE)["time_per_output_token"] == 0.02
    assert facts(VERBOSE)["request.duration"] == 4.2


# --- load generators ------------------------------------------------------------------

BENCH = """\
============ Serving Benchmark Result ============
Successful requests:                     200
Benchmark duration (s):                  25.00
Total input tokens:                      102,400
Request throughput (req/s):              8.00
Output token throughput (tok/s):         1,011.07
---------------Time to First Token----------------
Mean TTFT (ms):                          45.23
P99 TTFT (ms):                           156.78
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          12.45
---------------Inter-token Latency----------------
Mean ITL (ms):                           12.45
Median ITL (ms):                         10.00
P99 ITL (ms):                            60.00
==================================================
"""
PERF = """\
                  NVIDIA GenAI-Perf | LLM Metrics
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━┓
┃                         Statistic ┃      avg ┃    min ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━┩
│          Time to first token (ms) │    16.26 │  12.39 │
│              Request latency (ms) │ 4,499.20 │ 451.01 │
│             Input sequence length │   550.06 │ 550.00 │
│ Output token throughput (per sec) │     45…  │    N/A │
└───────────────────────────────────┴──────────┴────────┘
"""


def test_the_table_of_a_benchmark() -> None:
    found = facts("$ vllm bench serve\n" + BENCH.replace("45.23", "9.9") + BENCH)

    assert (found["time_to_first_token"], found["time_per_output_token"]) == (pytest.approx(0.04523), 0.01245)
    assert (found["requests.rate"], found["generation_tokens.rate"]) == (8, 1011.07)
    assert (found["prompt_tokens.mean"], found["prompt_tokens.rate"]) == (512, 4096)
    assert (found["inter_token_latency.p99"], found["inter_token_latency.tail_ratio"]) == (0.06, 6)
    assert "the last of 2 tables" in told(BENCH + BENCH).readings[0].source.note


def test_the_table_of_genai_perf() -> None:
    found = facts(PERF)

    assert (found["time_to_first_token"], found["request.duration"]) == (pytest.approx(0.01626), pytest.approx(4.4992))
    assert found["prompt_tokens.mean"] == 550.06
    assert "generation_tokens.rate" not in found  # cut off by a narrow terminal


# --- hostile and damaged input --------------------------------------------------------

EVERYTHING = START + V0 + V1 + SGLANG + TGI + LLAMA + OLLAMA + VERBOSE + BENCH + PERF


def test_cut_off_anywhere(tmp_path: Path) -> None:
    lines = EVERYTHING.splitlines(keepends=True)
    for end in range(0, len(lines), 3):
        text = "".join(lines[:end]) + lines[end][: len(lines[end]) // 2]
        assert "\n" not in refused(text)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_mutated_log_is_read_or_refused(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([START + V0, V1, SGLANG, TGI, LLAMA + VERBOSE, OLLAMA, BENCH, PERF]))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + cut :]
    assert "\n" not in refused(text)


def test_long_lines_and_huge_numbers_end_soon() -> None:
    for text in (
        "Avg prompt throughput: " * 20_000,
        "Mean acceptance length: 1.0 " * 20_000,
        "INFO 99-99 99:99:99 " + V1,
        V1.replace("Running: 4", "Running: " + "9" * 5000),
        "server_args=ServerArgs(" + "a='" * 50_000,
        V1.replace("50.0%", "1e999%").replace("90.0%", "nan%"),
        "#running-req: " * 30_000 + "Decode batch, " * 5000,
        'queue_time="' * 20_000,
        "| " * 50_000 + "\nNVIDIA AIPerf | LLM Metrics\n" + "│ " * 50_000,
    ):
        assert "\n" not in refused(text)


def test_a_log_in_which_nothing_is_known_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("Avg prompt throughput: soon\nDecode batch, #running-req: many\n")
    with pytest.raises(InputError, match="is text in which nothing is known"), opened([path]) as found:
        raise found.problems[0]


# --- clocks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "seconds", "started"),
    [
        (["INFO 12-31 23:59:58 x", "INFO 01-01 00:00:03 x"], 5.0, None),
        (["[23:59:58 TP0]", "[00:00:03 TP0]"], 5.0, None),
        (["2025-01-31 10:00:00,250 x", "2025-01-31 10:00:01.750 x"], 1.5, None),
        (["2025-01-31T10:00:00+08:00 x", "2025-01-31T10:00:02+08:00"], 2.0, 1738288800.0),
        (["2025-13-45 25:61:61 x", "no time at all"], 0.0, None),
    ],
)
def test_times_of_lines(lines: list[str], seconds: float, started: float | None) -> None:
    clock = Clock()
    for line in lines:
        clock.read(line, 0, len(line))
    assert (clock.seconds, clock.started) == (seconds, started)


# --- real logs ------------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize(
    ("name", "first", "expected"),
    [
        ("pr37307_prefill_queue.log", "prefill-saturated", {"requests.running": 22, "requests.waiting": 78}),
        ("issue18115_pr21809_kv_full.log", "kv-cache-nearly-full", {"kv_cache.utilization.peak": 0.958}),
        ("issue546_preempt_swap.log", "kv-cache-preemption", {"preemptions.count": 1, "requests.waiting": 98}),
        ("issue6102_preempt_recompute.log", "kv-cache-exhausted", {"preemptions.count": 1}),
        ("issue6206_low_kv_use.log", None, {"kv_cache.utilization": 0.156, "requests.running": 4}),
    ],
)
def test_real_logs(name: str, first: str | None, expected: dict[str, float]) -> None:
    (diagnosis,) = ADVISOR.diagnose_files([SHARED / name])
    serious = [f.rule.id for f in diagnosis.findings if f.rule.severity != "minor"]

    assert (serious[0] if serious else None) == first
    for fact, value in expected.items():
        assert diagnosis.profile.facts[GEN + fact].value == pytest.approx(value, rel=0.005)

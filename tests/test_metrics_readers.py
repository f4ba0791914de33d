"""Pages -> facts, exactly: growth, resets, replicas, quantiles, units, and every server's and exporter's names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from advisor import kb
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.metrics.kinds import Target, readings
from advisor.readers.metrics.prometheus import parse
from advisor.readers.metrics.scrapes import read, read_targets
from advisor.readers.metrics.window import Window
from advisor.readers.recognise import recognise

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "prometheus_text"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real exporters here")
SPECS = kb.load().facts
GEN = "gen_ai.server"


def window(*texts: str, seconds: float | None = 10.0) -> Window:
    return Window([parse(text, "page") for text in texts], seconds)


def facts(*texts: str, seconds: float | None = 10.0) -> dict[str, Value]:
    target = Target("page", [parse(text, "page") for text in texts], seconds)
    return dict(known([target]))


def known(targets: Iterable[Target]) -> Iterable[tuple[str, Value]]:
    """Name and value of every fact, all of them in the vocabulary, with its unit and in its range."""
    for reading in readings(list(targets)):
        assert reading.source.kind == "scrape"
        for fact in reading.facts:
            spec = SPECS[fact.name]
            assert fact.unit == spec.unit, fact.name
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact.name
                assert spec.high is None or fact.value <= spec.high, fact.name
            yield fact.name, fact.value


# --- arithmetic -----------------------------------------------------------------------


def test_counters_grow_over_the_window_and_gauges_are_averaged() -> None:
    w = window("c_total 5\ng 1\n", "c_total 7\ng 2\n", "c_total 25\ng 6\n")

    assert (w.grown("c"), w.rate("c"), w.level("g")) == (20.0, 2.0, 3.0)
    assert w.rate("absent") is None


def test_a_counter_that_was_reset_counts_from_zero() -> None:
    assert window("c_total 100\n", "c_total 110\n", "c_total 4\n").grown("c") == 14


def test_a_series_that_appears_later_starts_at_zero_and_one_that_returns_goes_on() -> None:
    assert window('c{a="1"} 5\n', 'c{a="1"} 6\nc{a="2"} 3\n').grown("c") == 4
    assert window('c{a="1"} 5\nx 1\n', "x 1\n", 'c{a="1"} 9\n').grown("c") == 4


def test_one_page_tells_means_over_the_servers_life_and_no_rates() -> None:
    w = window("c_total 5\nh_sum 6\nh_count 4\n", seconds=None)

    assert (w.mean("h"), w.rate("c"), w.grown("c")) == (1.5, None, 5.0)


def test_without_a_time_there_is_growth_and_no_rate() -> None:
    w = window("c_total 5\nh_sum 6\nh_count 4\n", "c_total 9\nh_sum 16\nh_count 8\n", seconds=None)

    assert (w.mean("h"), w.rate("c"), w.grown("c")) == (2.5, None, 4.0)


def test_no_traffic_is_no_mean_and_not_the_old_one() -> None:
    assert window("h_sum 6\nh_count 4\n", "h_sum 6\nh_count 4\n").mean("h") is None


BUCKETS = (
    'h_bucket{{le="0.1"}} {}\nh_bucket{{le="0.5"}} {}\nh_bucket{{le="1"}} {}\nh_bucket{{le="+Inf"}} {}\nh_count {}\n'
)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.25, 0.05),
        (0.5, 0.1),
        (0.75, 0.1 + 0.4 * 25 / 40),  # 50 of 100 lie below 0.1, 40 more up to 0.5
        (0.95, 0.5 + 0.5 * 5 / 8),  # then 8 up to 1
        (0.999, 1.0),  # above the last finite bound: at least that
    ],
)
def test_quantiles_are_of_the_window_and_linear_within_a_bucket(share: float, expected: float) -> None:
    w = window(BUCKETS.format(1000, 1000, 1000, 1000, 1000), BUCKETS.format(1050, 1090, 1098, 1100, 1100))

    assert w.quantile(share, "h") == pytest.approx(expected)


def test_the_parts_of_a_histogram_are_reset_together() -> None:
    w = window(BUCKETS.format(0, 10, 10, 10, 10) + "h_sum 3\n", BUCKETS.format(4, 4, 4, 4, 4) + "h_sum 8\n")

    assert w.quantile(0.5, "h") == pytest.approx(0.05)
    assert w.mean("h") == 2.0


def test_ranks_count_once_replicas_add_up_and_totals_do_not_count_twice() -> None:
    text = "\n".join(
        f'sglang:num_running_reqs{{model_name="m",dp_rank="{dp}",tp_rank="{tp}",pp_rank="0",priority="{p}"}} {n}'
        for dp, most in (("0", 30), ("1", 10))
        for tp in ("0", "1")
        for p, n in (("", most), ("1", most - 4), ("2", 4))
    )
    told = facts(text, text)

    assert told[f"{GEN}.requests.running"] == 40
    assert told[f"{GEN}.replica.load.imbalance"] == 1.5


def test_models_are_not_replicas_of_each_other() -> None:
    line = 'vllm:num_requests_running{{model_name="{}",engine="0"}} {}\n'
    text = line.format("a", 90) + line.format("b", 1)

    assert f"{GEN}.replica.load.imbalance" not in facts(text, text)
    assert facts(text, text)[f"{GEN}.requests.running"] == 91


def test_a_replica_that_answers_less_often_does_not_bring_its_past() -> None:
    pages = [parse(f"vllm:generation_tokens_total {n}\nvllm:num_requests_running 4\n", "a") for n in (100, 200, 300)]
    late = [parse("vllm:generation_tokens_total 9e6\nvllm:num_requests_running 4\n", "b")]
    told = dict(known([Target("a", pages, 10.0), Target("b", late, 0.0)]))

    assert told[f"{GEN}.generation_tokens.rate"] == 20
    assert told[f"{GEN}.requests.running"] == 8


def test_a_restart_is_told() -> None:
    page = "process_start_time_seconds {}\nvllm:generation_tokens_total {}\n"
    (reading,) = readings([Target("s", [parse(page.format(1, 500), "s"), parse(page.format(90, 30), "s")], 10.0)])

    assert "restarted" in reading.source.note
    assert {f.name: f.value for f in reading.facts}[f"{GEN}.generation_tokens.rate"] == 3


def test_metrics_of_no_known_kind_are_one_sentence() -> None:
    with pytest.raises(
        InputError, match=r"^app has metrics, but of no kind that is known here \(vLLM, SGLang.*\); give"
    ):
        readings([Target("app", [parse("http_requests_total 1\n", "app")], None)])


def test_one_page_that_cannot_be_read_stops_no_other() -> None:
    good = [(0.0, "vllm:generation_tokens_total 1\n"), (5.0, "junk\n"), (10.0, "vllm:generation_tokens_total 51\n")]
    bad, strange = [(0.0, "junk\n")], [(0.0, "http_requests_total 1\n")]
    found = {r.source.origin: r for r in read_targets([("good", good, ""), ("bad", bad, ""), ("app", strange, "")])}

    assert {origin: r.source.state for origin, r in found.items()} == {
        "good": "ok", "bad": "unreadable", "app": "unreadable",
    }  # fmt: skip
    assert {f.name: f.value for f in found["good"].facts}[f"{GEN}.generation_tokens.rate"] == 5
    assert "line 1, is not in the Prometheus text format" in found["good"].source.note
    assert "line 1, is not in the Prometheus text format" in found["bad"].source.note
    assert "of no kind that is known here" in found["app"].source.note
    with pytest.raises(InputError, match="bad, line 1"):
        read_targets([("bad", bad, "")])


def test_the_batch_is_that_of_one_engine() -> None:
    text = "".join(f'vllm:num_requests_running{{engine="{i}"}} 4\n' for i in range(8))

    assert facts(text)[f"{GEN}.requests.running"] == 32
    assert facts(text)[f"{GEN}.batch.size.mean"] == 4


# --- servers --------------------------------------------------------------------------


def test_vllm_configuration() -> None:
    labels = 'block_size="16",num_gpu_blocks="1000",cpu_offload_gb="{}",enable_prefix_caching="{}",cache_dtype="fp8"'
    on, off = (
        facts(f"vllm:cache_config_info{{{labels.format(*x)}}} 1\nvllm:num_requests_running 1\n", seconds=None)
        for x in ((4, "True"), (0, "False"))
    )

    assert (on["config.offload"], on["config.prefix_caching"], on["config.kv_cache.dtype"]) == (True, True, "fp8")
    assert (off["config.offload"], off["config.prefix_caching"]) == (False, False)
    assert on[f"{GEN}.kv_cache.capacity"] == 16_000


def test_vllm_capacity_that_is_not_known() -> None:
    told = facts('vllm:cache_config_info{num_gpu_blocks="None",block_size="16"} 1\n', seconds=None)

    assert f"{GEN}.kv_cache.capacity" not in told
    assert "config.offload" not in told


def test_a_client_that_gave_up_is_no_finished_request() -> None:
    line = 'vllm:request_success_total{{finished_reason="{}"}} {}\n'

    def page(stop: int, abort: int) -> str:
        return line.format("stop", stop) + line.format("abort", abort)

    assert facts(page(5, 5), page(5, 25))[f"{GEN}.requests.rate"] == 0
    assert facts(page(5, 5), page(25, 25))[f"{GEN}.requests.rate"] == 2


def test_the_first_bucket_does_not_stretch_the_tail() -> None:
    def page(n: int) -> str:
        buckets = {"0.01": 990, "0.1": 1000, "+Inf": 1000}
        lines = [f'vllm:inter_token_latency_seconds_bucket{{le="{le}"}} {n * c}' for le, c in buckets.items()]
        return "\n".join([*lines, f"vllm:inter_token_latency_seconds_count {1000 * n}\n"])

    told = facts(page(1), page(2))
    assert told[f"{GEN}.inter_token_latency.p99"] == pytest.approx(0.01)
    assert told[f"{GEN}.inter_token_latency.tail_ratio"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # long requests run, none ends: only the live counter moves
        ('sglang:realtime_tokens_total{mode="decode"} 100\nsglang:generation_tokens_total 7',
         'sglang:realtime_tokens_total{mode="decode"} 900\nsglang:generation_tokens_total 7', 80.0),
        # an older release without it: what was streamed, then the gauge when it moves
        ("sglang:generation_tokens_total 7\nsglang:inter_token_latency_seconds_count 50",
         "sglang:generation_tokens_total 7\nsglang:inter_token_latency_seconds_count 90", 4.0),
        ("sglang:generation_tokens_total 7\nsglang:gen_throughput 310.5",
         "sglang:generation_tokens_total 7\nsglang:gen_throughput 290.25", 290.25),
        # a gauge that stands still was left over
        ("sglang:generation_tokens_total 7\nsglang:gen_throughput 310.5",
         "sglang:generation_tokens_total 7\nsglang:gen_throughput 310.5", 0.0),
    ],
)  # fmt: skip
def test_sglang_tokens_while_no_request_ends(before: str, after: str, expected: float) -> None:
    assert facts(before + "\n", after + "\n")[f"{GEN}.generation_tokens.rate"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('sglang:prefill_effective_tokens_total{mode="input"} 300\n'
         'sglang:prefill_effective_tokens_total{mode="device_hit"} 90\n'
         'sglang:prefill_effective_tokens_total{mode="host_hit"} 10\nsglang:cache_hit_rate 0.9', 0.25),
        ('sglang:realtime_tokens_total{mode="prefill_cache"} 60\n'
         'sglang:realtime_tokens_total{mode="prefill_compute"} 40\nsglang:cache_hit_rate 0.1', 0.6),
        ("sglang:cached_tokens_total 30\nsglang:prompt_tokens_total 120\nsglang:cache_hit_rate 0.9", 0.25),
        ("sglang:cache_hit_rate 0.42", 0.42),
        ("sglang:cache_hit_rate 87.5", 0.875),
    ],
)  # fmt: skip
def test_sglang_hit_rate_prefers_counters(text: str, expected: float) -> None:
    assert facts(text + "\n", seconds=None)[f"{GEN}.prefix_cache.hit_rate"] == pytest.approx(expected)


def test_sglang_says_nothing_of_what_it_does_not_measure() -> None:
    names = ("num_running_reqs 0", "spec_accept_length 0", "engine_startup_time 0", "fwd_occupancy NaN")
    text = "".join(f"sglang:{name}\n" for name in names)
    told = facts(text, text)

    assert {name for name in told if name.startswith(GEN)} == {f"{GEN}.requests.running"}


def test_a_busy_sglang_page_that_was_saved() -> None:
    text = """sglang:num_running_reqs{model_name="m"} 162
sglang:num_queue_reqs{model_name="m"} 2826
sglang:token_usage{model_name="m"} 0.28
sglang:gen_throughput{model_name="m"} 86.5
sglang:time_to_first_token_seconds_sum{model_name="m"} 2.35e6
sglang:time_to_first_token_seconds_count{model_name="m"} 11000
sglang:time_per_output_token_seconds_sum{model_name="m"} 8.7e5
sglang:time_per_output_token_seconds_count{model_name="m"} 7.4e6
"""
    told = facts(text, seconds=None)

    assert (told[f"{GEN}.requests.waiting"], told[f"{GEN}.requests.running"]) == (2826, 162)
    assert told[f"{GEN}.kv_cache.utilization"] == 0.28
    assert told[f"{GEN}.time_to_first_token"] == pytest.approx(2.35e6 / 11000)
    assert told[f"{GEN}.time_per_output_token"] == pytest.approx(8.7e5 / 7.4e6)


def test_the_first_vllm_told_its_rate_itself() -> None:
    page = "vllm:num_requests_running 3\nvllm:generation_tokens_total 5e6\n"
    page += "vllm:avg_generation_throughput_toks_per_s 71.5\n"

    assert facts(page, seconds=None)[f"{GEN}.generation_tokens.rate"] == 71.5
    assert facts(page, page)[f"{GEN}.generation_tokens.rate"] == 0


def test_tgi_tokens_while_no_request_ends() -> None:
    page = "tgi_request_generated_tokens_sum 500\ntgi_batch_current_size 8\n"
    page += 'tgi_batch_inference_count{{method="decode"}} {}\n'

    assert facts(page.format(100), page.format(400))[f"{GEN}.generation_tokens.rate"] == 240


def test_tensorrt_llm_inside_triton() -> None:
    text = """nv_inference_pending_request_count{model="ensemble"} 0
nv_trt_llm_request_metrics{model="llm",request_type="waiting"} 12
nv_trt_llm_request_metrics{model="llm",request_type="scheduled"} 48
nv_trt_llm_kv_cache_block_metrics{model="llm",kv_cache_block_type="fraction"} 0.91
nv_trt_llm_kv_cache_block_metrics{model="llm",kv_cache_block_type="tokens_per"} 64
nv_trt_llm_kv_cache_block_metrics{model="llm",kv_cache_block_type="max"} 100
"""
    told = facts(text, text)

    assert (told[f"{GEN}.requests.waiting"], told[f"{GEN}.requests.running"]) == (12, 48)
    assert (told[f"{GEN}.kv_cache.utilization"], told[f"{GEN}.kv_cache.capacity"]) == (0.91, 6400)


# --- exporters ------------------------------------------------------------------------

GPU = 'gpu="{}",UUID="u{}",modelName="H100",Hostname="{}",DCGM_FI_DRIVER_VERSION="550.1"'


def gpu(name: str, value: float, index: int = 0, host: str = "n1", more: str = "") -> str:
    return f"{name}{{{GPU.format(index, index, host)}{more}}} {value}\n"


@pytest.mark.parametrize(
    ("old", "new", "fact", "value"),
    [
        ("DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_PROF_SM_UTIL_RATIO", "hw.gpu.sm.active", 0.5),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_TENSOR_UTIL_RATIO", "hw.gpu.tensor.active", 0.25),
        ("DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_DRAM_UTIL_RATIO", "hw.gpu.dram.active", 0.75),
        ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS", "hw.gpu.power", 300),
        ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "hw.gpu.temperature", 61),
        ("DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR", "hw.gpu.xid.last", 79),
        ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS", "hw.gpu.power.limit", 700),
    ],
)  # fmt: skip
def test_old_and_new_names_of_dcgm(old: str, new: str, fact: str, value: float) -> None:
    assert facts(gpu(old, value))[fact] == facts(gpu(new, value))[fact] == value


def test_dcgm_units_extremes_and_what_could_not_be_read() -> None:
    text = (
        gpu("DCGM_FI_DEV_GPU_UTIL", 90) + gpu("DCGM_FI_DEV_GPU_UTIL", 60, 1)
        + gpu("DCGM_FI_DEV_FB_USED", 30_000) + gpu("DCGM_FI_DEV_FB_FREE", 10_000)
        + gpu("DCGM_FI_DEV_FB_USED", 20_000, 1) + gpu("DCGM_FI_DEV_FB_FREE", 20_000, 1)
        + gpu("DCGM_FI_DEV_SM_CLOCK", 1980) + gpu("DCGM_FI_DEV_SM_CLOCK", 990, 1)
        + gpu("DCGM_FI_DEV_POWER_USAGE", 140737488355328.0) + gpu("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 9223372036854775794)
        + "DCGM_FI_DEV_FAN_SPEED 0\n"
    )  # fmt: skip
    (reading,) = readings([Target("dcgm", [parse(text, "dcgm")], None)])
    told = {f.name: (f.value, f.where) for f in reading.facts}

    assert told["hw.gpu.utilization"] == (0.75, None)
    assert told["hw.gpu.utilization.spread"] == (pytest.approx(0.3), "gpu 1")
    assert told["hw.gpu.memory.usage"] == (30_000 * 2**20, "gpu 0")
    assert told["hw.gpu.memory.utilization"] == (0.75, "gpu 0")
    assert told["hw.gpu.clock.spread"] == (0.5, "gpu 1")
    assert told["hw.gpu.count"] == (2, None)
    assert not {"hw.gpu.power", "hw.gpu.ecc.uncorrectable.volatile"} & set(told)


def test_gpus_of_several_hosts_and_slices_are_told_apart() -> None:
    text = (
        gpu("DCGM_FI_DEV_GPU_TEMP", 60)
        + gpu("DCGM_FI_DEV_GPU_TEMP", 88, 0, "n2")
        + gpu("DCGM_FI_DEV_SM_CLOCK", 1, 0, "n2")
    )
    (reading,) = readings([Target("dcgm", [parse(text, "dcgm")], None)])
    assert {f.name: f.where for f in reading.facts}["hw.gpu.temperature"] == "gpu 0 of n2"

    slices = "".join(gpu("DCGM_FI_PROF_DRAM_ACTIVE", v, 0, "n1", f',GPU_I_ID="{i}"') for i, v in ((1, 0.2), (2, 0.6)))
    assert facts(slices)["hw.gpu.dram.active"] == pytest.approx(0.4)


def test_dcgm_throttling_is_judged_while_busy_and_per_page() -> None:
    def page(mask: int, util: int = 95) -> str:
        return gpu("DCGM_FI_DEV_GPU_UTIL", util) + gpu("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", mask)

    told = facts(page(0x4), page(0x4 | 0x40), page(0), page(0))
    assert told["hw.gpu.throttle.power_cap.fraction"] == 0.5
    assert told["hw.gpu.throttle.thermal.fraction"] == told["hw.gpu.throttle.hw_thermal.fraction"] == 0.25
    assert told["hw.gpu.throttle.sw_thermal.fraction"] == 0
    assert "hw.gpu.throttle.power_cap.fraction" not in facts(page(0x4, 3), page(0x4, 3))


def test_dcgm_counters_per_time() -> None:
    page = gpu("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", 10) + gpu("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 0)
    later = gpu("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", 13) + gpu("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 50)
    told = facts(page, later)

    assert (told["hw.gpu.pcie.replay.rate"], told["hw.gpu.nvlink.crc_errors.rate"]) == (18, 5)


OLD = 'gpu="0",uuid="GPU-1"'


def test_names_of_dcgm_before_its_second_release() -> None:
    values = {
        "gpu_utilization": 80, "fb_used": 30_000, "fb_free": 10_000, "sm_clock": 1200, "power_usage": 250,
        "gpu_temp": 70, "xid_errors": 31, "fi_prof_sm_active": 0.4, "fi_prof_pcie_rx_bytes": 5e9,
        "nvlink_replay_error_count_total": 2,
    }  # fmt: skip
    told = facts("".join(f"dcgm_{name}{{{OLD}}} {value}\n" for name, value in values.items()))

    assert (told["hw.gpu.utilization"], told["hw.gpu.memory.utilization"]) == (0.8, 0.75)
    assert (told["hw.gpu.clock.sm"], told["hw.gpu.power"], told["hw.gpu.temperature"]) == (1.2e9, 250, 70)
    assert (told["hw.gpu.xid.last"], told["hw.gpu.sm.active"], told["hw.gpu.pcie.rx.rate"]) == (31, 0.4, 5e9)
    assert (told["hw.gpu.nvlink.replay_errors"], told["hw.gpu.count"]) == (2, 1)


def test_a_gpu_that_worked_for_a_part_of_the_window_is_judged_by_that_part() -> None:
    def page(util: int, clock: int, power: int) -> str:
        values = {"GPU_UTIL": util, "SM_CLOCK": clock, "MAX_SM_CLOCK": 2000, "POWER_USAGE": power}
        values["ENFORCED_POWER_LIMIT"] = 700
        return "".join(gpu(f"DCGM_FI_DEV_{name}", value) for name, value in values.items())

    told = facts(page(0, 345, 70), page(0, 345, 70), page(98, 1980, 665), page(2, 345, 70))
    assert told["hw.gpu.utilization"] == 0.25
    assert told["hw.gpu.clock.sm.ratio"] == 0.99
    assert told["hw.gpu.power"] == pytest.approx((3 * 70 + 665) / 4)
    assert told["hw.gpu.power.limit.utilization"] == 0.95


def test_percentiles_of_the_utilization_need_enough_values() -> None:
    pages = [gpu("DCGM_FI_DEV_GPU_UTIL", 5 if n == 7 else 90) for n in range(20)]

    assert "hw.gpu.utilization.p5" not in facts(*pages[:19])
    assert (facts(*pages)["hw.gpu.utilization.p5"], facts(*pages)["hw.gpu.utilization.p95"]) == (0.05, 0.9)


def test_a_slice_of_dcgm_is_as_busy_as_its_engine() -> None:
    pages = "".join(
        gpu(name, value, 0, "n1", f',GPU_I_ID="{i}"')
        for i, engine in ((1, 0.9), (2, 0.1))
        for name, value in (("DCGM_FI_PROF_GR_ENGINE_ACTIVE", engine), ("DCGM_FI_DEV_FB_USED", 100 * i))
    )
    told = facts(pages)

    assert told["hw.gpu.utilization"] == pytest.approx(0.5)
    assert (told["hw.gpu.count"], told["hw.gpu.mig.instance.count"]) == (1, 2)


def test_what_only_the_nvml_backend_tells() -> None:
    about = 'gpu_instance_id="{}",uuid="u"'
    text = 'nvidia_smi_index{uuid="u"} 3\nnvidia_smi_compute_mode{uuid="u"} 3\n'
    text += 'nvidia_smi_memory_used_bytes{uuid="u"} 50e9\nnvidia_smi_memory_total_bytes{uuid="u"} 80e9\n'
    for part, used, total in (("2", 38e9, 40e9), ("7", 1e9, 10e9)):
        text += f"nvidia_smi_mig_memory_used_bytes{{{about.format(part)}}} {used}\n"
        text += f"nvidia_smi_mig_memory_total_bytes{{{about.format(part)}}} {total}\n"
        text += f'nvidia_smi_mig_info{{{about.format(part)},mig_uuid="{part}"}} 1\n'
    text += 'nvidia_smi_pcie_throughput_rx_bytes_per_second{uuid="u"} 2e9\n'
    for xid, count, at in ((13, 4, 100.0), (79, 1, 200.0), (154, 1, 201.0)):
        text += f'nvidia_smi_xid_errors_total{{uuid="u",xid="{xid}"}} {count}\n'
        text += f'nvidia_smi_xid_last_timestamp_seconds{{uuid="u",xid="{xid}"}} {at}\n'
    (reading,) = readings([Target("smi", [parse(text, "smi")], None)])
    told = {f.name: (f.value, f.where) for f in reading.facts}

    assert told["hw.gpu.count"] == (1, None)
    assert told["hw.gpu.memory.utilization"] == (0.95, "gpu 3 MIG 2")
    assert told["hw.gpu.memory.limit"] == (40e9, "gpu 3 MIG 2")
    assert told["hw.gpu.mig.instance.count"] == (2, "gpu 3")
    assert told["hw.gpu.compute_mode"] == ("exclusive_process", "gpu 3")
    assert told["hw.gpu.pcie.rx.rate"] == (2e9, "gpu 3")
    assert told["hw.gpu.xid.last"] == (79, "gpu 3")
    assert told["hw.gpu.xid.count"] == (6, None)


def test_nvidia_smi_throttling_from_counters_before_flags() -> None:
    def page(seconds: float) -> str:
        name = "nvidia_smi_clocks_event_reasons"
        return (
            'nvidia_smi_utilization_gpu_ratio{uuid="u"} 0.9\nnvidia_smi_index{uuid="u"} 3\n'
            f'{name}_sw_power_cap{{uuid="u"}} 0\n{name}_counters_sw_power_cap_seconds{{uuid="u"}} {seconds}\n'
            f'{name}_hw_slowdown{{uuid="u"}} 1\n'
        )

    (reading,) = readings([Target("smi", [parse(page(s), "smi") for s in (100, 104)], 10.0)])
    told = {f.name: (f.value, f.where) for f in reading.facts}
    assert told["hw.gpu.throttle.power_cap.fraction"] == (0.4, "gpu 3")
    assert told["hw.gpu.throttle.hw_slowdown.fraction"] == (1.0, "gpu 3")


def node(n: int, extra: str = "") -> str:
    modes = {"idle": 50, "iowait": 10, "user": 25, "system": 10, "softirq": 5}
    cpu = "".join(f'node_cpu_seconds_total{{cpu="0",mode="{m}"}} {1000 + n * v / 10}\n' for m, v in modes.items())
    cpu += f'node_cpu_seconds_total{{cpu="1",mode="user"}} {n * 10}\nnode_cpu_seconds_total{{cpu="1",mode="idle"}} 7\n'
    return cpu + extra


def test_cpu_of_a_machine() -> None:
    told = facts(node(1), node(2))

    assert told["system.cpu.utilization"] == pytest.approx(0.7)
    assert told["system.cpu.iowait.utilization"] == pytest.approx(0.05)
    assert told["system.cpu.user.utilization"] == pytest.approx(0.625)
    assert (told["system.cpu.logical.count"], told["system.cpu.saturated.count"]) == (2, 1)
    assert "system.cpu.utilization" not in facts(node(1), seconds=None)


def test_disks_links_pressure_and_file_systems_of_a_machine() -> None:
    def page(n: int) -> str:
        lines = [
            f'node_disk_read_bytes_total{{device="{d}"}} {n * b}'
            for d, b in (("sda", 1000), ("dm-0", 1000), ("loop1", 5))
        ]
        lines += [
            f'node_disk_reads_completed_total{{device="sda"}} {n * 10}',
            f'node_disk_io_time_seconds_total{{device="sda"}} {n * 9}',
        ]
        lines += [
            f'node_disk_read_time_seconds_total{{device="sda"}} {n * 0.5}',
            f'node_disk_io_time_seconds_total{{device="dm-0"}} {n * 10}',
        ]
        lines += [f'node_network_receive_bytes_total{{device="{d}"}} {n * 5000}' for d in ("eth0", "lo", "docker0")]
        lines += [
            f'node_network_transmit_bytes_total{{device="eth0"}} {n * 100}',
            'node_network_speed_bytes{device="eth0"} 1000',
        ]
        lines += [f"node_pressure_io_stalled_seconds_total {n * 3}", 'node_network_mtu_bytes{device="eth0"} 1500']
        for point, kind, free in (("/data", "ext4", 5), ("/", "xfs", 50), ("/boot", "ext4", 1), ("/tmp", "tmpfs", 0)):
            lines += [f'node_filesystem_size_bytes{{mountpoint="{point}",fstype="{kind}"}} 100']
            lines += [
                f'node_filesystem_{x}_bytes{{mountpoint="{point}",fstype="{kind}"}} {free}' for x in ("free", "avail")
            ]
        return "\n".join(lines) + "\n"

    told = facts(page(1), page(2))
    assert told["system.disk.read.rate"] == 100
    assert told["system.disk.read.size"] == 100
    assert told["system.disk.read.latency"] == pytest.approx(0.05)
    assert told["system.disk.utilization"] == pytest.approx(0.9)
    assert (told["system.network.receive.rate"], told["system.network.utilization"]) == (500, 0.5)
    assert told["system.network.mtu"] == 1500
    assert told["system.pressure.io.full"] == pytest.approx(0.3)
    assert told["system.filesystem.utilization"] == pytest.approx(0.95)


def test_ports_bonds_and_nfs_of_a_machine() -> None:
    def page(n: int) -> str:
        ib = 'node_infiniband_{}{{device="mlx5_{}",port="1"}} {}\n'
        nfs = 'node_mountstats_nfs_operations_{}_total{{export="s:/x",operation="{}"}} {}\n'
        call = 'node_nfs_requests_total{{method="{}",proto="4"}} {}\n'
        return "".join([
            ib.format("state_id", 0, 4), ib.format("state_id", 1, 1), ib.format("symbol_error_total", 1, 700),
            ib.format("port_transmit_wait_total", 0, n * 50), ib.format("port_transmit_wait_total", 1, n * 900),
            ib.format("port_data_transmitted_bytes_total", 0, n * 1000), 'node_bonding_slaves{master="b"} 2\n',
            'node_bonding_active{master="b"} 1\n', nfs.format("requests", "READ", n * 10),
            nfs.format("response_time_seconds", "READ", n * 0.2), nfs.format("queue_time_seconds", "READ", n * 0.5),
            call.format("Getattr", n * 30), call.format("ReadDirPlus", n * 20), call.format("Read", n * 50),
            f"node_nfs_rpc_retransmissions_total {n * 3}\n",
        ])  # fmt: skip

    (reading,) = readings([Target("n", [parse(page(1), "n"), parse(page(2), "n")], 10.0)])
    told = {f.name: (f.value, f.where) for f in reading.facts}
    assert told["hw.network.rdma.port.active"] == (False, "mlx5_1 port 1")
    assert told["hw.network.rdma.symbol_errors"] == (700, "mlx5_1 port 1")
    assert told["hw.network.rdma.xmit_wait.rate"] == (90, "mlx5_1 port 1")
    assert told["hw.network.rdma.tx.rate"] == (100, None)
    assert told["hw.network.bond.degraded"] == (True, "b")
    assert told["nfs.client.rpc.rtt"] == (pytest.approx(0.02), None)
    assert told["nfs.client.rpc.queue_time"] == (pytest.approx(0.05), None)
    assert told["nfs.client.getattr_lookup.fraction"] == (0.5, None)
    assert told["nfs.client.rpc.retransmit.rate"] == (pytest.approx(0.3), None)


def test_machines_are_not_added_up() -> None:
    memory = "node_memory_MemTotal_bytes {}\n"
    found = readings([Target(n, [parse(memory.format(size), n)], None) for n, size in (("a", 8e9), ("b", 9e9))])

    assert [r.facts[0].value for r in found] == [8e9, 9e9]


# --- saved pages ----------------------------------------------------------------------

SAVED = "vllm:num_requests_running {}\nvllm:generation_tokens_total {}\n"


def saved(folder: Path, name: str, text: str, changed: float) -> Path:
    path = folder / name
    path.write_text(text)
    os.utime(path, (changed, changed))
    return path


def together(paths: Sequence[Path]) -> tuple[Sequence[Reading], float | None, float]:
    (told,) = read([Artefact(str(p), p, changed=p.stat().st_mtime) for p in paths], no_tick)
    return told.readings, told.started, told.seconds


def test_two_pages_are_put_in_order_by_what_grew_and_timed_by_their_files(tmp_path: Path) -> None:
    first = saved(tmp_path, "a.prom", SAVED.format(4, 1000), 1_700_000_000)
    second = saved(tmp_path, "b.prom", SAVED.format(6, 4000), 1_700_000_030)
    for order in ([first, second], [second, first]):
        (reading,), taken, seconds = together(order)
        told = {f.name: f.value for f in reading.facts}
        assert (taken, seconds) == (1_700_000_000, 30)
        assert told[f"{GEN}.generation_tokens.rate"] == 100
        assert told[f"{GEN}.requests.running"] == 5
        assert "the time in between is that of the files" in reading.source.note


def test_copies_made_at_once_give_no_rates(tmp_path: Path) -> None:
    paths = [saved(tmp_path, f"{i}.prom", SAVED.format(4, 1000 * i), 1_700_000_000 + i / 100) for i in (1, 2)]
    (reading,), _, seconds = together(paths)

    assert seconds == 0
    assert f"{GEN}.generation_tokens.rate" not in {f.name for f in reading.facts}
    assert "no rates" in reading.source.note


def test_the_clock_in_a_page_is_believed_before_the_file(tmp_path: Path) -> None:
    pages = [saved(tmp_path, f"{i}", f"node_time_seconds {1000 + 60 * i}\n{node(i)}", 5e8 - 9000 * i) for i in (1, 2)]
    (reading,), taken, seconds = together(pages[::-1])

    assert (taken, seconds) == (1060, 60)
    assert "node_exporter; 2 scrapes in 60 s" in reading.source.note


def test_pages_of_different_servers_are_not_before_and_after(tmp_path: Path) -> None:
    vllm = saved(tmp_path, "vllm.prom", SAVED.format(4, 1000), 1_700_000_000)
    machine = saved(tmp_path, "node.prom", node(1), 1_700_000_500)
    found, _, seconds = together([vllm, machine])

    assert [r.source.origin for r in found] == [str(vllm), str(machine)]
    assert seconds == 0


def test_pages_that_name_different_cards_are_of_different_machines(tmp_path: Path) -> None:
    page = (
        'nvidia_smi_gpu_info{{uuid="0",name="{}"}} 1\nnvidia_smi_utilization_gpu_ratio{{uuid="0"}} {}\nnvidia_smi_x 1\n'
    )
    paths = [saved(tmp_path, name, page.format(name, i), 1.7e9 + i) for i, name in enumerate(("H100", "H200"))]
    (reading,), _, _ = together(paths)

    assert "one scrape" in reading.source.note


def test_a_saved_page_is_known_by_what_it_holds(tmp_path: Path) -> None:
    kind = recognise(Artefact("x", saved(tmp_path, "any.name", SAVED.format(1, 2), 1)))
    assert kind is not None
    assert kind.name == "saved metrics"


# --- real samples with known truth ----------------------------------------------------


@needs_samples
def test_real_samples_give_their_known_truth() -> None:
    def told(name: str) -> dict[str, Value]:
        return facts((SHARED / name).read_text(encoding="utf-8"), seconds=None)

    triton = told("triton_excerpt.prom")
    assert triton[f"{GEN}.queue.time"] == pytest.approx(48.3e-6, rel=1e-2)
    assert triton[f"{GEN}.inference.time"] == pytest.approx(442277e-6, rel=1e-3)
    assert triton[f"{GEN}.batch.size.mean"] == 1.0
    assert told("dcgm_t4_idle_excerpt.prom")["hw.gpu.utilization"] == 0
    busy = told("nvidia_gpu_exporter/linux-x86_64__nvidia-h200__590.48.01__load.metrics")
    assert (busy["hw.gpu.utilization"], busy["hw.gpu.power"]) == (1.0, 627.4)
    assert busy["hw.gpu.memory.limit"] == 150754820096
    machine = told("node_exporter/e2e-output.txt")
    assert (machine["system.cpu.logical.count"], machine["system.numa.node.count"]) == (8, 3)


@needs_samples
@pytest.mark.parametrize("path", sorted(p for p in SHARED.rglob("*") if p.is_file()), ids=lambda p: p.name)
def test_every_real_page_gives_facts_of_the_vocabulary(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(facts(text, text)) > 5

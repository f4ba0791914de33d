"""Training logs -> facts, exactly: every trainer's lines, warm-up, several runs, prefixes, noise, hostile text."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.log import FINDERS, read
from advisor.readers.log.log import Log
from advisor.readers.log.training import find
from advisor.readers.paste import read_paste
from advisor.readers.steps import Step, step_rows, window
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "train_log"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real training logs here")
SPECS = kb.load().facts


def said(told: Told) -> dict[str, Value]:
    """Every fact of every reading."""
    return {fact.name: fact.value for reading in told.readings for fact in reading.facts}


def facts(text: str) -> dict[str, Value]:
    """Facts of a text, all of them in the vocabulary; values in the unit that the reader gives."""
    told = find(Log("train.log", text))
    known = {fact.name: fact for t in told for reading in t.readings for fact in reading.facts}
    assert known.keys() <= SPECS.keys()
    assert all(fact.where is None or fact.where.startswith("train.log:") for fact in known.values())
    return {name: fact.value for name, fact in known.items()}


def note(text: str) -> str:
    return find(Log("train.log", text))[0].readings[0].source.note


def close(value: Value | None, expected: float) -> bool:
    return isinstance(value, float) and value == pytest.approx(expected, rel=1e-3)


# --- Megatron -------------------------------------------------------------------------

ARGUMENTS = """\
using world size: 32, data-parallel-size: 2, tensor-model-parallel size: 4, pipeline-model-parallel size: 4
------------------------ arguments ------------------------
  checkpoint_activations .......................... True
  data_parallel_size .............................. 2
  distributed_backend ............................. nccl
  global_batch_size ............................... 16
  micro_batch_size ................................ 2
  num_workers ..................................... 2
  optimizer ....................................... adam
  params_dtype .................................... torch.float16
  pipeline_model_parallel_size .................... 4
  seq_length ...................................... 512
  tensor_model_parallel_size ...................... 4
  virtual_pipeline_model_parallel_size ............ None
  world_size ...................................... 32
-------------------- end of arguments ---------------------
setting number of micro-batches to constant 4
"""


def iteration(n: int, ms: float, batch: int = 16, more: str = "") -> str:
    return (
        f" iteration {n:8d}/    1000 | consumed samples: {n * batch:12d} | elapsed time per iteration (ms): {ms:.1f} | "
        f"{more}learning rate: 1.500E-04 | global batch size: {batch:5d} | lm loss: 7.5E+00 | loss scale: 4096.0 | "
        "number of skipped iterations:   1 | number of nan iterations:   0 |\n"
    )


OLD = ARGUMENTS + "".join(
    iteration(n, ms)
    + f"time (ms) | forward-compute: {ms / 4:.2f} | forward-recv: {ms / 10:.2f} | backward-compute: {ms / 2:.2f} | "
    f"backward-send-forward-recv: {ms / 20:.2f} | backward-params-all-reduce: {ms / 50:.2f} | "
    f"backward-embedding-all-reduce: {ms / 20:.2f} | optimizer: {ms / 40:.2f} | batch-generator: {ms / 100:.2f}\n"
    for n, ms in ((10, 900.0), (20, 400.0), (30, 402.0), (40, 404.0), (50, 480.0), (60, 402.0))
)
NEW = ARGUMENTS + "".join(
    iteration(n, ms, more="throughput per GPU (TFLOP/s/GPU): 210.5 | ")
    + "(min, max) time across ranks (ms):\n"
    + f"    forward-backward ...............................: ({ms / 2:.2f}, {ms / 1.5:.2f})\n"
    + f"    batch-generator ................................: (1.00, {ms / 4:.2f})\n"
    + f"    forward-recv ...................................: (1.00, {ms / 8:.2f})\n"
    + f"    backward-recv ..................................: (1.00, {ms / 10:.2f})\n"
    + f"    all-grads-sync .................................: ({ms / 8:.2f}, {ms / 5:.2f})\n"
    + f"    optimizer ......................................: ({ms / 50:.2f}, {ms / 40:.2f})\n"
    for n, ms in ((1, 5000.0), (2, 1000.0), (3, 1010.0), (4, 990.0))
)


def test_megatron_one_line_timers() -> None:
    told = facts(OLD)

    assert told["ml.step.time"] == 0.402  # the median: an evaluation falls on the line of 480 ms
    assert told["ml.step.count"] == 50
    assert close(told["ml.pipeline.wait.fraction"], 0.2)
    assert close(told["ml.step.gradient_sync.fraction"], 0.02)
    assert close(told["ml.step.forward.fraction"], 0.25)
    assert close(told["ml.step.backward.fraction"], 0.5)
    assert close(told["ml.step.optimizer.fraction"], 0.025)
    assert close(told["ml.step.data_wait.fraction"], 0.01)
    assert told["ml.step.skipped.count"] == 6
    assert told["run.phase"] == "training"
    assert told["run.gpu.used"] is True
    assert told["config.distributed.strategy"] == "DDP+TP+PP"
    assert told["config.precision.compute"] == "fp16"
    assert told["config.gradient_checkpointing"] is True
    assert told["config.pipeline.stages"] == 4
    assert told["config.pipeline.virtual_stages"] == 1
    assert told["config.pipeline.microbatches"] == 4
    assert told["ml.gradient_accumulation.steps"] == 4
    assert close(told["ml.throughput.samples.job"], 16 / 0.402)
    assert close(told["ml.throughput.tokens"], 16 * 512 / 0.402 / 32)
    assert "the first 10 left out as warm-up" in note(OLD)


def test_megatron_tables_across_ranks() -> None:
    told = facts(NEW)

    assert told["ml.step.time"] == 1.0
    assert told["ml.throughput.flops"] == pytest.approx(210.5e12)
    assert close(told["ml.step.data_wait.fraction"], 0.25)
    assert close(told["ml.pipeline.wait.fraction"], 0.125)  # of the slowest rank, not the sum of several
    assert close(told["ml.step.gradient_sync.fraction"], 0.2)


def test_megatron_maximum_only_and_every_rank() -> None:
    table = "max time across ranks (ms):\n    batch-generator ........: 100.00\n    optimizer ........: 50.00\n"
    ranks = "times across ranks (ms):\n  batch-generator:\n     rank  0: 10.00\n     rank  1: 300.00\n"
    lines = [iteration(n, 1000.0) for n in (101, 102)]

    assert close(facts(lines[0] + table + lines[1] + table)["ml.step.data_wait.fraction"], 0.1)
    more = "  optimizer:\n     rank  0: 5.00\n"
    assert close(facts(lines[0] + ranks + more + lines[1])["ml.step.data_wait.fraction"], 0.3)


def test_checkpoints_have_times_of_their_own() -> None:
    told = facts(NEW + "time (ms) | save-checkpoint: 3000.00\n")

    assert told["ml.checkpoint.time"] == 3.0
    assert told["ml.checkpoint.count"] == 1
    assert close(told["ml.checkpoint.blocking.fraction"], 0.5)


def test_memory_is_that_of_the_fullest_rank() -> None:
    rank = "[Rank {}] (after 10 iterations) memory (MB) | allocated: 1.0 | max allocated: {} | reserved: 9.0\n"

    assert facts(OLD + rank.format(0, "500.5") + rank.format(1, "700.25"))["torch.cuda.memory.allocated.peak"] == 700.25


def test_deepspeed_off_prints_a_stage_that_does_not_hold() -> None:
    dump = "  deepspeed ....................... False\n  zero_stage ....................... 1.0\n"

    assert facts(dump + OLD)["config.distributed.strategy"] == "DDP+TP+PP"
    assert facts(dump.replace("False", "True") + OLD)["config.distributed.strategy"] == "ZeRO-1+TP+PP"


def test_the_smaller_world_of_a_replica_is_not_the_job() -> None:
    assert facts(ARGUMENTS + "  world_size ........... 2\n" + OLD)["config.distributed.world_size"] == 32


# --- DeepSpeed ------------------------------------------------------------------------

ENGINE = """\
[2024-05-01 10:00:00,000] [INFO] [config.py:1000:print]   train_batch_size ............. 64
[2024-05-01 10:00:00,000] [INFO] [config.py:1000:print]   train_micro_batch_size_per_gpu  4
[2024-05-01 10:00:00,000] [INFO] [config.py:1000:print]   world_size ................... 8
[2024-05-01 10:00:00,000] [INFO] [config.py:1000:print]   bfloat16_enabled ............. True
[2024-05-01 10:00:00,000] [INFO] [config.py:1000:print]   zero_config .................. {ZERO}
"""
OLD_ZERO = """{
    "stage": 3,
    "overlap_comm": true,
    "offload_param": {
        "device": "none"
    },
    "offload_optimizer": {
        "device": "cpu"
    }
}"""
NEW_ZERO = (
    "stage=2 overlap_comm=False offload_param=None offload_optimizer=ZeroOffloadConfig(device='none', pin_memory=True)"
)


def speed(step: int, samples: float) -> str:
    return (
        f"worker-0: [INFO] [timer.py:199:stop] epoch=0/micro_step={step * 2}/global_step={step}, "
        f"RunningAvgSamplesPerSec={samples}, CurrSamplesPerSec={samples}, MemAllocated=7.5GB, MaxMemAllocated=10.5GB\n"
    )


def timers(fwd: float, bwd: float, reduce: float, step: float) -> str:
    start = "[INFO] [logging.py:96:log_dist] [Rank 0] "
    return (
        f"{start}rank=0 time (ms) | optimizer_allgather: 3.30 | optimizer_gradients: 7.24 | optimizer_step: 5.38\n"
        f"{start}rank=0 time (ms) | fwd_microstep: {fwd} | bwd_microstep: {bwd} | bwd_inner_microstep: "
        f"{bwd - reduce} | "
        f"bwd_allreduce_microstep: {reduce} | step_microstep: {step}\n"
        f"{start}rank=0 time (ms) | fwd: {fwd} | bwd: {bwd} | bwd_inner: {bwd - reduce} | bwd_allreduce: {reduce} | "
        f"step: {step}\n"
    )


def test_deepspeed_speeds_timers_and_both_forms_of_its_dump() -> None:
    lines = "".join(speed(n, 32.0 if n > 10 else 8.0) for n in (10, 20, 30, 40))
    old = facts(ENGINE.replace("{ZERO}", OLD_ZERO) + lines + timers(100.0, 300.0, 100.0, 600.0))
    new = facts(ENGINE.replace("{ZERO}", NEW_ZERO) + lines)

    assert old["ml.step.time"] == 2.0
    assert old["ml.throughput.samples.job"] == 32.0
    assert old["ml.throughput.samples"] == 4.0
    assert close(old["ml.step.optimizer.fraction"], 0.6)
    assert close(old["ml.step.gradient_sync.fraction"], 0.1)
    assert old["config.distributed.strategy"] == "ZeRO-3"
    assert old["config.offload"] is True
    assert old["config.overlap_comm"] is True
    assert old["config.precision.compute"] == "bf16"
    assert old["torch.cuda.memory.allocated.peak"] == 10.5
    assert old["run.gpu.used"] is True
    assert new["config.distributed.strategy"] == "ZeRO-2"
    assert new["config.offload"] is False
    assert new["config.overlap_comm"] is False


def test_deepspeed_pipeline_overflows_and_flops() -> None:
    steps = "".join(f"steps: {n} loss: 2.3 iter time (s): 1.25 samples/sec: 51.2\n" for n in (10, 20, 30))
    overflow = "[deepscale] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 256, reducing to 128.0\n"
    grad = "Grad overflow on iteration: 14075\n" * 3 + "Grad overflow on iteration 15000\n"
    flops = (
        "fwd+bwd FLOPS per GPU = 3 * fwd flops per GPU / (fwd+bwd latency): 102.5 TFLOPS\n"
        "iter latency:                          184.73 ms\n"
    )

    assert facts(steps)["ml.step.time"] == 1.25
    assert facts(steps + overflow * 2)["ml.step.skipped.count"] == 2
    assert facts(steps + grad)["ml.step.skipped.count"] == 2
    assert facts(flops)["ml.throughput.flops"] == pytest.approx(102.5e12)
    assert facts(flops)["ml.step.time"] == pytest.approx(0.18473)


# --- Hugging Face, bars, Lightning ------------------------------------------------------

BLOCK = """\
***** Running training *****
  Num examples = 52,002
  Instantaneous batch size per device = 4
  Total train batch size (w. parallel, distributed & accumulation) = 128
  Gradient Accumulation steps = 8
  Total optimization steps = 400
  Number of trainable parameters = 6,738,415,616
"""
END = "{'train_runtime': 1000.0, 'train_samples_per_second': 52.0, 'train_steps_per_second': 0.4, 'epoch': 1.0}\n"


def bar(done: int, total: int, elapsed: int, rate: str, desc: str = "", post: str = "") -> str:
    shown = f"{elapsed // 60:02d}:{elapsed % 60:02d}"
    return f"\r{desc}{100 * done // total:3d}%|██        | {done}/{total} [{shown}<99:59, {rate}{post}]"


def test_the_trainers_block_metrics_and_evaluations() -> None:
    evaluation = "{'eval_loss': 1.0, 'eval_runtime': 25.0, 'eval_samples_per_second': 9.9, 'epoch': 0.5}\n"
    told = facts(BLOCK + "{'loss': 1.2, 'learning_rate': 1e-5, 'epoch': 0.1}\n" + evaluation * 1 + END)

    assert told["ml.step.time"] == 2.5
    assert told["ml.step.count"] == 400
    assert told["ml.throughput.samples.job"] == 52.0
    assert told["ml.evaluation.fraction"] == 0.025
    assert told["ml.microbatch.size"] == 4
    assert told["ml.batch.global"] == 128
    assert told["ml.gradient_accumulation.steps"] == 8
    assert told["config.model.parameters"] == 6738415616
    assert find(Log("x", BLOCK + END))[0].seconds == 1000.0


def test_the_trainers_table_and_many_ranks() -> None:
    table = "***** train metrics *****\n  epoch = 1.0\n  train_runtime            = 1:46:40.00\n"

    assert facts(BLOCK + table)["ml.step.time"] == 16.0
    assert facts(BLOCK + END * 16)["ml.step.time"] == 2.5


def test_of_several_tries_in_one_log_the_last_settings_count() -> None:
    dumps = "".join(f"  train_batch_size ............. {n}\n" for n in (2048, 1024, 512))
    end = "{'train_runtime': 273.0, 'train_samples_per_second': 4.0, 'train_steps_per_second': 0.007}\n"

    assert facts(dumps + end)["ml.batch.global"] == 512
    assert facts(dumps + end)["ml.step.time"] == 128.0


def test_bars_over_minutes_are_timed_by_their_clock() -> None:
    shown = "".join(bar(n, 400, 30 + 5 * n, "5.10s/it") for n in range(1, 101))

    assert close(facts(BLOCK + shown + "\n")["ml.step.time"], 5.0)


def test_short_bars_are_timed_by_their_rate() -> None:
    shown = "".join(bar(n, 1000, n // 20, "20.00it/s", "Epoch 0: ", ", v_num=0, train_loss=2.1") for n in (20, 40, 60))
    told = facts(shown)

    assert close(told["ml.step.time"], 0.05)
    assert told["run.phase"] == "training"


def test_a_bare_bar_tells_its_rate_and_not_what_it_is_of() -> None:
    assert facts(bar(3, 25, 10, "3.40s/it")) == {"ml.step.time": 3.4, "ml.step.count": 3.0}


@pytest.mark.parametrize("desc", ["Map: ", "Loading checkpoint shards: ", "Evaluating: ", "Validation DataLoader 0: "])
def test_bars_of_other_things_are_none_of_training(desc: str) -> None:
    assert facts(bar(3, 25, 10, "3.40s/it", desc)) == {}


def test_bars_of_data_sets_count_examples() -> None:
    assert facts(bar(300, 2500, 10, "340.2 examples/s")) == {}


def test_ranks_that_draw_the_same_bar_count_once() -> None:
    one = "".join(bar(n, 8, 100 * n, "100.00s/it") for n in range(1, 9)) + "\n"
    interleaved = "".join(bar(n, 8, 100 * n, "100.00s/it") * 4 for n in range(1, 9)) + "\n"

    for text in (one, one * 16, interleaved):
        assert facts(BLOCK + text)["ml.step.time"] == 100.0
        assert facts(BLOCK + text)["ml.step.count"] == 7


def test_lightnings_rich_bar() -> None:
    shown = "Epoch 0/9 ━━━━━━━╸━━━━━ 10/100 0:00:05 • 0:00:47 2.00it/s v_num: 0 train_loss: 2.3\n"

    assert facts(shown)["ml.step.time"] == 0.5


SIMPLE = """\
FIT Profiler Report

-----------------------------------------------------------------------------
|  Action    |  Mean duration (s)    |  Num calls  |  Total time (s) |  Percentage %  |
-----------------------------------------------------------------------------
|  Total    |  -    |  1981    |  200.0    |  100 %    |
|  run_training_epoch    |  100.0    |  1    |  100.0    |  50.0    |
|  [_TrainingEpochLoop].train_dataloader_next   |  0.4    |  100    |  40.0    |  20.0    |
|  run_training_batch    |  0.55    |  100    |  55.0    |  27.5    |
"""
FIRST = """\
Profiler Report

Action              \t|  Mean duration (s)\t|  Total time (s)
-----------------------------------------------------------------
get_train_batch     \t|  0.3            \t|  3.0
model_forward       \t|  0.2            \t|  2.0
model_backward      \t|  0.3            \t|  3.0
optimizer_step      \t|  0.2            \t|  2.0
"""
ADVANCED = """\
Profile stats for: [_TrainingEpochLoop].train_dataloader_next
         4000 function calls (3900 primitive calls) in 30.000 seconds

   Ordered by: cumulative time

   ncalls  tottime  percall  cumtime  percall filename:lineno(function)
      100    0.001    0.000   30.000    0.300 fetchers.py:88(__next__)

Profile stats for: run_training_batch
         9000 function calls in 70.000 seconds

   ncalls  tottime  percall  cumtime  percall filename:lineno(function)
      100    0.001    0.000   70.000    0.700 loop.py:1(run)
"""


@pytest.mark.parametrize(("report", "step", "wait"), [(SIMPLE, 1.0, 0.4), (FIRST, 1.0, 0.3), (ADVANCED, 1.0, 0.3)])
def test_lightnings_profilers(report: str, step: float, wait: float) -> None:
    told = facts(report)

    assert close(told["ml.step.time"], step)
    assert close(told["ml.step.data_wait.fraction"], wait)
    assert close(told["ml.step.data_wait.logged.fraction"], wait)


def test_lightnings_start() -> None:
    start = (
        "GPU available: True (cuda), used: True\nUsing bfloat16 Automatic Mixed Precision (AMP)\n"
        "Initializing distributed: GLOBAL_RANK: 0, MEMBER: 1/8\n"
        "The 'train_dataloader' does not have many workers which may be a bottleneck.\n"
    )
    shown = start + bar(20, 1000, 10, "2.00it/s", "Epoch 0: ", ", v_num=0")

    assert facts(shown)["run.gpu.used"] is True
    assert facts(shown)["config.precision.compute"] == "bf16"
    assert facts(shown)["config.distributed.world_size"] == 8
    assert "few workers" in note(shown)


# --- step lines of all kinds ------------------------------------------------------------

LOOPS: dict[str, tuple[list[str], float, float | None]] = {
    "ImageNet example": (
        [
            "Epoch: [0][  0/5005]\tTime  9.100 ( 9.100)\tData  7.100 ( 7.100)\tLoss 7.0e+00 (7.0e+00)",
            "Epoch: [0][ 99/5005]\tTime  0.345 ( 0.487)\tData  0.001 ( 0.170)\tLoss 6.9e+00 (6.9e+00)",
            "Epoch: [0][199/5005]\tTime  0.501 ( 0.4435)\tData  0.201 ( 0.135)\tLoss 6.9e+00 (6.9e+00)",
        ],
        0.4,
        0.25,
    ),
    "timm": (
        [
            "Train: 0 [   0/1251 (  0%)]  Loss: 6.94 (6.94)  Time: 5.1s,  100.0/s  (5.1s,  100.0/s)  LR: "
            "1e-06  Data: 2.1 (2.1)",
            "Train: 0 [  50/1251 (  4%)]  Loss: 6.93 (6.94)  Time: 0.3s,  731.4/s  (0.394s,  556.5/s)  LR: "
            "1e-06  Data: 0.1 (0.139)",
            "Train: 0 [ 100/1251 (  8%)]  Loss: 6.92 (6.93)  Time: 0.3s,  727.2/s  (0.3475s,  630.5/s)  LR: "
            "1e-06  Data: 0.1 (0.1198)",
        ],
        0.3,
        0.33397,
    ),
    "torchvision": (
        [
            f"Epoch: [0]  [{n:3d}/625]  eta: 0:01:00  lr: 0.1  img/s: 90.3  loss: 6.9 (6.9)  time: {t}  "
            f"data: {d}  max mem: 7650"
            for n, t, d in ((0, 5.9, 3.9), (10, 0.40, 0.10), (20, 0.40, 0.10), (30, 0.40, 0.10))
        ],
        0.4,
        0.25,
    ),
    "mmengine": (
        [
            f"2023/02/01 10:1{n}:12 - mmengine - INFO - Epoch(train)  [1][{50 * n:4d}/7330]  lr: 1.9e-03  "
            f"eta: 1 day, 2:03:04  "
            f"time: {t}  data_time: {d}  memory: 3806  loss: 2.5"
            for n, t, d in ((1, 1.06, 0.41), (2, 0.6, 0.3), (3, 0.6, 0.3))
        ],
        0.6,
        0.5,
    ),
    "detectron2": (
        [
            f"[11/01 11:27:{n:02d} d2.utils.events]:  eta: 8:05:12  iter: {1239 + n}  total_loss: 1.012  time: 0.3000  "
            "last_time: 0.2900  data_time: 0.0300  last_data_time: 0.0010  lr: 0.010000  max_mem: 3961M"
            for n in (20, 40)
        ],
        0.3,
        0.1,
    ),
    "nanoGPT": (
        [f"iter {n}: loss 8.5, time {t}ms, mfu 38.10%" for n, t in ((0, 24321.1), (10, 135.0), (20, 137.0))],
        0.136,
        None,
    ),
    "own, milliseconds before": ([f"step {n} loss 2.3 lr 1e-4 350 ms/step" for n in (100, 200)], 0.35, None),
    "own, rate": ([f"step {n} | loss 2.3 | 4.0 it/s" for n in (100, 200)], 0.25, None),
    "MaxText": (
        [
            f"completed step: {n}, seconds: {t}, TFLOP/s/device: 257.9, Tokens/s/device: 36653.2, "
            f"total_weights: 65536, loss: 10.8"
            for n, t in ((0, 31.1), (1, 1.341), (2, 1.343))
        ],
        1.342,
        None,
    ),
    "NeMo": (
        [
            f"Training epoch 0, iteration {n}/149 | lr: 3e-05 | global_batch_size: 8 | global_step: {n} | "
            "reduced_train_loss: 1.233 | train_step_timing in s: 0.5"
            for n in (120, 121)
        ],
        0.5,
        None,
    ),
    "torchtitan, by the clock": (
        [
            f"[rank0]:[titan] 2025-06-16 22:31:{s:06.3f} - root - INFO - step: {n}  loss:  6.0  memory: "
            f"49.66GiB(52.28%)  "
            "tps: 5,593  tflops: 323.92  mfu: 32.75%".replace(".0", ",0", 1)
            for n, s in ((10, 4.0), (20, 18.0), (30, 32.0))
        ],
        1.4,
        None,
    ),
    "fairseq": (
        [
            f"2020-07-17 07:1{n}:02 | INFO | train_inner | epoch 001:   {n}00 / 160368 loss=9.2, ppl=611.12, "
            f"wps=57.3, ups=4, "
            f"wpb=1613, bsz=80, num_updates={n}00, lr=2.8e-05, gnorm=3.23, train_wall=13, wall=1236"
            for n in (1, 2)
        ],
        0.25,
        None,
    ),
    "PaddlePaddle": (
        [
            f"global step {n}, epoch: 0, batch: {n - 1}, loss: 10.9, avg_reader_cost: 0.1 sec, "
            f"avg_batch_cost: 0.4 sec, "
            "speed: 2.50 step/s, ips: 23000 tokens/s, learning rate: 1e-5"
            for n in (10, 20)
        ],
        0.4,
        0.25,
    ),
    "Composer": (
        [
            f"[epoch=1][batch={n}/100]:\n\t Train time/batch: 9\n\t Train throughput/batches_per_sec: 0.4\n"
            "\t Train throughput/device/tokens_per_sec: 8190.1\n\t Train loss/train/total: 11.65"
            for n in (10, 11)
        ],
        2.5,
        None,
    ),
    "Keras": (
        ["500/500 [==============================] - 120s 240ms/step - loss: 0.5123 - accuracy: 0.85"],
        0.24,
        None,
    ),
    "estimator": ([f"INFO:tensorflow:loss = 2.3, step = {n} (18.5 sec)" for n in (100, 200, 300)], 0.185, None),
    "ms-swift": (
        [
            "{'loss': 0.48, 'grad_norm': 25.8, 'learning_rate': 1e-06, 'memory(GiB)': 69.19, "
            "'train_speed(iter/s)': 0.125, "
            f"'epoch': 0.24, 'global_step/max_steps': '{n}/94', 'elapsed_time': '16m 51s'}}"
            for n in (11, 12)
        ],
        8.0,
        None,
    ),
    "LLaMA-Factory": (
        [
            f'{{"current_steps": {n}, "total_steps": 100, "loss": 2.3, "lr": 1e-5, "epoch": 0.1, '
            f'"elapsed_time": "0:0{n // 10}:00"}}'
            for n in (10, 20, 30)
        ],
        6.0,
        None,
    ),
    "SlowFast": (
        [
            f"json_stats: "
            f'{{"_type": "train_iter", "dt": 4.0, "dt_data": 1.0, "dt_net": 3.0, "epoch": "10/50", "eta": "8:54:59", '
            f'"gpu_mem": "4.68G", "iter": "{n}/159", "loss": 2.4, "lr": 0.00038}}'
            for n in (90, 100)
        ],
        4.0,
        0.25,
    ),
    "time since the start": ([f"step {n} loss 9.0 time {n * 1.0}" for n in (10, 20, 30, 40, 50)], 1.0, None),
}


PREFIXES = ("", "[rank3]: ", "  3: ", "2024-06-01T10:00:00.123456Z ", "> ")
WITHOUT = {  # prefixes that these cannot have: their lines have no counter of their own, or are timed by the clock
    "Composer": PREFIXES[1:],
    "Keras": PREFIXES[1:],
    "torchtitan, by the clock": PREFIXES[3:4],
}


@pytest.mark.parametrize(
    ("loop", "prefix"), [(loop, prefix) for loop in LOOPS for prefix in PREFIXES if prefix not in WITHOUT.get(loop, ())]
)
def test_step_lines(loop: str, prefix: str) -> None:
    lines, step, wait = LOOPS[loop]
    text = "Some other program says hello\n" + "\n".join(prefix + line for line in lines) + "\n$ exit\n"
    told = facts(text)

    assert close(told["ml.step.time"], step)
    assert told["run.phase"] == "training"
    if wait is None:
        assert "ml.step.data_wait.fraction" not in told
    else:
        assert close(told["ml.step.data_wait.fraction"], wait)


def test_throughput_and_memory_in_step_lines() -> None:
    titan = facts("\n".join(LOOPS["torchtitan, by the clock"][0]))

    assert titan["ml.throughput.tokens"] == 5593
    assert titan["ml.mfu"] == 0.3275
    assert titan["hw.gpu.memory.peak_utilization"] == 0.5228
    assert "torch.cuda.memory.allocated.peak" not in titan  # what is printed there is what the allocator reserved
    assert facts("\n".join(LOOPS["MaxText"][0]))["ml.throughput.flops"] == pytest.approx(257.9e12)
    assert facts("\n".join(LOOPS["torchvision"][0]))["torch.cuda.memory.allocated.peak"] == 7650 * 2.0**20
    assert facts("\n".join(LOOPS["PaddlePaddle"][0]))["ml.throughput.tokens.job"] == 23000
    assert facts("\n".join(LOOPS["fairseq"][0]))["ml.throughput.tokens.job"] == 57.3


def test_evaluations_are_no_steps() -> None:
    lines = LOOPS["mmengine"][0]
    val = lines[1].replace("Epoch(train)", "Epoch(val)").replace("time: 0.6", "time: 9.9")

    assert close(facts("\n".join([*lines[:2], val, val, lines[2]]))["ml.step.time"], 0.6)


def test_of_several_runs_the_longest_is_used() -> None:
    first = [f"step {n} loss 9.0 time {t}s" for n, t in ((1, 10.0), (2, 1.0), (3, 1.0))]
    second = [f"step {n} loss 9.0 time {t}s" for n, t in ((1, 12.0), (2, 2.0), (3, 2.0), (4, 2.0))]

    assert facts("\n".join(first + second))["ml.step.time"] == 2.0
    assert "of 2 runs" in note("\n".join(first + second))


def test_talk_about_steps_is_no_log() -> None:
    for text in (
        "My training step takes 350 ms and I do step 3 of the tutorial, batch 32, why is the GPU idle?",
        "INFO 01-01 10:00:00 engine.py: Avg prompt throughput: 100.0 tokens/s, Running: 3 reqs",
        "Step 1: install the driver. Step 2: reboot after 10 s.",
    ):
        assert facts(text) == {}


def test_a_paste_in_a_chat_is_read_as_well() -> None:
    text = "why is this slow?\n```\n" + "\n".join("> " + line for line in LOOPS["nanoGPT"][0]) + "\n```\nthanks"

    paste = read_paste(text)
    assert paste is not None
    assert close(said(paste.told)["ml.step.time"], 0.136)


# --- statistics ---------------------------------------------------------------------------


def test_percentiles_and_drift_need_steps_that_were_timed_one_by_one() -> None:
    text = "\n".join(f"step {n} loss 2.0 time {0.1 if n < 150 else 0.2:.3f}s" for n in range(1, 301))
    told = facts(text)

    assert told["ml.step.count"] == 299
    assert told["ml.step.time.p95"] == 0.2
    assert close(told["ml.step.time.trend"], 1.0)
    assert "ml.step.time.p95" not in facts(NEW.replace("iteration ", "iterations "))


def test_single_steps_are_averaged_and_means_over_steps_give_their_median() -> None:
    single = {r[0]: r[1] for r in step_rows(window([Step(s, i) for i, s in enumerate((1.0, 1.0, 1.0, 5.0))]))}
    lines = [Step(s, i, (2, i), 10) for i, s in enumerate((1.0, 1.0, 5.0, 1.0), 1)]
    means = {r[0]: r[1] for r in step_rows(window(lines))}

    assert single["ml.step.time"] == 2.0
    assert means["ml.step.time"] == 1.0
    assert means["ml.step.count"] == 40.0


# --- robustness ----------------------------------------------------------------------------

EVERYTHING = (
    OLD + NEW + ENGINE.replace("{ZERO}", OLD_ZERO) + timers(1.0, 2.0, 0.5, 3.0) + BLOCK + END + SIMPLE + ADVANCED
)
EVERYTHING += "\n".join(line for lines, _, _ in LOOPS.values() for line in lines) + bar(3, 25, 10, "3.40s/it")


def told_or_sentence(data: bytes) -> None:
    try:
        told = read([Artefact("train.log", data=data)], no_tick)
    except InputError:
        return
    for reading in told[0].readings:
        assert {fact.name for fact in reading.facts} <= SPECS.keys()


def test_cut_off_after_every_line() -> None:
    lines = EVERYTHING.split("\n")
    for end in range(0, len(lines), 3):
        told_or_sentence("\n".join(lines[:end]).encode())


def test_encodings() -> None:
    for encoding in ("utf-8-sig", "utf-16", "latin-1"):
        data = "\n".join(LOOPS["nanoGPT"][0]).encode(encoding) + "\nGröße é\n".encode(encoding)
        (told,) = read([Artefact("train.log", data=data)], no_tick)
        assert close(said(told)["ml.step.time"], 0.136)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_mutated_logs_give_facts_or_a_sentence(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    data = bytearray(EVERYTHING.encode())
    for _ in range(changes):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(4)] = bytes(chance.choice(b"0123456789.:|/[](){}nae \n\t%-") for _ in range(3))
    told_or_sentence(bytes(data))


@pytest.mark.parametrize(
    "text",
    [
        "step 1 " + " " * 100_000,
        ("step 3 " + "abc def ghi " * 240 + "\n") * 30,
        "iter " + "1" * 100_000,
        "iteration 1/ 2 | " * 6_000,
        "Profiler Report\n" + ("a" + " " * 3000 + "\n") * 30,
        "time across ranks (ms):\n" + "  rank 1: 1.0\n" * 5_000,
        "{'loss': " * 10_000,
        "[00:01<00:02, " * 6_000,
        "world_size " + "." * 100_000,
        "step 1 (((((((((( " * 5_000,
        "step 1 time: 1e308 loss\nstep 2 time: 1e308 loss\nstep 3 time 1e999 loss\n" * 100,
    ],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    began = time.monotonic()
    told_or_sentence(text.encode())

    assert time.monotonic() - began < 3


# --- real logs -------------------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize(
    ("name", "stages", "step"),
    [
        ("meg_gpt2_base_n8_dp1_tp4_pp8-1809562.out", 8, 1.617),
        ("meg_gpt2_base_n16_dp1_tp4_pp16-1809577.out", 16, 2.739),
        ("meg_gpt2_base_n32_dp1_tp4_pp32-1809620.out", 32, 4.212),
    ],
)
def test_real_pipelines(name: str, stages: float, step: float) -> None:
    path = SHARED / name
    told = said(read([Artefact(name, path)], no_tick)[0])

    assert told["config.pipeline.stages"] == stages
    assert told["ml.step.time"] == pytest.approx(step, rel=0.005)


@needs_samples
def test_a_real_run_of_the_trainer() -> None:
    told = read([Artefact("log", SHARED / "hf_ds_gpt2_base_n16-1832552.out")], no_tick)[0]
    known = said(told)

    assert told.seconds == pytest.approx(871.8, rel=0.005)
    assert known["ml.throughput.samples.job"] == 1.147
    assert known["config.distributed.strategy"] == "ZeRO-3"
    assert known["config.offload"] is True


def test_the_finder_is_registered() -> None:
    assert any(f.name == "training log" and f.sign.search(EVERYTHING) for f in FINDERS)

"""Logs of training jobs: Megatron-LM, timm, the Trainer of Hugging Face, DeepSpeed, torchtitan."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from bench.accuracy.captures.machine import Machine

START = datetime(2025, 3, 11, 12, 0, 0, tzinfo=UTC)


def steps(machine: Machine, count: int) -> Iterator[tuple[int, float, float]]:
    """Number, whole time and wait of each step, in seconds: what slows down with time does so evenly."""
    told, rng = machine.section("training"), machine.noise("steps")
    drift = float(told.get("drift", 0.0))
    for n in range(1, count + 1):
        first = 6.0 if n == 1 else 0.0
        slower = 1 + drift * n / count
        wait = machine.wait * rng.uniform(0.9, 1.1)
        spike = float(told.get("spike", 0.0)) if told.get("every") and n % int(told["every"]) == 0 else 0.0
        yield n, first + slower * (machine.compute + machine.comm) * rng.uniform(0.995, 1.008) + wait + spike, wait


def megatron(machine: Machine) -> dict[str, str]:
    """Iterations with timers across ranks, log interval 10; checkpoints where the description saves them."""
    told = machine.section("training")
    world, tensor, pipe = told.get("world", 16), told.get("tp", 4), told.get("pp", 1)
    data = world // tensor // pipe
    micro, accum = told.get("micro_batch", 2), told.get("accum", 16)
    batch = micro * accum * data
    arguments = {
        "world_size": world, "data_parallel_size": data, "tensor_model_parallel_size": tensor,
        "pipeline_model_parallel_size": pipe, "virtual_pipeline_model_parallel_size": told.get("vp"),
        "micro_batch_size": micro, "global_batch_size": batch, "seq_length": 4096, "num_layers": 40,
        "hidden_size": 5120, "bf16": told.get("precision", "bf16") == "bf16", "fp16": told.get("precision") == "fp16",
        "params_dtype": "torch.bfloat16" if told.get("precision", "bf16") == "bf16" else "torch.float16",
        "num_workers": told.get("workers", 8), "distributed_backend": "nccl", "log_interval": 10,
        "overlap_grad_reduce": True, "recompute_granularity": None, "optimizer": "adam", "save_interval": 200,
    }  # fmt: skip
    lines = [f"using world size: {world}, data-parallel size: {data}, tensor-model-parallel size: {tensor}, "
             f"pipeline-model-parallel size: {pipe}", "------------------------ arguments ------------------------"]  # fmt: skip
    lines += [f"  {name} {'.' * (48 - len(name))} {value}" for name, value in sorted(arguments.items())]
    lines += ["-------------------- end of arguments ---------------------", "> building train, validation, and test datasets ...",
              " > finished creating GPT datasets ...", "[after dataloaders are built] datetime: 2025-03-11 12:00:41",
              "training ..."]  # fmt: skip
    held = told.get("allocated", machine.gpus[0].used - 2400)
    lines.append(f"[Rank 0] (after 10 iterations) memory (MB) | allocated: {held * 0.4:.1f} | max allocated: {held:.1f} | "
                 f"reserved: {held + 1200:.1f} | max reserved: {held + 1200:.1f}")  # fmt: skip
    done = list(steps(machine, 400))
    skipped = machine.noise("skipped")
    for at in range(10, 401, 10):
        part = done[at - 10 : at]
        lines += _iterations(machine, at, sum(s for _, s, _ in part) / 10, batch, skipped.random())
        if told.get("save_s") and at % int(told.get("save_every", 200)) == 0:
            lines += [f"saving checkpoint at iteration {at:7d} to /data/ckpt in torch format",
                      f"  successfully saved checkpoint from iteration {at:7d} to /data/ckpt [ t 0, p 0 ]",
                      "(min, max) time across ranks (ms):",
                      f"    save-checkpoint ................................: ({told['save_s'] * 998:.2f}, {told['save_s'] * 1000:.2f})"]  # fmt: skip
    return {"megatron.log": "\n".join(lines) + "\n"}


def _iterations(machine: Machine, at: int, step: float, batch: int, draw: float) -> list[str]:
    told = machine.section("training")
    stamp = START + timedelta(seconds=at * machine.step)
    skips = int(told.get("skip_rate", 0.0) * 10 + draw)
    flops = told.get("tflops", 410.0) * float(told.get("compute", 2.0)) / step
    scale = 4_294_967_296.0 if not skips else 2.0 ** max(0, 16 - at // 40)
    head = (
        f" [{stamp:%Y-%m-%d %H:%M:%S}] iteration {at:8d}/   50000 | consumed samples: {at * batch:12d} | "
        f"elapsed time per iteration (ms): {1000 * step:.1f} | throughput per GPU (TFLOP/s/GPU): {flops:.1f} | "
        f"learning rate: 1.500000E-04 | global batch size: {batch:5d} | lm loss: {2.1 + 60 / (at + 20):.6E} | "
        f"loss scale: {scale if told.get('precision') == 'fp16' else 1.0:.1f} | grad norm: 0.412 | "
        f"number of skipped iterations: {skips:3d} | number of nan iterations:   0 |"
    )
    ms = 1000 * step
    sync = min(0.97, (machine.comm + told.get("sync", 0.02) * machine.compute) / machine.step)
    wait = machine.wait / machine.step
    bubble = told.get("bubble", 0.0)
    rest = max(0.0, 1 - sync - wait - bubble - 0.03)
    shares = {"forward-backward": 0.97 - sync - wait, "forward-compute": rest * 0.34, "backward-compute": rest * 0.64,
              "batch-generator": wait, "all-grads-sync": sync, "optimizer": 0.025}  # fmt: skip
    if told.get("pp", 1) > 1:
        shares |= {"forward-recv": bubble * 0.6, "backward-recv": bubble * 0.4, "forward-send": 0.001,
                   "backward-send": 0.001}  # fmt: skip
    rows = [f"    {name} {'.' * (47 - len(name))}: ({ms * s * 0.985:.2f}, {ms * s:.2f})" for name, s in shares.items()]
    return [head, "(min, max) time across ranks (ms):", *rows]


def timm(machine: Machine) -> dict[str, str]:
    """The training script of pytorch-image-models: meters with running means, the data time beside them."""
    told = machine.section("training")
    world, size = told.get("world", 8), told.get("batch", 256)
    lines = [
        f"Training in distributed mode with multiple processes, 1 device per process.Process 0, total {world}, device cuda:0.",
        "Model resnet50 created, param count:25557032",
        "Using native Torch AMP. Training in mixed precision.",
        "Scheduled epochs: 300. LR stepped per epoch.",
    ]
    time_sum = data_sum = 0.0
    for n, step, wait in steps(machine, 600):
        time_sum, data_sum = time_sum + step, data_sum + wait
        if (n - 1) % 50:
            continue
        mean, data = time_sum / n, data_sum / n
        lines.append(
            f"Train: 3 [{n - 1:4d}/1251 ({100 * (n - 1) / 1250:3.0f}%)]  Loss: {4.1 - n / 900:.3g} ({4.2 - n / 900:.3g})  "
            f"Time: {step:.3f}s, {size * world / step:7.2f}/s  ({mean:.3f}s, {size * world / mean:7.2f}/s)  "
            f"LR: 4.000e-01  Data: {wait:.3f} ({data:.3f})"
        )
    return {"train.log": "\n".join(lines) + "\n"}


def huggingface(machine: Machine) -> dict[str, str]:
    """The Trainer: the block before training, progress bar, losses, and the metrics at the end."""
    told = machine.section("training")
    world, size, accum, count = told.get("world", 8), told.get("batch", 4), told.get("accum", 4), 500
    lines = ["***** Running training *****", "  Num examples = 160,000", "  Num Epochs = 1",
             f"  Instantaneous batch size per device = {size}",
             f"  Total train batch size (w. parallel, distributed & accumulation) = {size * world * accum}",
             f"  Gradient Accumulation steps = {accum}", f"  Total optimization steps = {count}",
             "  Number of trainable parameters = 8,030,261,248"]  # fmt: skip
    gone = 0.0
    for n, step, _ in steps(machine, count):
        gone += step
        if told.get("save_s") and n % int(told.get("save_every", 100)) == 0:
            lines += [f"Saving model checkpoint to out/checkpoint-{n}", f"Model weights saved in out/checkpoint-{n}"]
            gone += float(told["save_s"])
        if n % 10 == 0:
            left = (count - n) * step
            lines.append(
                f" {100 * n // count:2d}%|{'█' * (n // 50):<10}| {n}/{count} [{_clock(gone)}<{_clock(left)}, {step:5.2f}s/it]"
            )
            lines.append(
                f"{{'loss': {1.9 - n / 800:.4f}, 'grad_norm': 1.21, 'learning_rate': 1.9e-05, 'epoch': {n / count:.2f}}}"
            )
    samples = count * size * world * accum
    lines.append(
        f"{{'train_runtime': {gone:.4f}, 'train_samples_per_second': {samples / gone:.3f}, "
        f"'train_steps_per_second': {count / gone:.3f}, 'train_loss': 1.2841, 'epoch': 1.0}}"
    )
    return {"trainer.log": "\n".join(lines) + "\n"}


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes:02d}:{whole % 60:02d}"


def titan(machine: Machine) -> dict[str, str]:
    """torchtitan: a line per ten steps with tokens per second and the share of peak FLOPS."""
    told = machine.section("training")
    tokens, lines = told.get("tokens", 16384), []
    lines.append("[rank0]:[titan] 2025-03-11 12:00:02,114 - root - INFO - Starting job: Llama 3 8B training")
    lines.append(f"[rank0]:[titan] 2025-03-11 12:00:05,310 - root - INFO - CUDA capacity: {machine.model.name} with "
                 f"{machine.model.memory / 1024:.2f}GiB memory")  # fmt: skip
    lines.append(
        "[rank0]:[titan] 2025-03-11 12:00:31,870 - root - INFO - Training starts at step 1, with local batch size 2,"
    )
    gone, used = 0.0, machine.gpus[0].used / 1024
    for n, step, _ in steps(machine, 300):
        gone += step
        if n % 10 and n != 1:
            continue
        mfu = 100 * told.get("mfu", 0.41) * float(told.get("compute", 2.0)) / step
        stamp = START + timedelta(seconds=32 + gone)
        lines.append(
            f"[rank0]:[titan] {stamp:%Y-%m-%d %H:%M:%S},{stamp.microsecond // 1000:03d} - root - INFO - step: {n:2d}  "
            f"loss: {7.8 - n / 90:7.4f}  grad_norm: {1.4:7.4f}  memory: {used:5.2f}GiB({100 * used * 1024 / machine.model.memory:.2f}%)  "
            f"tps: {tokens / step:,.0f}  tflops: {10 * mfu:,.2f}  mfu: {mfu:.2f}%"
        )
    return {"titan.log": "\n".join(lines) + "\n"}


def deepspeed(machine: Machine) -> dict[str, str]:
    """DeepSpeed's engine with wall_clock_breakdown, and its settings."""
    told = machine.section("training")
    world, micro, accum = told.get("world", 16), told.get("micro_batch", 4), told.get("accum", 2)
    batch = world * micro * accum
    head = "[2025-03-11 12:{m:02d}:{s:02d},{ms:03d}] [INFO] "
    lines = [head.format(m=0, s=4, ms=3) + f"[config.py:1001:print]   {name} {'.' * (28 - len(name))} {value}" for name, value in {
        "bfloat16_enabled": told.get("precision", "bf16") == "bf16", "fp16_enabled": told.get("precision") == "fp16",
        "gradient_accumulation_steps": accum, "train_batch_size": batch, "train_micro_batch_size_per_gpu": micro,
        "world_size": world, "zero_optimization_stage": told.get("zero", 2), "wall_clock_breakdown": True,
    }.items()]  # fmt: skip
    lines.insert(0, head.format(m=0, s=1, ms=118) + f"[launch.py:145:main] nnodes={max(1, world // 8)}, "
                 f"num_local_procs={min(8, world)}, node_rank=0")  # fmt: skip
    gone, skipped, rng = 0.0, 0, machine.noise("overflow")
    for n, step, _ in steps(machine, 200):
        gone += step
        minute, second = divmod(int(gone), 60)
        front = head.format(m=minute % 60, s=second, ms=n % 1000)
        if rng.random() < told.get("skip_rate", 0.0):
            skipped += 1
            lines.append(
                front + "[loss_scaler.py:190:update_scale] [deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss "
                f"scale: {2 ** max(1, 16 - skipped // 4)}, reducing to {2 ** max(0, 15 - skipped // 4)}"
            )
        if n % 10 == 0:
            ms, sync = 1000 * (step - machine.wait), machine.comm / machine.step
            lines += [
                front
                + f"[logging.py:96:log_dist] [Rank 0] step={n}, skipped={skipped}, lr=[1.2e-05], mom=[[0.9, 0.95]]",
                front + f"[timer.py:260:stop] epoch=0/micro_step={n * accum}/global_step={n}, RunningAvgSamplesPerSec="
                f"{batch / machine.step:.4f}, CurrSamplesPerSec={batch / step:.4f}, MemAllocated=34.21GB, MaxMemAllocated=61.02GB",
                front
                + f"[logging.py:96:log_dist] [Rank 0] time (ms) | fwd: {ms * 0.31 * (1 - sync):.2f} | bwd: {ms * (0.63 * (1 - sync) + sync):.2f} | "
                f"bwd_inner: {ms * 0.63 * (1 - sync):.2f} | bwd_allreduce: {ms * sync:.2f} | step: {ms * 0.06 * (1 - sync):.2f}",
            ]
    return {"deepspeed.log": "\n".join(lines) + "\n"}

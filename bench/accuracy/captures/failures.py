"""How jobs end: messages about device memory, killed workers, timeouts of collectives; and stacks of jobs that hang."""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

from bench.accuracy.captures.machine import Machine

_TRACEBACK = """\
[rank{rank}]: Traceback (most recent call last):
[rank{rank}]:   File "/workspace/train.py", line 214, in <module>
[rank{rank}]:     main(args)
[rank{rank}]:   File "/workspace/train.py", line 171, in main
[rank{rank}]:     loss = model(batch["input_ids"], labels=batch["labels"]).loss
[rank{rank}]:   File "/opt/conda/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1751, in _wrapped_call_impl
[rank{rank}]:     return self._call_impl(*args, **kwargs)
"""


def memory(machine: Machine) -> dict[str, str]:
    """What PyTorch says when it cannot get memory; sizes follow from what holds the card."""
    told = machine.section("oom")
    rank, total = told.get("rank", 0), machine.model.memory / 1024
    allocated, unused = told["allocated_gib"], told.get("unused_gib", 0.4)
    own = allocated + unused + told.get("context_gib", 0.9)
    others = [(41888 + i, gib) for i, gib in enumerate(told.get("others_gib", ()))]
    free_gib = max(0.02, total - own - sum(gib for _, gib in others))
    listed = "".join(f"Process {pid} has {gib:.2f} GiB memory in use. " for pid, gib in others)
    text = (
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {_size(told['tried_gib'])}. GPU {rank} has a total "
        f"capacity of {total:.2f} GiB of which {_size(free_gib)} is free. {listed}Including non-PyTorch memory, this process "
        f"has {own:.2f} GiB memory in use. Of the allocated memory {allocated:.2f} GiB is allocated by PyTorch, and "
        f"{_size(unused)} is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory Management  "
        "(https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
    )
    end = "E0311 13:02:11.482000 41002 torch/distributed/elastic/multiprocessing/api.py:874] failed (exitcode: 1) local_rank: "
    return {"oom.log": _TRACEBACK.format(rank=rank) + f"[rank{rank}]: {text}\n{end}{rank} (pid: {41210 + rank})\n"}


def _size(gib: float) -> str:
    return f"{gib:.2f} GiB" if gib >= 1 else f"{gib * 1024:.2f} MiB"


def text(machine: Machine) -> dict[str, str]:
    """Lines of a log as the description gives them, between the ordinary ones of a start and of steps."""
    told = machine.section("text")
    return {str(told.get("file", "job.log")): "\n".join(told["lines"]) + "\n"}


_STACKS = {
    "compute": (
        "_engine_run_backward (torch/autograd/graph.py:824)", "backward (torch/autograd/__init__.py:353)",
        "backward (torch/_tensor.py:648)", "train_step (train.py:121)", "main (train.py:171)", "<module> (train.py:214)",
    ),
    "collective": (
        "wait (torch/distributed/distributed_c10d.py:4471)", "barrier (torch/distributed/distributed_c10d.py:4690)",
        "wrapper (torch/distributed/c10d_logger.py:81)", "sync_gradients (train.py:133)", "main (train.py:172)",
        "<module> (train.py:214)",
    ),
    "loader": (
        "wait (threading.py:331)", "get (queue.py:180)", "_try_get_data (torch/utils/data/dataloader.py:1251)",
        "_get_data (torch/utils/data/dataloader.py:1402)", "_next_data (torch/utils/data/dataloader.py:1448)",
        "__next__ (torch/utils/data/dataloader.py:733)", "main (train.py:164)", "<module> (train.py:214)",
    ),
}  # fmt: skip


def dumps(machine: Machine) -> dict[str, str]:
    """``py-spy dump`` of every rank: where each stands."""
    places = machine.section("stacks").get("ranks", ["compute"] * 8)
    return {f"py-spy-{rank}.txt": _dump(rank, place) for rank, place in enumerate(places)}


def _dump(rank: int, place: str) -> str:
    state = "active" if place == "compute" else "idle"
    frames = "".join(f"    {frame}\n" for frame in _STACKS[place])
    return (
        f"Process {41210 + rank}: /opt/conda/bin/python train.py --config llama.yaml\n"
        "Python v3.11.9 (/opt/conda/bin/python3.11)\n\n"
        f'Thread {41210 + rank} ({state}): "MainThread"\n{frames}'
        f'Thread {42210 + rank} (idle): "Thread-1"\n    wait (threading.py:331)\n    wait (threading.py:629)\n'
        "    run (tqdm/_monitor.py:60)\n    _bootstrap_inner (threading.py:1045)\n    _bootstrap (threading.py:1002)\n"
        f'Thread {43210 + rank} (idle): "pin_memory"\n    select (selectors.py:415)\n    wait (multiprocessing/connection.py:947)\n'
        "    _poll (multiprocessing/connection.py:440)\n    get (multiprocessing/queues.py:113)\n"
        "    do_one_step (torch/utils/data/_utils/pin_memory.py:35)\n    _pin_memory_loop (torch/utils/data/_utils/pin_memory.py:59)\n"
    )

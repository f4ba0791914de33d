"""Run by the user's Python, with their torch: ``torch_script.py about|h2d|matmul SECONDS BYTES``.

Standard library and torch only, Python 3.8 and later; the last line of stdout is one JSON object. Never imported.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

sys.path.pop(0)  # this script's own folder: the program's imports do not see it either
ROUNDS = 3
SIZES = (512, 1024, 2048, 4096, 8192)
GPU_SPARE = 2 << 30  # CUDA's context and the workspaces of its libraries, so that no job runs out of memory


def main(what: str, seconds: float, size: int) -> dict[str, Any]:
    """Answer one question; without torch, an object that has no key ``torch``."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return {"missing": str(error)}
    cuda = torch.cuda.is_available()
    answer: dict[str, Any] = {
        "torch": str(torch.__version__),
        "python": sys.version.split()[0],
        "cuda_build": torch.version.cuda,
    }
    answer.update(cuda=cuda, gpus=[], devices=[], skipped=[], bytes=0)
    if what == "about":
        return answer
    devices = list(gpus(torch, answer["skipped"])) if cuda else []
    share = seconds / max(1, len(devices))
    if what == "h2d":
        answer["gpus"] = [h2d(torch, device, share, size) for device in devices]
    elif cuda:
        answer["devices"] = [matmul(torch, device, share, size, answer) for device in devices]
    else:
        answer["devices"] = [matmul(torch, torch.device("cpu"), share, size, answer)]
    return answer


def gpus(torch: Any, skipped: list[str]) -> Iterator[Any]:
    """The GPUs with memory to spare; the reasons for leaving out others go to `skipped`."""
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        if free < GPU_SPARE:
            skipped.append(f"gpu {i} has only {free >> 20} MiB of memory free and was left alone")
            continue
        if total - free > GPU_SPARE:
            skipped.append(f"gpu {i} is in use by others: its rates are what they leave")
        yield torch.device("cuda", i)


def place(torch: Any, device: Any) -> str:
    """How a person names the device."""
    return "cpu" if device.type == "cpu" else f"gpu {device.index} ({torch.cuda.get_device_name(device)})"


def settle(torch: Any, device: Any) -> None:
    """Wait until the device has done what was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best(torch: Any, device: Any, work: Callable[[], object], seconds: float) -> float:
    """Seconds of one `work()` in the best of some rounds."""
    work()
    settle(torch, device)
    began = time.perf_counter()
    work()
    settle(torch, device)
    once = max(1e-6, time.perf_counter() - began)
    if once > seconds / 2:
        return once
    times = max(1, int(seconds / ROUNDS / once))
    found = once
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        settle(torch, device)
        found = min(found, (time.perf_counter() - began) / times)
    return found


def h2d(torch: Any, device: Any, seconds: float, size: int) -> dict[str, Any]:
    """Bytes per second to the device from pinned and from pageable memory."""
    count = min(size // 2, 128 << 20)
    target = torch.empty(count, dtype=torch.uint8, device=device)
    found: dict[str, Any] = {"where": place(torch, device)}
    for name, pinned in (("pinned", True), ("pageable", False)):
        source = torch.ones(count, dtype=torch.uint8, pin_memory=pinned)
        took = best(torch, device, functools.partial(target.copy_, source, non_blocking=True), seconds / 4)
        found[name] = count / took
    return found


def matmul(torch: Any, device: Any, seconds: float, size: int, answer: dict[str, Any]) -> dict[str, Any]:
    """The best FLOP/s over sizes that fit, in bfloat16 and float32 (TF32 off)."""
    most = size if device.type == "cpu" else 2 * size  # what is free there was looked at
    found: dict[str, Any] = {"where": place(torch, device), "size": 0}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        for n in SIZES:
            used = 3 * n * n * dtype.itemsize if hasattr(dtype, "itemsize") else 12 * n * n
            if used > most and n > SIZES[0]:
                break
            a = torch.randn(n, n, device=device, dtype=dtype)
            b = torch.randn(n, n, device=device, dtype=dtype)
            out = torch.empty(n, n, device=device, dtype=dtype)
            took = best(torch, device, functools.partial(torch.mm, a, b, out=out), seconds / 12)
            answer["bytes"] = max(answer["bytes"], used)
            if 2 * n**3 / took > found.get(name, 0):
                found[name], found["size"] = 2 * n**3 / took, n
            if took > seconds / 40:  # eight times as long for the next size: too long
                break
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))))

"""What `python -m torch.utils.collect_env`, its variant of vLLM and `transformers env` print -> facts.

Keys have stayed the same from PyTorch 1.0 on; vLLM aligns the colons and adds the environment variables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "log"
_KEY = re.compile(
    r"^[ \t>*-]{0,8}`?(?P<key>PyTorch version(?: \(GPU\?\))?|PyTorch Version|CUDA used to build PyTorch|"
    r"ROCM used to build PyTorch|Is CUDA available|Python version|Nvidia driver version|cuDNN version|"
    r"CPU\(s\)|Core\(s\) per socket|Socket\(s\)|NUMA node\(s\)|CPU max MHz|vLLM Version)"
    r"`? {0,40}: {0,40}(?P<value>[^\n]{0,200})$",
    re.MULTILINE,
)
_GPU = re.compile(
    r"^[ \t>]{0,8}(?:GPU models and configuration *: *)?GPU (?P<index>\d{1,3}): (?P<model>[^\n(]{2,80}?)"
    r"(?: \(UUID[^\n]{0,80})?[ \t]*$",
    re.MULTILINE,
)
_CUDNN = re.compile(r"libcudnn\.so\.(?P<version>\d{1,2}(?:\.\d{1,3}){1,3})")
_ENV = re.compile(
    r"^[ \t>]{0,8}(?:export )?(?P<name>(?:NCCL|RCCL|CUDA|OMP)_[A-Z0-9_]{2,50})=(?P<value>\S{0,200})[ \t]*$",
    re.MULTILINE,
)
_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,4}){1,3}(?:\.?(?:a|b|rc|dev|post)\d{0,10})?")
_NONE = ("none", "n/a", "could not collect", "no cuda", "")
_DEFAULT_OFF = ("0", "false", "off", "")


def find(log: Log) -> list[Told]:
    """The facts of a printed environment; nothing where the text holds only single keys of it."""
    told: dict[str, tuple[str, int]] = {}
    for match in _KEY.finditer(log.text):
        told.setdefault(match["key"].lower(), (match["value"].strip().strip("`"), match.start()))
    if not any(key.startswith("pytorch version") for key in told) or len(told) < 2:
        return []
    rows = [*_software(told, log), *_gpus(told, log), *_processors(told, log), *_variables(log)]
    version = next(value for key, (value, _) in told.items() if key.startswith("pytorch version"))
    note = f"environment of PyTorch {version[:40]} as collect_env prints it; what is installed, not how a run went."
    return [Told((Reading(Source(KIND, log.origin, "ok", note), facts(rows, log.origin)),))]


def _software(told: dict[str, tuple[str, int]], log: Log) -> Iterator[Row]:
    key = next(key for key in told if key.startswith("pytorch version"))
    value, at = told[key]
    where = log.where(at)
    version = _VERSION.match(value)
    yield row("config.torch.version", value.split()[0] if version else None, "{version}", where)
    vllm = told.get("vllm version")
    yield row("run.framework", "vllm" if vllm else "pytorch", "{string}", where)
    yield row("run.phase", "serving" if vllm else None, "{string}", where)
    build, hip = told.get("cuda used to build pytorch"), told.get("rocm used to build pytorch")
    if build:
        lacking = build[0].lower() in _NONE
        rocm = hip is not None and hip[0].lower() not in _NONE
        named = "none" if lacking else build[0].split()[0]
        yield row("config.torch.cuda_build", None if lacking and rocm else named, "{version}", log.where(build[1]))
    available = told.get("is cuda available") or (_bracket(value), at)
    if available[0] in ("True", "False"):
        yield row("config.torch.cuda_available", available[0] == "True", "{bool}", log.where(available[1]))
        yield row("run.gpu.used", False if available[0] == "False" else None, "{bool}", log.where(available[1]))
    if (python := told.get("python version")) and (number := _VERSION.match(python[0])):
        yield row("config.python.version", number[0], "{version}", log.where(python[1]))
    if cudnn := _CUDNN.search(log.text, min(at for _, at in told.values())):
        yield row("config.cudnn.version", cudnn["version"], "{version}", log.where(cudnn.start()))


def _bracket(value: str) -> str:
    """``True`` in the ``2.2.1+cu121 (True)`` of `transformers env`."""
    return value.rpartition("(")[2].rstrip(")")


def _gpus(told: dict[str, tuple[str, int]], log: Log) -> Iterator[Row]:
    models: Counter[str] = Counter()
    first = None
    for match in _GPU.finditer(log.text):
        models[match["model"].strip()] += 1
        first = match.start() if first is None else first
    where = None if first is None else log.where(first)
    yield row("hw.gpu.count", models.total() or None, "{gpu}", where)
    yield row("hw.gpu.model", models.most_common(1)[0][0] if models else None, "{string}", where)
    driver = told.get("nvidia driver version")
    if driver and (number := _VERSION.match(driver[0])):
        yield row("hw.gpu.driver.version", number[0], "{version}", log.where(driver[1]))


def _processors(told: dict[str, tuple[str, int]], log: Log) -> Iterator[Row]:
    numbers = {
        key: (float(value), at) for key, (value, at) in told.items() if re.fullmatch(r"\d{1,6}(?:\.\d{1,6})?", value)
    }
    for key, fact, unit in (
        ("cpu(s)", "system.cpu.logical.count", "{cpu}"),
        ("numa node(s)", "system.numa.node.count", "{node}"),
        ("cpu max mhz", "system.cpu.frequency.max", "MHz"),
    ):
        if key in numbers:
            yield row(fact, numbers[key][0], unit, log.where(numbers[key][1]))
    if "core(s) per socket" in numbers and "socket(s)" in numbers:
        cores, at = numbers["core(s) per socket"]
        yield row("system.cpu.physical.count", cores * numbers["socket(s)"][0], "{cpu}", log.where(at))


def _variables(log: Log) -> Iterator[Row]:
    env: dict[str, tuple[str, int]] = {}
    for match in _ENV.finditer(log.text):
        env[match["name"]] = match["value"], match.start()
    comm = {name: (value, at) for name, (value, at) in env.items() if name.startswith(("NCCL_", "RCCL_"))}
    if comm:
        shown = " ".join(f"{name}={value}" for name, (value, _) in sorted(comm.items()))
        yield row("config.nccl.env", shown, "{string}", log.where(min(at for _, at in comm.values())))
    if (threads := env.get("OMP_NUM_THREADS")) and threads[0].isdigit() and len(threads[0]) < 6:
        yield row("config.omp_num_threads", int(threads[0]), "{thread}", log.where(threads[1]))
    if blocking := env.get("CUDA_LAUNCH_BLOCKING"):
        yield row("config.launch_blocking", blocking[0].lower() not in _DEFAULT_OFF, "{bool}", log.where(blocking[1]))

"""What an Nsight Systems export says about the machine, the command and its environment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.readers.profilers.nsys.database import Database
from advisor.readers.rows import Row, row

_VARIABLE = re.compile(r'^(\w+)="(.*)"$', re.DOTALL)
# How kernels and ranges of a framework begin; logs that are stored beside them do not begin so.
_FRAMEWORKS = (
    ("vllm", ("void vllm::%",)),
    ("pytorch", ("void at::native::%", "aten::%")),
    ("jax", ("TSL:XlaModule:%", "XlaModule:%")),
    ("tensorflow", ("void tensorflow::%", "void Eigen::internal::EigenMetaKernel%")),
)
_ON = ("1", "true", "yes", "on")
_ARGUMENT = re.compile(r"^--(nnodes|nproc[_-]per[_-]node)=(\d+)$")


def rows(db: Database) -> Iterator[Row]:
    """Facts about machine and settings."""
    yield row("run.framework", _framework(db), "{string}")
    yield from _gpu(db)
    yield from _host(db)
    yield from _command(db)


def _framework(db: Database) -> str | None:
    for name, beginnings in _FRAMEWORKS:
        if any(db.rows("StringIds", ("id",), f"WHERE value LIKE '{like}'", 1) for like in beginnings):
            return name
    return None


def _gpu(db: Database) -> Iterator[Row]:
    for table in ("TARGET_INFO_GPU", "TARGET_INFO_CUDA_GPU"):
        names = [name for (name,) in db.rows(table, ("name",)) if isinstance(name, str) and name]
        if not names:
            continue
        yield row("hw.gpu.count", len(names), "{gpu}")
        yield row("hw.gpu.model", names[0], "{string}")
        for major, minor in db.rows(table, ("computeMajor", "computeMinor"), limit=1):
            if isinstance(major, int) and isinstance(minor, int) and major > 0:
                yield row("hw.gpu.compute_capability", f"{major}.{minor}", "{version}")
        sizes = [size for (size,) in db.rows(table, ("totalMemory",)) if isinstance(size, int) and size > 0]
        yield row("hw.gpu.memory.limit", min(sizes, default=None), "By")
        return


def _host(db: Database) -> Iterator[Row]:
    told = {
        name: value for name, value in db.rows("TARGET_INFO_SYSTEM_ENV", ("name", "value")) if isinstance(value, str)
    }
    cores = told.get("CpuCores", "")
    yield row("system.cpu.logical.count", int(cores) if re.fullmatch(r"\d{1,6}", cores) else None, "{cpu}")
    yield row("hw.gpu.driver.version", told.get("NvDriverVersion") or None, "{version}")
    cuda = told.get("CudaDriverVersion", "")
    if re.fullmatch(r"\d{4,6}", cuda) and int(cuda):
        yield row("hw.gpu.driver.cuda_version", f"{int(cuda) // 1000}.{int(cuda) % 1000 // 10}", "{version}")


def _command(db: Database) -> Iterator[Row]:
    """Settings in the environment and in the command line of the program that was profiled."""
    told = db.rows("META_DATA_CAPTURE", ("name", "value"), limit=20_000)
    variables: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for name, value in told:
        if not (isinstance(name, str) and isinstance(value, str)):
            continue
        if name.endswith(":ENVIRONMENT_VARIABLE") and (match := _VARIABLE.match(value)):
            variables[match[1]] = match[2]
        elif ":ARGUMENT_" in name and (match := _ARGUMENT.match(value)):
            sizes[match[1].replace("-", "_")] = int(match[2])
    if variables:
        yield row("config.launch_blocking", variables.get("CUDA_LAUNCH_BLOCKING", "").lower() in _ON, "{bool}")
    threads = variables.get("OMP_NUM_THREADS", "")
    yield row("config.omp_num_threads", int(threads) if re.fullmatch(r"[1-9]\d{0,4}", threads) else None, "{thread}")
    nccl = sorted(name for name in variables if name.startswith("NCCL_") and name != "NCCL_VERSION")
    said = " ".join(f"{name}={variables[name]}" for name in nccl)[:500] or "none"
    yield row("config.nccl.env", said if variables else None, "{string}")
    yield from _ranks(variables.get("WORLD_SIZE", ""), sizes)


def _ranks(world: str, sizes: dict[str, int]) -> Iterator[Row]:
    if re.fullmatch(r"[1-9]\d{0,6}", world):
        yield row("config.distributed.world_size", int(world), "{rank}")
    elif {"nnodes", "nproc_per_node"} <= set(sizes):
        yield row("config.distributed.world_size", sizes["nnodes"] * sizes["nproc_per_node"], "{rank}")
        yield row("config.distributed.nodes", sizes["nnodes"], "{host}")
        yield row("config.distributed.local_world_size", sizes["nproc_per_node"], "{rank}")

"""Every kind of text that is known, and what a text of it has somewhere. A new kind is one line here and its module.

Signs are fixed strings or nearly so: they are looked for in hundreds of megabytes. Patterns begin
with a fixed string, and where there are many alternatives these are `Words`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from advisor.readers.log.log import ENDS, Log
from advisor.readers.told import Told

_LOG = "advisor.readers.log."
BEGINS = 1 << 16  # characters


class Words:
    """A sign that is one of several fixed strings; as a pattern they would be looked for a hundred times slower.

    Args:
        words: fixed strings.
        begins: a pattern for what only the beginning or the end of a text has to show.
        ends_only: look for the words there too, and not in between.
    """

    def __init__(self, *words: str, begins: str = r"(?!)", ends_only: bool = False) -> None:
        self._words, self._begins, self._ends_only = words, _sign(begins), ends_only

    def search(self, text: str) -> bool:
        """Whether the text shows the sign."""
        places = (text[:ENDS], text[ENDS:][-ENDS:]) if self._ends_only else (text,)
        if any(word in place for place in places for word in self._words):
            return True
        return any(map(self._begins.search, (text[:BEGINS], text[BEGINS:][-BEGINS:])))


@dataclass(frozen=True, slots=True)
class Finder:
    """One kind of text: what it is called, what a text of it has somewhere, and the module that reads it."""

    name: str
    sign: re.Pattern[str] | Words
    module: str

    def find(self, log: Log) -> list[Told]:
        """What the text says (raises InputError where it is of this kind and cannot be used)."""
        return cast("list[Told]", importlib.import_module(self.module).find(log))


def _sign(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


# Lines as dmesg, journalctl and /dev/kmsg print them, or single ones that are often pasted alone.
KERNEL = Words(
    *(
        "NVRM: |SXid (PCI| kernel: |ut of memory: Kill|oom-kill:constraint|blocked for more than |"
        "soft lockup|peermem|PCIe Bus Error| error, dev |not responding, |throttled (total|Link is "
    ).split("|"),
    begins=r"^(?:<\d+>)?\[ *\d+\.\d+\]|^\[\w\w\w \w\w\w [ \d]\d |^\d+,\d+,\d+,[-c+]|^kern {0,4}:",
)
# What each of these tools and files of /proc always prints. A text that is longer than both its ends is a log.
HOST = Words(
    *(
        "swpd|%iowait|load average|Thread(s) per core|Cpu(s)|MemTotal: | avg10=|Mounted on|STAT|"
        "nr_free_pages |cpu  |Personalities :|Inter-|RtoAlgorithm|Slave Interface:|with fstype nfs|"
        "nr_periods |oom_kill |cpu.max|memory.max|memory.limit_in_bytes| nodes (|open files|DEV |"
        "Settings for |CA '|Infiniband device '|avg RTT|Client nfs v|LnkSta:|runq-sz|kbmemfree|pswpin/s|"
        "pgpgin/s|kbswpfree|rxpck/s|rxerr/s|retrans/s|Device|F S |CPU |processor\t|3D controller"
    ).split("|"),
    begins=r"total +used +free|^\d+\.\d\d \d+\.\d\d(?: |$)|^processor\s*: \d|^ *\d+ +\d+ \w+ \d+ \d+ \d+ \d+ \d+ \d+",
    ends_only=True,
)
FINDERS: Sequence[Finder] = (
    Finder("kernel log", KERNEL, _LOG + "kernel"),
    Finder("output of host tools", HOST, _LOG + "host"),
    Finder(
        "metrics",
        _sign(r"(?:vllm:|vllm_|sglang:|sglang_|tgi_|nv_(?:inference|gpu)_|DCGM_FI_|dcgm_|nvidia_smi_|node_)\w+[ {]"),
        "advisor.readers.log.metrics",
    ),
    Finder(
        "output of nvidia-smi",
        _sign(
            r"NVIDIA-SMI|NVSMI LOG|[MG]i?B +[|│]|# ?gpu[ ,]|#Date|#Time|--query-gpu|--query-comp|utilization\.gpu"
            r"|memory\.used|power\.draw|temperature\.gpu|process_name, used|CPU Affinity|GPU0[ \t]+GPU1|GPU\[0\]"
            r"|\(UUID: GPU-|'C, |device handle for GPU|No devices were found|initialize NVML|VRAM%"
        ),
        "advisor.readers.smi.text",
    ),
    Finder("NCCL", Words(
        "NCCL INFO", "NCCL WARN", "CCL version", "CCL error in", "] INFO ", "] WARN ", "Watchdog caught", "gloo/",
        "ncclUnhandled", "ncclSystem", "ncclRemote", "ncclInternal"), _LOG + "nccl"),
    Finder("collective benchmark", Words("busbw"), _LOG + "bandwidth"),
    Finder("out of memory", Words(
        "ut of memory", "RESOURCE_EXHAUSTED", "OOM when", "ALLOC_FAILED", "OUT_OF_MEMORY", "MemoryAllocation",
        "OutOfMemory", "in memory space hbm"), _LOG + "oom"),
    Finder("traceback", Words("Traceback (most recent call last)"), _LOG + "traceback"),
    Finder("symptoms", Words(
        "/torch_", "/dev/shm", "orker (pid", "orker processes in total", "oo many open files", "ancdata", "Killed",
        "SIGKILL", "exitcode", "oom_kill", "oom-kill", "hit config.", "find_unused_parameters=True was",
        "Grad strides do not", "OMP_NUM_THREADS",
        "just got forked", "shared memory", "DataLoader timed", "Bus error",
        "suggested max number of worker"), _LOG + "symptoms"),
    Finder("environment", _sign(r"PyTorch [Vv]ersion(?: \(GPU\?\))?`? *:"), _LOG + "environment"),
    Finder("stacks", Words("Thread ", "most recent call first", ".py:"), "advisor.readers.stacks.text"),
    Finder(
        "vLLM",
        _sign(
            r"Avg pr\w+ throughput: |is preempted by Preemp| LLM engine \(v|KV cache size: "
            r"|acceptance rate: |# GPU blocks|KV cache is needed|tokens that can be stored in KV|for the cache blocks"
        ),
        "advisor.readers.log.serving.vllm",
    ),
    Finder(
        "SGLang",
        _sign(r"#(?:running|queue)-req|Retract requests|Load weight end|max_total_num_tokens="),
        "advisor.readers.log.serving.sglang",
    ),
    Finder("TGI", _sign("inference_time"), "advisor.readers.log.serving.tgi"),
    Finder("TensorRT-LLM", _sign(r"iter = \d+, global_rank = "), "advisor.readers.log.serving.trtllm"),
    Finder(
        "llama.cpp",
        _sign(r"eval time =|layers to GPU|layers\.offload=|eval duration:|\[GIN\]"),
        "advisor.readers.log.serving.llama",
    ),
    Finder(
        "load generator",
        _sign(r"Serving Benchmark Result|NVIDIA (?:GenAI-Perf|AIPerf) \|"),
        "advisor.readers.log.serving.bench",
    ),
    Finder(
        "training log",
        _sign(r"[Ii]ter|[Ss]tep|[Ee]poch|s/it|SamplesPerSec|train_runtime|Profiler Report"),
        _LOG + "training",
    ),
)  # fmt: skip

"""Messages of failing programs and printed environments -> facts: every number, in every generation's spelling."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.log import read
from advisor.readers.log.finders import FINDERS
from advisor.readers.log.symptoms import SYMPTOMS
from advisor.readers.recognise import TEXT, recognise

SPECS = kb.load().facts
MIB, GIB = 2**20, 2**30


def readings(text: str) -> tuple[Reading, ...]:
    artefact = Artefact("pasted", data=text.encode("utf-8", "replace"))
    kind = recognise(artefact)
    assert kind is not None
    assert kind.name == TEXT
    return read([artefact], no_tick)[0].readings


def facts(text: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for reading in readings(text):
        for fact in reading.facts:
            spec = SPECS[fact.name]
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact.name
                assert spec.high is None or fact.value <= spec.high, fact.name
            found.setdefault(fact.name, fact.value)
    return found


def where(text: str, name: str) -> str | None:
    return next(f.where for r in readings(text) for f in r.facts if f.name == name)


# --- device memory --------------------------------------------------------------------

OLD = "RuntimeError: CUDA out of memory. Tried to allocate 1.50 GiB (GPU 2; 12.00 GiB total capacity; 9.00 GiB already "
CACHED = OLD + "allocated; 512.00 MiB free; 1.00 GiB cached)"
RESERVED = OLD + "allocated; 512.00 MiB free; 10.00 GiB reserved in total by PyTorch)"
HINTED = RESERVED + " If reserved memory is >> allocated memory try setting max_split_size_mb to avoid fragmentation."
NEW = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. GPU 2 has a total capacity "
    "of 12.00 GiB of which 512.00 MiB is free. Process 77 has 256.00 MiB memory in use. Including non-"
    "PyTorch memory, this process has 11.00 GiB memory in use. Of the allocated memory 9.00 GiB is "
    "allocated by PyTorch, with 40.00 MiB allocated in private pools (e.g., CUDA Graphs), and 1.00 GiB is "
    "reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)


@pytest.mark.parametrize(
    "text", [CACHED, RESERVED, HINTED, NEW, NEW.replace("capacity", "capacty"), NEW.replace("CUDA out", "HIP out")]
)
def test_every_generation_tells_the_same_numbers(text: str) -> None:
    found = facts(f"it died:\n{text}\nwhat now?")

    assert found["hw.gpu.memory.allocation.failures"] == 1
    assert found["torch.cuda.memory.ooms"] == 1
    assert found["hw.gpu.memory.allocation.request"] == 1.5 * GIB
    assert found["hw.gpu.memory.limit"] == 12 * GIB
    assert found["hw.gpu.memory.free"] == 512 * MIB
    assert found["hw.gpu.memory.usage"] == 11.5 * GIB
    assert found["torch.cuda.memory.allocated.peak"] == 9 * GIB
    assert found["torch.cuda.memory.reserved.peak"] == 10 * GIB
    assert found["torch.cuda.memory.reserved_unused.fraction"] == pytest.approx(0.1)
    assert found["hw.gpu.memory.allocation.left"] == 1.5 * GIB
    assert (found["run.framework"], found["run.gpu.used"]) == ("pytorch", True)


def test_newer_messages_tell_who_holds_the_rest() -> None:
    found = facts(NEW)
    assert found["hw.gpu.process.memory"] == 11 * GIB
    assert found["hw.gpu.process.foreign_memory"] == 256 * MIB
    assert found["torch.cuda.memory.non_torch"] == 1 * GIB
    assert found["torch.cuda.memory.graphs"] == 40 * MIB


def test_in_a_container_the_own_process_has_a_number_too() -> None:
    text = NEW.replace("Including non-PyTorch memory, this process has 11.00", "Process 78 has 11.00")
    found = facts(text)
    assert (found["hw.gpu.process.memory"], found["hw.gpu.process.foreign_memory"]) == (11 * GIB, 256 * MIB)
    assert "hw.gpu.process.foreign_memory" not in facts(text.replace("Process 78 has 11.00", "Process 78 has 1.00"))
    assert "hw.gpu.process.foreign_memory" not in facts(RESERVED)


def test_a_bug_of_some_releases_is_not_believed() -> None:
    text = NEW.replace("Process 77 has 256.00 MiB", "Process 77 has 17179869184.00 GiB")
    assert facts(text)["hw.gpu.process.foreign_memory"] == 0


@pytest.mark.parametrize(
    "text",
    [
        NEW.replace(" ", "\n", 20),
        "\n".join(f"> {part}" for part in NEW.split(". ")).replace("\n> ", ".\n> "),
        "".join(f"[rank2]: {x}\n" for x in NEW.splitlines()),
    ],
)
def test_wrapped_quoted_and_prefixed_messages(text: str) -> None:
    assert facts(text)["torch.cuda.memory.reserved.peak"] == 10 * GIB


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_other_encodings_and_line_ends(encoding: str) -> None:
    artefact = Artefact("pasted", data=f"défaut\r\n{NEW}\r\n".encode(encoding))
    found = {f.name: f.value for r in read([artefact], no_tick)[0].readings for f in r.facts}
    assert found["hw.gpu.memory.limit"] == 12 * GIB


def test_failures_of_ranks_are_counted_and_prints_of_one_are_not() -> None:
    text = f"{NEW}\n{NEW}\n{NEW.replace('GPU 2', 'GPU 3')}\nRuntimeError: CUDA error: out of memory\n"
    assert facts(text)["torch.cuda.memory.ooms"] == 2
    assert where(text, "torch.cuda.memory.ooms") == "pasted:1"


@pytest.mark.parametrize(
    ("text", "framework", "request_"),
    [
        ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.", "jax", GIB),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 512 bytes.", "jax", 512),
        ("Out of memory while trying to allocate 4.00GiB.", "jax", 4 * GIB),
        ("Ran out of memory in memory space hbm. Used 20.00G of 15.48G hbm. Exceeded", "jax", 20 * GIB),
        ("OOM when allocating tensor with shape[8,1024,1024] and type float on /job:localhost", "tensorflow", 32 * MIB),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", None, None),
        ("THCudaCheck FAIL file=/pytorch/THCStorage.cu line=58 error=2 : out of memory", None, None),
        ("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.02 GB, max allowed: 9.07 GB). Tried "
         "to allocate 20.00 MB on private pool.", "pytorch", 20 * MIB),
    ],
)  # fmt: skip
def test_other_frameworks_and_bare_codes(text: str, framework: str | None, request_: float | None) -> None:
    found = facts(text)
    assert found["hw.gpu.memory.allocation.failures"] == 1
    assert found.get("run.framework") == framework
    assert found.get("hw.gpu.memory.allocation.request") == request_


# --- tracebacks -----------------------------------------------------------------------

TRACEBACK = """Traceback (most recent call last):
  File "/home/u/train.py", line 120, in <module>
    main()
  File "/home/u/train.py", line 88, in main
    loss.backward()
  File "/opt/conda/lib/python3.10/site-packages/torch/_tensor.py", line 522, in backward
    torch.autograd.backward(
    ~~~~~~~~~~~~~~~~~~~~~~~^
ValueError: nothing to do
"""


@pytest.mark.parametrize("prefix", ["", "[rank1]: ", "1: ", "[default0]:", "> ", "(Worker pid=12) "])
def test_a_traceback_names_the_own_line_and_the_kind_of_run(prefix: str) -> None:
    text = "step 12\n" + "".join(f"{prefix}{x}\n" for x in TRACEBACK.splitlines()) + "more"
    found = facts(text)

    assert found["process.exception"] == "ValueError"
    assert where(text, "process.exception") == "/home/u/train.py:88 in main"
    assert (found["run.phase"], found["run.framework"]) == ("training", "pytorch")


def test_the_first_traceback_counts_and_a_server_is_known() -> None:
    first = TRACEBACK.replace("in backward", "in forward")
    second = first.replace("ValueError: nothing to do", "KeyError").replace("site-packages/torch", "site-packages/vllm")
    found = facts(first + "\nDuring handling of the above exception, another exception occurred:\n\n" + second)
    assert (found["process.exception"], found["process.exception.count"]) == ("ValueError", 2)
    assert found["run.phase"] == "serving"


def test_tracebacks_may_end_anywhere() -> None:
    for end in range(40, len(TRACEBACK)):
        with contextlib.suppress(InputError):
            facts(TRACEBACK[:end])


# --- symptoms -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("RuntimeError: DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that dataloader's "
         "workers are out of shared memory.", "system.filesystem.shm.errors", 1),
        ("RuntimeError: unable to open shared memory object </torch_1_2> in read-write mode",
         "system.filesystem.shm.errors", 1),
        ("OSError: [Errno 24] Too many open files", "process.open_file_descriptor.errors", 1),
        ("RuntimeError: received 0 items of ancdata", "process.open_file_descriptor.errors", 1),
        ("RuntimeError: DataLoader worker (pid 9) is killed by signal: Killed.\n"
         "RuntimeError: DataLoader worker (pid 10) is killed by signal: Killed.", "ml.dataloader.worker.killed", 2),
        ("RuntimeError: DataLoader worker (pid(s) 9, 10) exited unexpectedly", "ml.dataloader.worker.killed", 1),
        ("RuntimeError: DataLoader timed out after 120 seconds", "ml.dataloader.timeouts", 1),
        ("run.sh: line 3:   77 Killed                  python train.py", "process.killed.count", 1),
        ("step 3\nKilled\n$", "process.killed.count", 1),
        ("  exitcode  : -9 (pid: 4711)", "process.killed.count", 1),
        ("slurmstepd: error: Detected 3 oom_kill events in StepId=1.0", "container.memory.oom_kills", 3),
        ("torch._dynamo hit config.cache_size_limit (64)", "trace.recompile.count", 64),
        ("torch._dynamo hit config.recompile_limit (8)", "config.compile.enabled", True),
        ("find_unused_parameters=True was specified in DDP constructor, but did not find any unused parameters",
         "config.ddp.find_unused_parameters", True),
        ("UserWarning: Grad strides do not match bucket view strides.", "ml.ddp.stride_mismatch", True),
        ("UserWarning: This DataLoader will create 16 worker processes in total. Our suggested max number of worker in "
         "current system is 8", "process.cpu.usable.count", 8),
        ("huggingface/tokenizers: The current process just got forked, after parallelism has already been used.",
         "config.tokenizers.parallelism", False),
        ("Setting OMP_NUM_THREADS environment variable for each process to be 1 in default",
         "config.omp_num_threads", 1),
    ],
)  # fmt: skip
def test_known_sentences(text: str, name: str, value: Value) -> None:
    assert facts(f"before\n{text}\nafter\n")[name] == value


def test_every_symptom_is_looked_for() -> None:
    finder = next(f for f in FINDERS if f.name == "symptoms")
    for symptom in SYMPTOMS:
        assert symptom.fact in SPECS
        for word in symptom.words:
            assert finder.sign.search(word), word


def test_workers_that_die_with_a_finished_program_are_no_symptom() -> None:
    text = (
        "Exception ignored in: <function _MultiProcessingDataLoaderIter.__del__ at 0x7f>\nTraceback ...\n"
        "RuntimeError: DataLoader worker (pid 9) is killed by signal: Killed.\n"
    )
    with pytest.raises(InputError, match="nothing is known"):
        facts(text)


def test_harmless_warnings_are_no_symptom() -> None:
    with pytest.raises(InputError, match="nothing is known"):
        facts("UserWarning: Detected call of `lr_scheduler.step()` before `optimizer.step()`. worker\n")


# --- environments ---------------------------------------------------------------------

ENVIRONMENT = """Collecting environment information...
PyTorch version: 2.4.0+cu121
Is debug build: False
CUDA used to build PyTorch: 12.1
ROCM used to build PyTorch: N/A

Python version: 3.10.12 (main, Nov 20 2023, 15:14:05) [GCC 11.4.0] (64-bit runtime)
Is CUDA available: True
GPU models and configuration:
GPU 0: NVIDIA A100-SXM4-80GB
GPU 1: NVIDIA A100-SXM4-80GB

Nvidia driver version: 535.104.05
cuDNN version: Probably one of the following:
/usr/lib/x86_64-linux-gnu/libcudnn.so.8.9.2
/usr/lib/x86_64-linux-gnu/libcudnn_adv_infer.so.8.9.2

CPU:
CPU(s):                          128
On-line CPU(s) list:             0-127
Core(s) per socket:              32
Socket(s):                       2
CPU max MHz:                     3500.0000
NUMA node(s):                    8
"""


def test_collect_env() -> None:
    found = facts(ENVIRONMENT)

    assert found["config.torch.version"] == "2.4.0+cu121"
    assert (found["config.torch.cuda_build"], found["config.torch.cuda_available"]) == ("12.1", True)
    assert (found["config.python.version"], found["config.cudnn.version"]) == ("3.10.12", "8.9.2")
    assert (found["hw.gpu.count"], found["hw.gpu.model"]) == (2, "NVIDIA A100-SXM4-80GB")
    assert found["hw.gpu.driver.version"] == "535.104.05"
    assert (found["system.cpu.logical.count"], found["system.cpu.physical.count"]) == (128, 64)
    assert (found["system.cpu.frequency.max"], found["system.numa.node.count"]) == (3500, 8)
    assert "run.gpu.used" not in found


def test_collect_env_of_a_cpu_build_and_of_rocm() -> None:
    lacking = ENVIRONMENT.replace("PyTorch: 12.1", "PyTorch: Could not collect").replace(
        "available: True", "available: False"
    )
    found = facts(lacking)
    assert (found["config.torch.cuda_build"], found["run.gpu.used"]) == ("none", False)
    rocm = ENVIRONMENT.replace("PyTorch: 12.1", "PyTorch: N/A").replace(
        "build PyTorch: N/A\n\n", "build PyTorch: 6.2.1\n\n"
    )
    assert "config.torch.cuda_build" not in facts(rocm)


def test_collect_env_of_vllm_and_of_transformers() -> None:
    vllm = "PyTorch version              : 2.7.0+cu126\nIs CUDA available            : True\nvLLM Version : 0.9.1\n"
    found = facts(f"{vllm}NCCL_P2P_DISABLE=1\nCUDA_LAUNCH_BLOCKING=1\nOMP_NUM_THREADS=4\nNCCL_DEBUG=INFO\n")
    assert (found["run.framework"], found["run.phase"]) == ("vllm", "serving")
    assert found["config.nccl.env"] == "NCCL_DEBUG=INFO NCCL_P2P_DISABLE=1"
    assert (found["config.launch_blocking"], found["config.omp_num_threads"]) == (True, 4)

    found = facts(
        "- `transformers` version: 4.40.0\n- Python version: 3.10.13\n- PyTorch version (GPU?): 2.2.1+cu121 (True)\n"
    )
    assert (found["config.torch.version"], found["config.torch.cuda_available"]) == ("2.2.1+cu121", True)


# --- hostile --------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_text_gives_facts_or_a_sentence(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([NEW, RESERVED, TRACEBACK, ENVIRONMENT, NEW + TRACEBACK]))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + data.draw(st.integers(0, 12)) :]
    artefact = Artefact("pasted", data=text.encode("utf-8", "replace"))
    kind = recognise(artefact)
    if kind is not None and kind.name == TEXT:
        with contextlib.suppress(InputError):
            facts(text)


def test_long_lines_take_no_long_time() -> None:
    for part in ("CUDA out of memory. Tried to allocate ", "9.00 GiB total ", '  File "a', "Killed ", "> ", "GPU 1: "):
        with contextlib.suppress(InputError):
            facts("CUDA out of memory Traceback (most recent call last):\n" + part * 20_000)

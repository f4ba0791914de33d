"""How artefacts are known whose readers are heavy: by the first bytes, with nothing imported that reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from advisor.readers.artefact import Artefact, is_binary
from advisor.readers.script.source import looks_like_python, parses

_SQLITE = b"SQLite format 3\0"
_PLANE = re.compile(rb"/(device:(GPU|TPU|CUSTOM)|host:)")
# A log may begin with a bracket too: [2025-01-31 09:00:00], [rank0]:, [1,0]<stdout>, or be one object per line.
_JSON = re.compile(
    r'\{\s*(?:["}]|\Z)|\[\s*(?:[\[{"]|\]?\s*\Z|-?[\d.eE+]+\s*(?:,(?!\d+\]<)|\]\s*\Z)|true\b|false\b|null\b)'
)
_JSON_LINES = re.compile(r"\{[^\n]*\}[ \t]*\r?\n[ \t]*\{")
# Files of /proc and of control groups whose lines are a name and a number, as those of metrics are.
_COUNTERS = re.compile(
    r"\A(?:nr_free_pages|nr_periods|usage_usec|user|anon|cache|low|oom_kill_disable|version \d+\s+timestamp) \d"
)
# The first card of rocm-smi, or the first GPU of amd-smi (bare in a list, or in "gpu_data") with one of its groups.
_ROCM = re.compile(
    r'^\s*\{\s*"card\d{1,3}"\s*:\s*\{|[\[{]\s*\{?\s*"gpu"\s*:\s*\d{1,3}\s*,\s*"'
    r'(?:usage|asic|power|mem_usage|power_usage|vram|bus|gfx|hotspot_temperature|temperature|clock|xcp|timestamp)[a-z_]*"'
)
_TRACE = re.compile(
    r'"traceEvents"\s*:\s*\[|\A\s*\[\s*\{.{0,2000}?"ph"\s*:\s*"|"(deviceProperties|distributedInfo)"\s*:', re.DOTALL
)


def is_python(artefact: Artefact) -> bool:
    """A Python script; a name is believed here, since a script may be too short to tell."""
    # What was pasted is no file that could be read with what it imports.
    if artefact.path is None or artefact.member:
        return False
    return artefact.path.suffix in (".py", ".pyw") or (
        looks_like_python(artefact.text_head) and parses(artefact.text_head)
    )


def is_rocprof(artefact: Artefact) -> bool:
    """Results of rocprofiler, as JSON or as CSV."""
    head = artefact.text_head[:4096]
    if is_json(artefact):
        return '"rocprofiler-sdk-tool"' in head
    first = head.split("\n", 1)[0]
    return ("Start_Timestamp" in first and "End_Timestamp" in first) or ("KernelName" in first and "BeginNs" in first)


def is_xplane(artefact: Artefact) -> bool:
    """An XSpace of TensorFlow, JAX or torch_xla."""
    # A plane comes first: field 1, as bytes; its name stands near its beginning.
    head = artefact.head
    return head[:1] == b"\x0a" and is_binary(head) and _PLANE.search(head) is not None


def nsys_jax_root(files: Mapping[str, Artefact]) -> str | None:
    """Where an output of nsys-jax begins: the folder of one process, or of all."""
    folders = [name.removesuffix("trace.parquet") for name in files if name.rsplit("/", 1)[-1] == "trace.parquet"]
    if not folders or not all(f"{folder}files.parquet" in files for folder in folders):
        return None
    return "" if len(folders) > 1 else folders[0]


def is_json(artefact: Artefact) -> bool:
    """One JSON object or list, and not a log with one object per line."""
    head = artefact.text_head.lstrip()
    return bool(_JSON.match(head)) and not _JSON_LINES.match(head)


def is_smi_xml(artefact: Artefact) -> bool:
    """``nvidia-smi -q -x``."""
    return "<nvidia_smi_log" in artefact.text_head


def is_rocm(artefact: Artefact) -> bool:
    """``rocm-smi --json`` or ``amd-smi --json``."""
    return bool(_ROCM.search(artefact.text_head))


def is_counters(artefact: Artefact) -> bool:
    """A file of /proc or of a control group whose lines are a name and a number, as those of metrics are."""
    return _COUNTERS.match(artefact.text_head) is not None


def is_text(artefact: Artefact) -> bool:
    """Bytes that are text."""
    return bool(artefact.head) and not is_binary(artefact.head)


def is_sqlite(artefact: Artefact) -> bool:
    """A SQLite database; Nsight Systems exports to them."""
    return artefact.head.startswith(_SQLITE)


def is_trace(artefact: Artefact) -> bool:
    """A Chrome trace; its events come after what describes the machine, which may be longer than the head."""
    return is_json(artefact) and _TRACE.search(artefact.text_head) is not None


def is_trainer_state(artefact: Artefact) -> bool:
    """``trainer_state.json`` of Hugging Face's Trainer."""
    return is_json(artefact) and '"log_history"' in artefact.text_head and '"global_step"' in artefact.text_head

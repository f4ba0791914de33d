"""Writers of captures: each takes a described machine and gives files in the exact format that a tool prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.accuracy.captures import dcgm, failures, kernel, nccl, node, serving, smi, tools, trace, training
from bench.accuracy.captures.machine import Machine, merged

__all__ = ["WRITERS", "Machine", "merged"]

WRITERS: Mapping[str, Callable[[Machine], dict[str, str]]] = {
    "dcgm": dcgm.scrapes,
    "deepspeed": training.deepspeed,
    "dmesg": kernel.log,
    "free": tools.free,
    "huggingface": training.huggingface,
    "ibstat": tools.ibstat,
    "iostat": tools.iostat,
    "megatron": training.megatron,
    "mpstat": tools.mpstat,
    "nccl_log": nccl.log,
    "nccl_sweep": nccl.sweep,
    "nccl_tests": nccl.table,
    "node": node.scrapes,
    "oom": failures.memory,
    "py_spy": failures.dumps,
    "sglang": serving.sglang,
    "smi_dmon": smi.dmon,
    "smi_fields": smi.fields,
    "smi_links": smi.links,
    "smi_query": smi.query,
    "smi_topology": smi.topology,
    "text": failures.text,
    "tgi": serving.tgi,
    "timm": training.timm,
    "titan": training.titan,
    "top": tools.top,
    "trace": trace.trace,
    "triton": serving.triton,
    "vllm": serving.vllm,
    "vllm_log": serving.vllm_log,
    "vmstat": tools.vmstat,
}

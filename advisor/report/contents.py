"""What a report holds beyond the answer on screen.

Every finding in full, what was ruled out, the environment, and where the numbers come from.
Only ordering and selection happen here; the blocks are the same that every face renders.
"""

from __future__ import annotations

from advisor.blocks import Block, Words, diagnosis_blocks, finding_blocks
from advisor.models import Diagnosis, Knowledge, Lang

# What the issue forms of PyTorch and of servers ask for first, where it is known.
ENVIRONMENT = (
    "run.phase",
    "run.framework",
    "config.torch.version",
    "config.python.version",
    "config.torch.cuda_build",
    "hw.gpu.model",
    "hw.gpu.count",
    "hw.gpu.driver.version",
    "hw.gpu.memory.limit",
    "config.model.device",
    "config.model.dtype",
    "config.model.parameters",
    "config.optimizer",
    "config.distributed.world_size",
    "config.distributed.strategy",
    "comm.backend",
    "config.dataloader.num_workers",
    "config.dataloader.batch_size",
    "config.dataloader.pin_memory",
    "config.dataloader.dataset",
    "config.omp_num_threads",
    "system.cpu.logical.count",
    "process.cpu.usable.count",
    "container.cpu.limit",
    "container.memory.limit",
    "system.memory.limit",
    "system.filesystem.type",
)


def report_blocks(diagnosis: Diagnosis, knowledge: Knowledge, lang: Lang) -> list[Block]:
    """The whole report, most important first."""
    words = Words(knowledge, lang)
    blocks = [_about(diagnosis, words), *diagnosis_blocks(diagnosis, knowledge, lang)]
    told = (
        diagnosis.findings if diagnosis.profile.unmeasured else diagnosis.findings[: diagnosis.verdict == "bottleneck"]
    )
    for finding in diagnosis.findings[len(told) :]:
        blocks += finding_blocks(diagnosis, finding, knowledge, lang)
    return [*blocks, *_environment(diagnosis, words), *_ruled_out(diagnosis, words), _sources(diagnosis, words)]


def _about(diagnosis: Diagnosis, words: Words) -> Block:
    profile = diagnosis.profile
    lines = [
        words.term("report.subject", subject=f"`{profile.subject}`"),
        words.term("report.when", started=profile.started, seconds=f"{profile.duration_s:.0f}")
        if profile.started
        else "",
        words.term("report.knowledge", version=diagnosis.knowledge_version, hash=diagnosis.knowledge_hash),
    ]
    return {"kind": "prose", "title": None, "paragraphs": [" · ".join(line for line in lines if line)], "points": []}


def _environment(diagnosis: Diagnosis, words: Words) -> list[Block]:
    facts = diagnosis.profile.facts
    points = [
        {"text": f"{words.label(n)}: {words.value(facts[n].value, n)}", "note": None} for n in ENVIRONMENT if n in facts
    ]
    if not points:
        return []
    return [{"kind": "prose", "title": words.term("report.environment"), "paragraphs": [], "points": points}]


def _ruled_out(diagnosis: Diagnosis, words: Words) -> list[Block]:
    rules = words.knowledge.rules
    cleared = [rules[r] for r in diagnosis.cleared if r in rules]
    if not cleared:
        return []
    points = [{"text": words.say(r.title), "note": None} for r in cleared]
    return [{"kind": "prose", "title": words.term("report.ruled_out"), "paragraphs": [], "points": points}]


def _sources(diagnosis: Diagnosis, words: Words) -> Block:
    points = [
        {"text": f"{s.kind} ({s.origin}): {words.term('state.' + s.state)}", "note": s.note or None}
        for s in diagnosis.profile.sources
    ]
    return {"kind": "prose", "title": words.term("report.sources"), "paragraphs": [], "points": points}

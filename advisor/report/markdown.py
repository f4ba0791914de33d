"""A report as Markdown that issue trackers render, within the length they accept."""

from __future__ import annotations

from advisor.blocks import to_markdown
from advisor.models import Diagnosis, Knowledge, Lang
from advisor.report.contents import report_blocks

MAX_CHARACTERS = 60_000  # GitHub refuses bodies over 65,536


def render_markdown(diagnosis: Diagnosis, knowledge: Knowledge, lang: Lang) -> str:
    """The report; the least important sections are dropped whole when it would be too long."""
    blocks = report_blocks(diagnosis, knowledge, lang)
    text = to_markdown(blocks)
    while len(text) > MAX_CHARACTERS and len(blocks) > 1:
        blocks = blocks[:-1]
        text = to_markdown(blocks)
    return text

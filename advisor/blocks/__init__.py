"""Results as blocks: localised plain data that every face renders and none computes from.

A block is a mapping with a ``kind``; a face skips kinds it does not know.

    headline   title, lede; of a finding also severity, confidence, gain, rule, verdict, subject
    steps      where a step's time goes: parts with label, share, value, percent
    evidence   rows: label, value, limit, origin, where; bar and mark as shares; holds False means ruled out
    remedies   items: do, setting, patch (a unified diff), to, effort, details (risk, not when, verify, roll back)
    prose      paragraphs and points (text, note; rule: the id of the rule that the note names); `code` in backticks
    others     further findings: rule, title, severity, gain
    fates      what became of findings between two runs: fate, rule, title, severity, notes, checks (holds, text)
    changes    metrics of two runs, rows: label, before, after, change, band, judgement; notes
    missing    what would settle more: why, command
    coverage   one sentence on what was judged and read
    sources    links: label, url; rule: the id where it is the page of a rule
    follow_ups questions to ask next

Chat page, report, terminal and rule pages share these, so that they cannot disagree.
"""

from advisor.blocks.diagnosis import diagnosis_blocks, finding_blocks
from advisor.blocks.fact import fact_blocks
from advisor.blocks.markdown import to_markdown
from advisor.blocks.rule import rule_blocks
from advisor.blocks.words import Block, Words

__all__ = ["Block", "Words", "diagnosis_blocks", "fact_blocks", "finding_blocks", "rule_blocks", "to_markdown"]

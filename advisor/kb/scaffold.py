"""`advisor new-rule ID`: a rule file that passes the schema and says what to fill in."""

from __future__ import annotations

from pathlib import Path

from advisor.errors import InputError
from advisor.kb.load import default_folder
from advisor.kb.schema import Id

TEMPLATE = """\
id: {id}
topic: {topic}
status: experimental
severity: moderate
confidence: medium
title: {{en: "Name the bad state, not the fix", zh: "写出坏的状态，而不是修复方法"}}
meaning: {{en: "One sentence: what is going on.", zh: "一句话：发生了什么。"}}
impact: {{en: "One sentence: why it matters.", zh: "一句话：为什么重要。"}}
applies: [run.phase == training]
when:
  all:
    - {{is: ml.step.data_wait.fraction > 0.05, judgement: "why here; or from: a reference id"}}
finding: {{en: "{{ml.step.data_wait.fraction}} of a step ...", zh: "每个 step 有 {{ml.step.data_wait.fraction}} ……"}}
gain: ml.step.data_wait.fraction
remedies:
  - id: first-thing-to-try
    do: {{en: "One action with its concrete setting.", zh: "一个动作，给出具体设置。"}}
    effort: minutes
    risk: {{en: "What it may cost.", zh: "可能的代价。"}}
    not_when: {{en: "When it would not help.", zh: "什么情况下无效。"}}
    verify: ml.step.data_wait.fraction < 0.02
    rollback: {{en: "How to undo it.", zh: "如何回退。"}}
references: []
cases:
  - {{name: clear case, expect: matched, facts: {{run.phase: training, ml.step.data_wait.fraction: 0.4}}}}
  - {{name: at the limit, expect: cleared, facts: {{run.phase: training, ml.step.data_wait.fraction: 0.05}}}}
  - {{name: not measured, expect: incomplete, missing: [ml.step.data_wait.fraction], facts: {{run.phase: training}}}}
  - {{name: serving, expect: inapplicable, facts: {{run.phase: serving}}}}
"""


def new_rule(rule_id: str, area: str, topic: str, folder: Path | None = None) -> Path:
    """Write the scaffold of a rule and return its path.

    Raises:
        InputError: when the id is not a kebab-case noun phrase or the rule exists.
    """
    from pydantic import TypeAdapter, ValidationError

    folder = folder or default_folder()
    for value in (rule_id, area):
        try:
            TypeAdapter(Id).validate_python(value)
        except ValidationError:
            raise InputError(f"{value!r} is not a kebab-case name like dataloader-no-workers; change it") from None
    taken = next((folder / "rules").rglob(f"{rule_id}.yaml"), None)
    if taken:
        raise InputError(f"rule {rule_id!r} exists already in {taken}; edit it or choose another id")
    path = folder / "rules" / area / f"{rule_id}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE.format(id=rule_id, topic=topic), encoding="utf-8")
    return path

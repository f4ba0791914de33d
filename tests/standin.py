"""A recorded stand-in for `advisor.pipeline.Advisor`: the same methods, real models, recorded answers.

It finds nothing; it lets the web service and the page be tested apart from the pipeline.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import uvicorn

from advisor.errors import InputError, NotFound
from advisor.models import (
    SEVERITIES,
    Answer,
    Condition,
    Diagnosis,
    Fact,
    Knowledge,
    Lang,
    Profile,
    Reference,
    Remedy,
    Rule,
    Scored,
    Source,
    Text,
    Topic,
    When,
)
from advisor.serve import create_app

RULE_ID = "dataloader-no-workers"
BLOCKS: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(
    Path(__file__).with_name("standin_blocks.json").read_text("utf-8")
)
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'


def knowledge() -> Knowledge:
    test = Condition("config.dataloader.num_workers == 0", "config.dataloader.num_workers", "==", 0.0)
    wait = Condition("ml.step.data_wait.fraction < 0.02", "ml.step.data_wait.fraction", "<", 0.02)
    text = Text("Load batches in worker processes.", "用 worker 进程加载数据。")
    remedy = Remedy("more-workers", text, "minutes", text, text, wait, text, knob="DataLoader.num_workers", to="6")
    title = Text("Data loading runs in the training process", "数据加载在训练进程内执行")
    rule = Rule(
        id=RULE_ID, area="data", topic="dataloader_bottleneck", status="stable", severity="serious", confidence="high",
        title=title, meaning=text, impact=text, finding=text, applies=(), when=When(all=(test,)), remedies=(remedy,),
        references=("pytorch-data-loading",), gain="ml.step.data_wait.fraction",
    )  # fmt: skip
    url = "https://docs.pytorch.org/docs/stable/data.html"
    reference = Reference("pytorch-data-loading", "torch.utils.data", url, "PyTorch", "worker processes", read=True)
    topic = Topic("dataloader_bottleneck", "data", title, text, phrases=("slow loader",))
    words = [*(f"severity.{s}" for s in SEVERITIES), "status.stable"]
    terms = {key: Text(key.partition(".")[2], key.partition(".")[2]) for key in words}
    topics, references = {topic.id: topic}, {reference.id: reference}
    return Knowledge("2026.1", "abc", {}, {RULE_ID: rule}, topics, references, {}, (), terms, {})


def profile(id_: str, subject: str, minutes: int) -> Profile:
    started = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds")
    fact = Fact("ml.step.data_wait.fraction", 0.49, "1", "training hook", "finetune.py:58")
    return Profile(id_, subject, started, 262.0, (Source("hook", "training hook", "ok"),), {fact.name: fact})


def diagnosis(of: Profile, verdict: Literal["bottleneck", "healthy", "inconclusive"] = "bottleneck") -> Diagnosis:
    headlines = {
        "bottleneck": Text("49 % of every step waits for data", "每一步有 49% 的时间在等数据"),
        "healthy": Text("Compute-bound at 78 % of achievable", "计算受限，已达可实现性能的 78%"),
        "inconclusive": Text("GPU counters are missing", "缺少 GPU 计数器"),
    }
    return Diagnosis("2026.1", "abc", of, verdict, headlines[verdict], headlines[verdict], headlines[verdict], ())


class StandIn:
    """What `Advisor` offers to the web service."""

    def __init__(self) -> None:
        self.knowledge = knowledge()
        self.kept: dict[str, tuple[Diagnosis, str]] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.histories: list[list[str]] = []
        self.save(diagnosis(profile("p-healthy", "python finetune.py --workers 8", 190), "healthy"))
        self.save(diagnosis(profile("p-vllm", "vllm serve :8000", 12), "inconclusive"))
        self.save(diagnosis(profile("p-finetune", "python finetune.py", 2)), "running")

    def ask(
        self, question: str, *, lang: Lang | None = None, profile: str | None = None, history: Sequence[str] = ()
    ) -> Answer:
        self.asked.append((question, lang, profile))
        self.histories.append(list(history))
        chinese = any("一" <= c <= "鿿" for c in question)
        spoken: Lang = lang or ("zh-Hans" if chinese else "en")
        key = "en" if spoken == "en" else "zh"
        if profile is not None and profile not in self.kept:
            raise NotFound(f"There is no run {profile!r}; GET /api/v1/profiles lists them.")
        if "7B" in question:
            return self._answer("knowledge", spoken, BLOCKS["knowledge"][key], None)
        if "hostile" in question:
            return self._answer("knowledge", spoken, [hostile_block(), {"kind": "unheard-of"}], None)
        if "broken" in question:
            return self._answer("knowledge", spoken, [{"kind": "steps", "parts": [{"share": "no"}]}], None)
        told = self.kept[profile or "p-finetune"][0]
        if "in my words" in question:
            told = dataclasses.replace(told, profile=dataclasses.replace(told.profile, subject="in my words"))
        return self._answer("diagnosis", spoken, BLOCKS["diagnosis"][key], told)

    def _answer(self, kind: Any, lang: Lang, blocks: Sequence[Mapping[str, Any]], told: Diagnosis | None) -> Answer:
        cited = tuple(self.knowledge.references.values())
        topics = (Scored("dataloader_bottleneck", 0.91),)
        return Answer(kind, lang, "**text**", topics, (RULE_ID,), told, cited, ("Why not the disk?",), blocks)

    def answer_document(self, answer: Answer) -> dict[str, Any]:
        return {
            "schema": 1, "kind": answer.kind, "lang": answer.lang, "text": answer.text,
            "topics": [{"id": t.id, "score": t.score} for t in answer.topics], "rules": list(answer.rules),
            "diagnosis": self.diagnosis_document(answer.diagnosis) if answer.diagnosis else None,
            "citations": [dataclasses.asdict(c) for c in answer.citations], "follow_ups": list(answer.follow_ups),
            "blocks": [dict(b) for b in answer.blocks],
        }  # fmt: skip

    def diagnose(self, document: object) -> Diagnosis:
        if not isinstance(document, dict) or document.get("schema") != 1:
            raise InputError("This is neither a profile nor a diagnosis of schema 1; see the design's JSON format.")
        return diagnosis(profile(str(document["profile"]["id"]), str(document["profile"]["subject"]), 0))

    def diagnosis_document(self, told: Diagnosis) -> dict[str, Any]:
        subject = {"id": told.profile.id, "subject": told.profile.subject, "started": told.profile.started}
        subject |= {"duration_s": told.profile.duration_s, "sources": [], "facts": {}}  # type: ignore[dict-item]
        return {"schema": 1, "profile": subject, "verdict": told.verdict, "findings": []}

    def save(self, told: Diagnosis, state: str = "done") -> str:
        self.kept[told.profile.id] = (told, state)
        return told.profile.id

    def profiles(self, limit: int = 50) -> list[dict[str, Any]]:
        entries = [
            {"id": d.profile.id, "subject": d.profile.subject, "started": d.profile.started,
             "duration_s": d.profile.duration_s, "verdict": d.verdict,
             "headline": {"en": d.headline.en, "zh": d.headline.zh}, "state": state}
            for d, state in self.kept.values()
        ]  # fmt: skip
        return sorted(entries, key=lambda e: str(e["started"]), reverse=True)[:limit]

    def stored(self, id_: str) -> Diagnosis:
        if id_ not in self.kept:
            raise NotFound("There is no diagnosis with this id; GET /api/v1/profiles lists them.")
        return self.kept[id_][0]

    def report(self, told: Diagnosis, format: Literal["md", "html", "json"], lang: Lang) -> str:  # noqa: A002
        if format == "html":
            style = "<style>p{color:rgb(1,2,3)}</style>"
            return (
                f"<!doctype html><html lang={lang}><title>report</title>{style}<p>{told.headline.get(lang)}</p></html>"
            )
        return '{"schema": 1}' if format == "json" else f"# {told.headline.get(lang)}\n"

    def rule_page(self, rule_id: str, lang: Lang) -> Sequence[Mapping[str, Any]]:
        if rule_id not in self.knowledge.rules:
            raise NotFound(f"There is no rule {rule_id!r}; `advisor rules` lists them.")
        title = self.knowledge.rules[rule_id].title.get(lang)
        return [{"kind": "headline", "title": title, "lede": "What is going on."}, *BLOCKS["knowledge"]["en"][:1]]


def hostile_block() -> dict[str, Any]:
    return {"kind": "prose", "title": HOSTILE, "paragraphs": [f"`{HOSTILE}`"], "points": [{"text": HOSTILE}]}


@contextmanager
def live(advisor: Any) -> Iterator[str]:
    """The service on a free loopback port, in a thread; the value is its URL without the last slash."""
    server = uvicorn.Server(uvicorn.Config(create_app(advisor), log_level="error", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)

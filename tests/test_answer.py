"""Questions and answers: own run, knowledge, FAQ, unrelated; English, Simplified, Traditional."""

from __future__ import annotations

import pytest
from starved import STARVED

from advisor.answer import MAX_QUESTION, understand
from advisor.errors import InputError, TooLarge
from advisor.models import Answer, Diagnosis
from advisor.pipeline import Advisor

ADVISOR = Advisor()


def about(question: str, **options: object) -> Answer:
    diagnosis: Diagnosis = ADVISOR.diagnose({"subject": "python train.py", "facts": STARVED})
    return ADVISOR.ask_about(question, diagnosis, **options)  # type: ignore[arg-type]


def alone(question: str) -> Answer:
    return ADVISOR.responder.answer(understand(question), None)


@pytest.mark.parametrize(
    ("question", "lang", "said"),
    [
        ("why is my training slow?", "en", "70 %"),
        ("为什么我的训练这么慢？", "zh-Hans", "70%"),
        ("為什麼我的訓練這麼慢？", "zh-Hant", "資料載入"),
        ("my training is slow, what is the bottleneck", "en", "train.py:31"),
    ],
)
def test_a_question_about_the_run_names_the_cause_with_its_numbers(question: str, lang: str, said: str) -> None:
    answer = about(question)

    assert (answer.kind, answer.lang) == ("diagnosis", lang)
    assert answer.topics[0].id == "dataloader_bottleneck"
    assert answer.rules == ("dataloader-no-workers",)
    assert said in answer.text
    assert answer.citations
    assert answer.follow_ups


def test_the_language_can_be_chosen() -> None:
    assert "数据加载在训练进程内执行" in about("why is my training slow?", lang="zh-Hans").text


def test_blocks_come_in_reading_order() -> None:
    kinds = [b["kind"] for b in about("why is my training slow?").blocks]

    assert kinds[:4] == ["headline", "steps", "evidence", "remedies"]
    assert kinds[-1] == "follow_ups"


def test_evidence_shows_what_was_ruled_out() -> None:
    rows = next(b for b in about("why is my training slow?").blocks if b["kind"] == "evidence")["rows"]

    assert [(r["fact"], r["holds"]) for r in rows] == [
        ("config.dataloader.num_workers", True),
        ("ml.step.data_wait.exposed.fraction", True),
        ("derived.io.stall.measured.fraction", False),
    ]
    assert (rows[1]["value"], rows[1]["bar"], rows[1]["mark"]) == ("70 %", 0.7, 0.05)


def test_asking_for_a_cause_that_was_ruled_out_says_so() -> None:
    answer = about("is the slow disk the problem of my training? storage reads")

    assert answer.kind == "diagnosis"
    assert "not the cause" in answer.text


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        ("what does it mean when data loading runs in the training process", "dataloader-no-workers"),
        ("容器 CPU 配额被限流 throttled 是什么意思", "cgroup-cpu-throttled"),
        ("GPU thermal throttling, clocks drop when hot", "thermal-throttle"),
    ],
)
def test_a_knowledge_question_is_answered_from_a_rule(question: str, rule: str) -> None:
    answer = alone(question)

    assert answer.kind == "knowledge"
    assert answer.rules[0] == rule
    assert answer.citations


@pytest.mark.parametrize(
    ("question", "faq", "said"),
    [
        ("在大模型开发过程中,常见的性能瓶颈有哪些?", "seed-faq-1.1", "计算资源"),
        ("如何优化大模型开发的性能以克服计算资源不足的问题?", "seed-faq-2.4", "更准确地说"),
        ("在大模型开发中,如何有效管理内存以避免内存溢出?", "seed-faq-3.1", "更准确地说"),
        ("有哪些策略可以优化大模型的数据传输效率,特别是在分布式训练环境中?", "seed-faq-4.1", "InfiniBand"),
        ("What are the common performance bottlenecks in developing large models?", "seed-faq-1.1", "More precisely"),
    ],
)
def test_the_seed_questions_are_answered_with_corrections_marked(question: str, faq: str, said: str) -> None:
    answer = alone(question)
    item = next(i for f in ADVISOR.knowledge.faqs.values() for i in f.items if i.id == faq)

    assert answer.kind == "knowledge"
    assert item.text.get(answer.lang)[:12] in answer.text.replace("\\", "")
    assert said in answer.text


def test_without_measurements_it_says_what_to_run() -> None:
    answer = alone("why is my training slow?")

    assert answer.kind == "clarify"
    assert "advisor run -- python train.py" in answer.text


@pytest.mark.parametrize(
    "question", ["what is the weather today?", "写一首关于春天的诗", "tell me a joke", "¿qué hora es?"]
)
def test_an_unrelated_question_is_declined(question: str) -> None:
    answer = alone(question)

    assert answer.kind == "out_of_scope"
    assert answer.topics[0].id.startswith("oos_")


def test_five_topics_always() -> None:
    for question in ("zzz", "DataLoader num_workers", "显存不足"):
        assert len(alone(question).topics) == 5


@pytest.mark.parametrize(
    ("question", "error"),
    [("", InputError), ("   \n", InputError), ("why\x00slow", InputError), ("x" * (MAX_QUESTION + 1), TooLarge)],
)
def test_what_is_no_question_gets_one_sentence(question: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        understand(question)

    assert "\n" not in str(caught.value)


def test_the_same_question_gives_the_same_answer() -> None:
    assert ADVISOR.answer_document(about("why is my training slow?")) == ADVISOR.answer_document(
        about("why is my training slow?")
    )


def test_markup_in_what_the_machine_says_stays_text() -> None:
    facts = {**STARVED, "config.dataloader.num_workers": {"value": 0, "origin": "<b>|x|</b>", "where": "a`|b.py:1"}}
    diagnosis = ADVISOR.diagnose({"subject": "<script>alert(1)</script>", "facts": facts})

    text = ADVISOR.ask_about("why is my training slow?", diagnosis).text

    assert "<b>" not in text
    assert "\\|x\\|" in text

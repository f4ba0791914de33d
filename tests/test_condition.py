"""The condition language: parsing, types, Kleene logic, and information monotonicity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.condition import check, compile_condition, compile_rule, parse
from advisor.errors import ConditionError
from advisor.models import Condition, FactSpec, Rule, Text, When

T = Text("t", "测")
SPECS = {
    "a.share": FactSpec("a.share", "1", "number", "", low=0.0, high=1.0),
    "a.time": FactSpec("a.time", "s", "number", "", low=0.0),
    "b.time": FactSpec("b.time", "s", "number", "", low=0.0),
    "a.on": FactSpec("a.on", "{bool}", "bool", ""),
    "a.name": FactSpec("a.name", "{string}", "string", ""),
}


def truth(text: str, **facts: object) -> bool | None:
    return compile_condition(parse(text))({k.replace("_", ".", 1): v for k, v in facts.items()})  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("a.share > 0.05", {"a_share": 0.06}, True),
        ("a.share > 0.05", {"a_share": 0.05}, False),
        ("a.share >= 0.05", {"a_share": 0.05}, True),
        ("a.share > 0.05", {}, None),
        ("a.time == 0", {"a_time": 0.0}, True),
        ("a.time != 0", {"a_time": 0.0}, False),
        ("a.time != 0", {}, None),
        ("a.time / b.time > 2", {"a_time": 5.0, "b_time": 2.0}, True),
        ("a.time / b.time > 2", {"a_time": 5.0, "b_time": 0.0}, None),
        ("a.time / b.time > 2", {"a_time": 5.0}, None),
        ("a.time < 0.5 * b.time", {"a_time": 0.9, "b_time": 2.0}, True),
        ("a.time < b.time", {"a_time": 2.0, "b_time": 2.0}, False),
        ("a.on == true", {"a_on": True}, True),
        ("a.on == false", {"a_on": True}, False),
        ("a.name == NET/Socket", {"a_name": "NET/Socket"}, True),
        ("a.name in [x, 'y z']", {"a_name": "y z"}, True),
        ("a.name in [x, y]", {}, None),
        ("a.name contains sock", {"a_name": "NET/socket"}, True),
        ("a.share is known", {"a_share": 0.0}, True),
        ("a.share is known", {}, False),
    ],
)
def test_leaf(text: str, facts: dict[str, object], expected: bool | None) -> None:
    assert truth(text, **facts) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.share",
        "share > 1",
        "a.share >",
        "a.share > > 1",
        "a.share is missing",
        "a.share in x",
        "a / b",
        "x" * 400,
    ],
)
def test_what_is_not_a_condition_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("c.nothing > 1", "unknown fact 'c.nothing'"),
        ("a.share > 1", "can never hold"),
        ("a.share < 0", "can never hold"),
        ("a.share == yes", "is not a number"),
        ("a.on == 1", "is not a bool"),
        ("a.name > 3", "is not a string"),
        ("a.on > b.time", "is a bool, not a number"),
        ("a.share > b.time", "compares 1 with s"),
        ("a.time contains x", "'contains' needs text"),
        ("a.name in [1, x]", "1.0 is not a string"),
        ("a.name in []", "the list is empty"),
        ("a.time / a.name > 1", "is a string, not a number"),
    ],
)
def test_types_are_checked_against_the_vocabulary(text: str, said: str) -> None:
    problems = check(parse(text), SPECS)

    assert len(problems) >= 1
    assert said in problems[0]


def test_conditions_that_fit_have_no_problem() -> None:
    for text in ("a.share > 0.05", "a.time / b.time > 2", "a.time < 0.5 * b.time", "a.on == true", "a.name in [x]"):
        assert check(parse(text), SPECS) == []


def rule(applies: tuple[Condition, ...], when: When) -> Rule:
    return Rule("r", "x", "t", "stable", "minor", "high", T, T, T, T, applies, when, (), ())


NAMES = [f"f.{c}" for c in "abcdef"]
LEAVES = st.builds(
    lambda name, op, value: parse(f"{name} {op} {value}"),
    st.sampled_from(NAMES),
    st.sampled_from("<>"),
    st.integers(0, 4),
)
GROUP = st.lists(LEAVES, max_size=3).map(tuple)
WHENS = st.builds(
    lambda all_, any_, some, count, none: When(all_, any_, some, min(count, len(some)), none),
    GROUP,
    GROUP,
    GROUP,
    st.integers(0, 3),
    GROUP,
).filter(lambda w: w.all or w.any or w.at_least)
VALUES = st.dictionaries(st.sampled_from(NAMES), st.floats(0, 4, allow_nan=False).map(round).map(float))


def brute_force(when: When, values: dict[str, float]) -> bool | None:
    """Kleene's value by definition: what every completion of the missing facts agrees on, per condition."""

    def leaf(c: Condition) -> bool | None:
        return compile_condition(c)(values)

    def k_and(xs: list[bool | None]) -> bool | None:
        return False if False in xs else None if None in xs else True

    def k_or(xs: list[bool | None]) -> bool | None:
        return True if True in xs else None if None in xs else False

    parts: list[bool | None] = [k_and([leaf(c) for c in when.all])]
    if when.any:
        parts.append(k_or([leaf(c) for c in when.any]))
    if when.at_least:
        some = [leaf(c) for c in when.at_least]
        yes, unknown = some.count(True), some.count(None)
        parts.append(True if yes >= when.count else None if yes + unknown >= when.count else False)
    looks = k_or([leaf(c) for c in when.none])
    parts.append(None if looks is None else not looks)
    return k_and(parts)


@given(WHENS, VALUES)
def test_a_rule_is_judged_as_kleene_defines(when: When, values: dict[str, float]) -> None:
    outcome = compile_rule(rule((), when))(values).outcome

    assert outcome == {True: "matched", False: "cleared", None: "incomplete"}[brute_force(when, values)]


@given(WHENS, VALUES, st.sampled_from(NAMES))
def test_losing_a_fact_never_decides_a_rule(when: When, values: dict[str, float], lost: str) -> None:
    judge = compile_rule(rule((), when))
    before, after = judge(values), judge({k: v for k, v in values.items() if k != lost})

    assert after.outcome in (before.outcome, "incomplete")


@given(WHENS, VALUES)
def test_missing_facts_are_named_and_really_absent(when: When, values: dict[str, float]) -> None:
    trace = compile_rule(rule((), when))(values)

    assert bool(trace.missing) == (trace.outcome == "incomplete")
    assert not set(trace.missing) & set(values)


@given(WHENS, VALUES)
def test_flips_are_zero_exactly_at_a_match(when: When, values: dict[str, float]) -> None:
    trace = compile_rule(rule((), when))(values)

    assert (trace.flips == 0) == (trace.outcome == "matched")
    assert trace.flips <= len(when.conditions)


def test_flips_count_what_must_change_not_what_is_false() -> None:
    when = When(any=(parse("f.a > 1"), parse("f.b > 1"), parse("f.c > 1")), none=(parse("f.d > 1"),))

    trace = compile_rule(rule((), when))({"f.a": 0.0, "f.b": 0.0, "f.c": 0.0, "f.d": 2.0})

    assert trace.flips == 2


def test_a_rule_that_does_not_apply_is_not_judged() -> None:
    judge = compile_rule(rule((parse("f.a == 1"), parse("f.b == 1")), When(all=(parse("f.c > 1"),))))

    assert judge({"f.a": 0.0, "f.c": 2.0}).outcome == "inapplicable"
    assert judge({"f.a": 1.0, "f.c": 2.0}).outcome == "incomplete"
    assert judge({"f.a": 1.0, "f.c": 2.0}).missing == ("f.b",)
    assert judge({"f.a": 1.0, "f.b": 1.0, "f.c": 2.0}).outcome == "matched"
    assert judge({"f.a": 1.0, "f.c": 0.0}).outcome == "cleared"

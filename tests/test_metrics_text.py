"""The text format: what is read, what is forgiven, what is refused; and the official client as a peer."""

from __future__ import annotations

import math
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from advisor.errors import InputError, TooLarge
from advisor.readers.metrics import prometheus
from advisor.readers.metrics.prometheus import canonical, looks_like_metrics, parse

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "prometheus_text"
SAMPLES = sorted(p for p in SHARED.rglob("*") if p.is_file()) if SHARED.is_dir() else []


def one(line: str) -> tuple[str, dict[str, str], float]:
    ((name, series),) = parse(line, "page").samples.items()
    ((labels, value),) = series.items()
    return name, dict(labels), value


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("up 1", ("up", {}, 1.0)),
        ("up{} 1", ("up", {}, 1.0)),
        ("  up\t1 \r", ("up", {}, 1.0)),
        ('a{b="c",} 1', ("a", {"b": "c"}, 1.0)),
        ('a { b = "c" , d="e" } 1', ("a", {"b": "c", "d": "e"}, 1.0)),
        ('a{b="c"}1', ("a", {"b": "c"}, 1.0)),
        (r'a{b="x\"y\\z\n{}, #"} -2.5e-3', ("a", {"b": 'x"y\\z\n{}, #'}, -0.0025)),
        ("a 1.5 1700000000000", ("a", {}, 1.5)),
        ("a 1.5 1700000000.5", ("a", {}, 1.5)),
        ('a_bucket{le="+Inf"} 17 # {trace_id="x y"} 0.67 1700000000.1', ("a_bucket", {"le": "+Inf"}, 17.0)),
        ('{"metric.name",b="c"} 3', ("metric.name", {"b": "c"}, 3.0)),
        ('{"metric.name",B="c","d.e"="f"} 3', ("metric.name", {"B": "c", "d.e": "f"}, 3.0)),
        ("\ufeffup 1", ("up", {}, 1.0)),
        ('a{model="模型"} 1', ("a", {"model": "模型"}, 1.0)),
        ("# HELP a {{{\n# TYPE a nonsense\n# just a remark\na 1\n# EOF", ("a", {}, 1.0)),
    ],
)
def test_what_is_read(line: str, expected: object) -> None:
    assert one(line) == expected


def test_times_are_seconds_in_either_unit_and_never_an_exemplars() -> None:
    assert parse("a 1 1700000000500\nb 1", "page").time == 1_700_000_000.5
    assert parse("a 1 1700000000.5\nb 1 1600000000", "page").time == 1_700_000_000.5
    assert parse('a_bucket{le="1"} 1 # {} 0.5 1700000000', "page").time is None


def test_what_is_not_finite_is_left_out() -> None:
    assert parse("a NaN\nb +Inf\nc -Inf\nd nan\ne 1", "page").samples == {"e": {(): 1.0}}


@pytest.mark.parametrize(
    "bad",
    ["junk", "a", "a1", "a 1_000", "a 0x10", "a 1.2.3", "a one", 'a{b="c" 1', 'a{b} 1', 'a{b="c"d="e"} 1', 'a{"b"} 1',
     "a 1 x", "<html>", '{"facts": {}}', "1.0", "{} 1"],
)  # fmt: skip
def test_what_is_refused_names_the_line(bad: str) -> None:
    with pytest.raises(
        InputError, match=r"^page, line 2, is not in the Prometheus text format: .*; save the page again$"
    ):
        parse(f"up 1\n{bad}\nup 2\n", "page")


def test_a_last_line_that_is_cut_off_is_noted_and_only_that_one() -> None:
    page = parse('up 1\na{b="c', "page")
    assert page.samples == {"up": {(): 1.0}}
    assert page.note == "the last line is cut off and was left out"
    with pytest.raises(InputError, match="line 1"):
        parse('a{b="c', "page")


def test_nothing_and_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    for empty in ("", "\n\n", "# HELP a b\n"):
        with pytest.raises(InputError, match="page holds no metrics"):
            parse(empty, "page")
    monkeypatch.setattr(prometheus, "MAX_BYTES", 10)
    with pytest.raises(TooLarge, match="page has 12 characters"):
        parse("aaaaaaaaaa 1", "page")


def test_hostile_lines_are_given_up_at_once() -> None:
    for line in ("x{" + 'a="b",' * 200_000, 'x{a="' + "\\\\" * 200_000, "x" * 500_000, "x " + "1" * 200_000 + "y"):
        with pytest.raises(InputError, match="line 1"):
            parse(line + "\n", "page")


def test_one_spelling_per_metric() -> None:
    for name in ("vllm:num_requests_running", "vllm_num_requests_running", "ray_vllm_num_requests_running"):
        assert canonical(name) == "vllm_num_requests_running"
    assert canonical("kserve_vllm:kv_cache_usage_perc") == "vllm_kv_cache_usage_perc"
    assert canonical("ray_tasks") == "ray_tasks"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("# HELP a b\n", True),
        ("\n\n# TYPE a counter", True),
        ("# a remark\nup 1\n", True),
        ("up{a=\"b\"} 1\n", True),
        ('{"facts": {"run.rank": 1}}', False),
        ("{\n", False),
        ("# A heading\n\nsome text\n", False),
        ("step 1 loss 2\n", False),
        ("", False),
    ],
)  # fmt: skip
def test_recognition_by_content(head: str, expected: bool) -> None:
    assert looks_like_metrics(head) is expected


names = st.from_regex(r"\A[a-zA-Z_][a-zA-Z0-9_]{0,20}\Z").filter(lambda n: not n.startswith(("ray_", "kserve_")))
texts = st.text(alphabet=string.printable + "模é", max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(names, st.tuples(st.dictionaries(names, texts, max_size=4), numbers), min_size=1, max_size=8))
def test_what_an_exporter_writes_is_read_back(metrics: dict[str, tuple[dict[str, str], float]]) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    lines = []
    for name, (labels, value) in metrics.items():
        inside = ",".join(f'{k}="{escaped(v)}"' for k, v in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}")
    page = parse("\n".join(lines) + "\n", "page")

    assert {n: {tuple(sorted(labels.items())): v} for n, (labels, v) in metrics.items()} == page.samples


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    try:
        page = parse(text, "page")
    except InputError as error:
        assert str(error).startswith("page")  # noqa: PT017 - either way is right
    else:
        assert all(math.isfinite(v) for series in page.samples.values() for v in series.values())


@pytest.mark.skipif(not SAMPLES, reason="no samples of real exporters here")
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
def test_real_pages_read_as_the_official_client_reads_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    plain = lambda name: canonical(name).removesuffix("_total")  # noqa: E731 - the client adds it to every counter
    theirs = {
        (plain(s.name), tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if math.isfinite(s.value)
    }
    ours = {(plain(n), key): v for n, series in parse(text, path.name).samples.items() for key, v in series.items()}

    assert ours == theirs

"""The pages as HTML: what is in them without a script, their languages, and that data never becomes markup."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
from standin import BLOCKS, HOSTILE, RULE_ID, StandIn
from starlette.testclient import TestClient

from advisor import blocks, serve
from advisor.blocks.html import fragments, inline, segments
from advisor.blocks.strings import strings, web_folder
from advisor.serve import create_app

FORM = {"content-type": "application/x-www-form-urlencoded"}
BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def advisor() -> StandIn:
    return StandIn()


@pytest.fixture
def client(advisor: StandIn) -> Iterator[TestClient]:
    """A client without cookies: each test chooses its language itself."""
    with TestClient(create_app(advisor), base_url="http://127.0.0.1:8321") as client:  # type: ignore[arg-type]
        yield client


def test_the_form_answers_with_a_whole_page(client: TestClient) -> None:
    page = client.post("/", data={"question": "why slow?", "profile": "p-finetune"}).text
    places = [
        page.index(title) for title in ("Where a step goes", "What shows it", "What to do", "Sources", "Ask next")
    ]
    assert places == sorted(places)
    assert "must be skipped" not in page
    assert 'href="/?q=Why%20not%20the%20disk%3F&amp;profile=p-finetune"' in page


def test_the_stream_and_the_page_have_one_markup(client: TestClient) -> None:
    whole = client.post("/", data={"question": "why slow?"}).text
    stream = client.post("/", data={"question": "why slow?"}, headers={"accept": "text/event-stream"}).text
    blocks = [json.loads(data)["html"] for data in re.findall(r"event: block\ndata: (.*)", stream)]
    assert len(blocks) == 10
    assert "".join(blocks) in whole


@pytest.mark.parametrize("way", ["page", "stream"])
def test_data_never_becomes_markup(client: TestClient, way: str) -> None:
    headers = {"accept": "text/event-stream"} if way == "stream" else {}
    text = client.post("/", data={"question": f"hostile {HOSTILE}"}, headers=headers).text
    assert "<img" not in text
    assert "<script>" not in text
    assert text.count(escape(HOSTILE).replace("&quot;", "&#34;")) >= 3 if way == "page" else True


def test_deep_link(client: TestClient, advisor: StandIn) -> None:
    page = client.get("/", params={"q": "为什么慢", "profile": "p-vllm"})
    assert advisor.asked[-1] == ("为什么慢", None, "p-vllm")
    assert '<div class="reply" lang="zh-Hans">' in page.text


@pytest.mark.parametrize(
    ("accept_language", "lang"),
    [("zh-TW,zh;q=0.9", "zh-Hant"), ("zh-CN", "zh-Hans"), ("de,en;q=0.5", "en"), ("fr", "en"), ("", "en")],
)
def test_the_browser_chooses_the_language(client: TestClient, accept_language: str, lang: str) -> None:
    page = client.get("/", headers={"accept-language": accept_language})
    assert f'<html lang="{lang}">' in page.text
    assert "set-cookie" not in page.headers


def test_the_user_chooses_the_language_for_good(client: TestClient, advisor: StandIn) -> None:
    assert '<html lang="zh-Hant">' in client.get("/?lang=zh-Hant", headers={"accept-language": "en"}).text
    assert '<html lang="zh-Hant">' in client.get("/", headers={"accept-language": "en"}).text
    client.get("/?q=why")
    assert advisor.asked[-1] == ("why", "zh-Hant", None)


def test_every_string_is_there_in_every_language() -> None:
    table = json.loads((web_folder() / "strings.json").read_text("utf-8"))
    assert all(set(texts) == {"en", "zh-Hans"} and all(texts.values()) for texts in table.values())
    for lang in ("en", "zh-Hans", "zh-Hant"):
        assert set(strings(lang)) == set(table)
    assert strings("zh-Hant")["language"] == "語言"
    assert all(not re.search("[一-鿿]", text) for text in strings("en").values())


def test_every_string_is_used() -> None:
    sources = [
        *web_folder().rglob("*.html"),
        *web_folder().rglob("*.js"),
        *Path(serve.__file__).parent.glob("*.py"),
        *Path(blocks.__file__).parent.glob("html.py"),
    ]
    text = "\n".join(file.read_text("utf-8") for file in sources)
    composed = ("starter.", "theme.", "verdict.", "group.")
    unused = [key for key in strings("en") if f'"{key}"' not in text and f"'{key}'" not in text]
    assert [key for key in unused if not key.startswith(composed)] == []


@pytest.mark.parametrize("path", ["/rules/none", "/nowhere", "/?q=x&profile=none", "/?q=%01"])
def test_a_browser_gets_errors_as_a_page(client: TestClient, path: str) -> None:
    page = client.get(path, headers=BROWSER)
    assert page.status_code in (404, 422)
    assert page.headers["content-type"].startswith("text/html")
    assert 'class="problem"' in page.text


def test_an_empty_form_is_told_so(client: TestClient) -> None:
    page = client.post("/", data={"question": " "}, headers=BROWSER)
    assert page.status_code == 422
    assert "The question is empty" in page.text


@pytest.mark.parametrize(("body", "status"), [(b"question=%ff", 422), (b"&".join([b"a=1"] * 40), 422)])
def test_a_broken_form(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/", content=body, headers=FORM)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


def test_rules_have_pages(client: TestClient) -> None:
    assert f'href="/rules/{RULE_ID}"' in client.get("/rules").text
    page = client.get(f"/rules/{RULE_ID}?lang=zh-Hans").text
    assert "数据加载在训练进程内执行" in page
    assert '<html lang="zh-Hans">' in page
    assert 'href="/rules#dataloader_bottleneck"' in page


def test_rules_are_listed_by_topic_without_inline_code(client: TestClient) -> None:
    page = client.get("/rules").text
    topic, rule = page.index('id="dataloader_bottleneck"'), page.index(f'href="/rules/{RULE_ID}"')
    assert topic < rule
    assert 'data-said="slow loader"' in page
    assert '<script src="/static/rules.js" defer></script>' in page
    assert not re.search(r"<style|<script(?! (src|type=\"module\" src)=)| style=| on[a-z]+=", page)


def test_runs_are_listed_newest_first(client: TestClient) -> None:
    page = client.get("/runs?profile=p-vllm").text
    assert page.index("p-finetune") < page.index("p-vllm") < page.index("p-healthy")
    assert re.search(r'data-run="p-vllm"[^>]* aria-current="true"', page)
    assert "2 min ago" in page
    assert page.count("running</b>") == 1


def test_what_was_shown_can_be_exported_though_it_was_not_stored(client: TestClient, advisor: StandIn) -> None:
    page = client.post("/", data={"question": "in my words"}).text
    (link,) = re.findall(r'href="(/api/v1/diagnoses/shown-[^"]+\.md\?lang=en)"', page)
    assert client.get(link).text.startswith("# 49 %")
    assert "shown-" not in "".join(advisor.kept)
    assert "/api/v1/diagnoses/p-finetune.html?lang=en" in client.post("/", data={"question": "why"}).text


def test_inline_markup_is_all_there_is() -> None:
    assert inline("a `b<c` **d** <e>") == "a <code>b&lt;c</code> <b>d</b> &lt;e&gt;"
    assert inline("2 * 3 ** 4") == "2 * 3 ** 4"


def test_a_bar_never_overflows() -> None:
    parts = [{"id": "data", "label": "x", "share": s, "value": "", "percent": ""} for s in (0.8, 0.6)]
    placed = segments(parts)
    assert placed[-1].x + placed[-1].width == pytest.approx(100, abs=0.02)


def test_a_block_that_lacks_fields_is_still_drawn() -> None:
    kinds = {block["kind"] for language in BLOCKS["diagnosis"].values() for block in language} - {
        "a-kind-of-the-future"
    }
    html = list(fragments([{"kind": kind} for kind in sorted(kinds)], "en", {}))
    assert len(html) == len(kinds)


def test_nothing_foreign_is_loaded() -> None:
    for file in [*web_folder().rglob("*.html"), *web_folder().rglob("*.js"), *web_folder().rglob("*.css")]:
        text = file.read_text("utf-8")
        assert not re.search(r"""(src|href|url|import|from|fetch)\s*[=(:"']+\s*["']?(https?:)?//""", text), file
        assert "innerHTML" not in text, file
        assert "style=" not in text, file
    assert not (web_folder() / "vendor").exists(), "vendored libraries need a VENDOR.json and a check here"


def test_vendored_test_tools_are_what_they_were() -> None:
    folder = Path(__file__).with_name("vendor")
    entries = json.loads((folder / "VENDOR.json").read_text("utf-8"))
    for entry in entries:
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert (folder / entry["licence_file"]).is_file()
    listed = {name for e in entries for name in (e["file"], e["licence_file"])} | {"VENDOR.json"}
    assert {file.name for file in folder.iterdir()} == listed

"""The chat page in a real browser against a real server: keyboard, streaming, languages, sizes, accessibility."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from standin import StandIn, live

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def advisor() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def url(advisor: StandIn) -> Iterator[str]:
    with live(advisor) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Open]:
    """Opens pages, and fails the test on a console error or a request that leaves the server."""
    noise: list[str] = []
    contexts = []

    def listen(page: Page) -> None:
        page.on("console", lambda m: noise.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: noise.append(str(e)))
        page.on("request", lambda r: noise.append(r.url) if not r.url.startswith((url, "data:")) else None)

    def open_(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        listen(page)
        page.goto(url + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert noise == []


def ask(page: Page, question: str) -> None:
    """One question by keyboard, and its whole answer."""
    turns = page.locator(".turn").count()
    page.keyboard.press("/")
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(turns + 1)
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false")


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds wrong: rule and the elements."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found["violations"]]


def test_ask_by_keyboard_and_get_the_blocks_in_order(open_page: Open) -> None:
    page = open_page()
    ask(page, "why is my training slow?")
    assert page.locator(".said").inner_text() == "why is my training slow?"
    assert page.locator(".reply > *").evaluate_all("nodes => nodes.map(n => n.className.split(' ')[0])") == [
        "headline", "steps", "evidence", "remedies", "others", "missing", "coverage", "sources", "exports", "next",
    ]  # fmt: skip
    expect(page.locator("#status")).to_have_text(re.compile(r"^Answer ready\. Data loading runs"))
    assert page.evaluate("document.activeElement.id") == "question"
    assert "q=why+is" in page.url
    page.reload()
    expect(page.locator(".headline h2")).to_be_visible()


def test_the_keys(open_page: Open, advisor: StandIn) -> None:
    page = open_page()
    box = page.locator("#question")
    page.locator("#hello").click()
    expect(box).not_to_be_focused()
    page.keyboard.press("/")
    expect(box).to_be_focused()
    page.keyboard.press("/")  # the box is empty and has the focus: nothing to do
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two / three")
    page.keyboard.press("Enter")
    expect(page.locator(".headline")).to_be_visible()
    assert advisor.asked[-1][0] == "one\ntwo / three"
    expect(box).to_have_value("")
    page.keyboard.press("ArrowUp")
    expect(box).to_have_value("one\ntwo / three")
    page.keyboard.press("ArrowDown")
    expect(box).to_have_value("")
    page.keyboard.press("Enter")
    assert page.locator(".turn").count() == 1


def test_escape_stops(open_page: Open) -> None:
    page = open_page()
    page.route("**/", lambda route: None if route.request.method == "POST" else route.continue_())
    page.fill("#question", "why")
    page.keyboard.press("Enter")
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "true")
    expect(page.locator(".go .stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#transcript")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#status")).to_have_text("Stopped.")
    page.unroute_all(behavior="ignoreErrors")


def test_copy_says_so(open_page: Open) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page, "why")
    button = page.locator(".fix .copy").first
    button.click()
    expect(button).to_have_text("Copied")
    expect(page.locator("#status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("DataLoader(..., num_workers=6")
    expect(button).to_have_text("Copy")


def test_follow_ups_and_starters_ask_on_click(open_page: Open, advisor: StandIn) -> None:
    page = open_page()
    page.get_by_role("link", name="Why is my training slow?").click()
    expect(page.locator(".next")).to_be_visible()
    page.get_by_role("link", name="Why not the disk?").click()
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".next")).to_have_count(2)
    assert advisor.asked[-1][::2] == ("Why not the disk?", "p-finetune")


def test_a_run_becomes_the_subject(open_page: Open, advisor: StandIn) -> None:
    page = open_page()
    expect(page.locator("#runs b")).to_have_text("running")
    page.locator("[data-run=p-vllm]").click()
    expect(page.locator(".about")).to_contain_text("vllm serve :8000")
    ask(page, "why")
    assert advisor.asked[-1][2] == "p-vllm"
    page.get_by_role("link", name="Ask about this machine instead").click()
    expect(page.locator(".about")).to_be_hidden()
    ask(page, "and now")
    assert advisor.asked[-1][2] is None


def test_new_runs_appear_while_the_page_is_open(open_page: Open, advisor: StandIn) -> None:
    from standin import diagnosis, profile

    page = open_page()
    page.locator("[data-run=p-vllm]").focus()
    advisor.save(diagnosis(profile("p-late", "python late.py", 0)))
    expect(page.locator("[data-run=p-late]")).to_be_visible(timeout=9000)
    assert page.evaluate("document.activeElement.dataset.run") == "p-vllm"


def test_language_switch_keeps_the_conversation(open_page: Open, advisor: StandIn) -> None:
    page = open_page()
    ask(page, "why")
    page.get_by_role("link", name="简体中文").click()
    expect(page.locator("#question")).to_have_attribute("placeholder", "提问，或粘贴报错")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert page.locator(".reply").get_attribute("lang") == "en"
    ask(page, "why again")
    assert advisor.asked[-1][1] == "zh-Hans"
    expect(page.locator(".reply").last).to_have_attribute("lang", "zh-Hans")
    expect(page.locator(".n .not").last).to_have_text("已排除")
    page.get_by_role("link", name="繁體中文").click()
    expect(page.locator(".send")).to_have_text("提問")
    page.goto(page.url.partition("?")[0])
    assert page.locator("html").get_attribute("lang") == "zh-Hant"


def test_the_question_chooses_the_language_until_the_user_does(open_page: Open) -> None:
    page = open_page()
    ask(page, "为什么慢")
    expect(page.locator(".reply")).to_have_attribute("lang", "zh-Hans")
    assert page.locator("html").get_attribute("lang") == "en"


def test_dark_mode_follows_the_system_and_is_remembered(open_page: Open) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = open_page(color_scheme="dark")
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light").click()
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == light
    expect(page.get_by_role("button", name="Light")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Like the system").click()
    assert page.evaluate(ground) == dark


def test_nothing_is_wider_than_the_window(open_page: Open) -> None:
    page = open_page()
    for question in ("why", "为什么慢", "does 7B fit?"):
        ask(page, question + " " + "x" * 300)
    for width in (320, 390, 640, 860, 861, 1280, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_panel_on_a_phone(open_page: Open) -> None:
    page = open_page(viewport={"width": 390, "height": 844})
    expect(page.locator("#side")).to_be_hidden()
    menu = page.get_by_role("button", name="Runs and settings")
    menu.click()
    expect(page.locator("#side")).to_be_visible()
    expect(menu).to_have_attribute("aria-expanded", "true")
    page.locator("[data-run=p-vllm]").click()
    expect(page.locator("#side")).to_be_hidden()
    expect(page.locator(".about")).to_be_visible()


def test_streaming_moves_nothing_that_is_there(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        "new PerformanceObserver(l => { window.shift = (window.shift ?? 0) + l.getEntries()"
        ".filter(e => !e.hadRecentInput).reduce((s, e) => s + e.value, 0) }).observe({type: 'layout-shift'})"
    )
    page.fill("#question", "why")
    page.wait_for_timeout(600)  # input within half a second excuses a shift: let that pass
    page.evaluate("document.getElementById('ask').requestSubmit()")
    expect(page.locator(".next")).to_be_visible()
    page.wait_for_timeout(200)
    assert page.evaluate("window.shift ?? 0") < 0.02


def test_the_page_sends_what_was_said_before(open_page: Open, advisor: StandIn) -> None:
    page = open_page()
    ask(page, "why is it slow?")
    assert advisor.histories[-1] == []
    ask(page, "why <b>not</b> the disk?")
    assert advisor.histories[-1] == ["why is it slow?"]
    ask(page, "怎么改")
    assert advisor.histories[-1] == ["why is it slow?", "why <b>not</b> the disk?"]


def test_errors_are_cards_with_a_second_try(open_page: Open) -> None:
    page = open_page()
    page.evaluate("void (window.fetch = () => Promise.reject(new TypeError('away')))")
    page.fill("#question", "why")
    page.keyboard.press("Enter")
    expect(page.locator(".problem")).to_contain_text("The advisor service does not answer")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()


def test_an_answer_that_breaks_off_says_so(open_page: Open) -> None:
    page = open_page()
    ask(page, "a broken answer")
    expect(page.locator(".problem")).to_contain_text("could not be shown")


def test_hostile_text_stays_text(open_page: Open) -> None:
    page = open_page()
    ask(page, "hostile <img src=x onerror=alert(1)>")
    assert page.locator(".reply img, .reply script, .me img").count() == 0
    assert page.title() == "advisor"


def test_without_javascript_a_form_does(open_page: Open, advisor: StandIn) -> None:
    page = open_page(java_script_enabled=False)
    page.fill("#question", "why slow?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".headline h2")).to_be_visible()
    expect(page.locator(".said")).to_have_text("why slow?")
    expect(page.locator(".copy").first).to_be_hidden()
    page.get_by_role("link", name="How do I verify the fix?").click()
    expect(page.locator(".said")).to_have_text("How do I verify the fix?")
    page.fill("#question", "and why?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".said")).to_have_text("and why?")
    assert advisor.histories[-1] == ["How do I verify the fix?"]
    page.get_by_role("link", name="简体中文").click()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"


def test_the_rules_are_filtered_as_one_types(open_page: Open) -> None:
    page = open_page("/rules")
    page.keyboard.press("/")
    page.keyboard.type("slow LOADER")  # how people say it, not what the rule is called
    expect(page.locator(".rule")).to_be_visible()
    expect(page.locator(".heard")).to_have_text("slow loader")
    expect(page.locator("#found")).to_have_text("1 of 1 rules")
    page.keyboard.type(" nowhere")
    expect(page.locator(".rule")).to_be_hidden()
    ask = page.get_by_role("link", name="Ask it as a question").get_attribute("href")
    assert ask.endswith("/?q=slow%20LOADER%20nowhere")
    page.reload()
    expect(page.locator("#found")).to_have_text("0 of 1 rules")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.locator(".rule")).to_be_visible()
    assert page.url.endswith("/rules")
    page.keyboard.press("Enter")
    expect(page.locator(".rule a")).to_be_focused()


def test_screen_reader_attributes(open_page: Open) -> None:
    page = open_page()
    log = page.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "off")
    ask(page, "why")
    expect(page.get_by_role("status")).to_be_attached()
    expect(page.get_by_role("img", name=re.compile("^Step 312 ms"))).to_be_visible()
    table = page.get_by_role("table")
    expect(table.get_by_role("rowheader").first).to_contain_text("Waiting for the next batch")
    expect(table.get_by_role("columnheader")).to_have_count(3)
    value = table.locator(".out .n small")
    assert value.bounding_box()["height"] < 24, "value and limit stand on one line"
    assert page.locator("article[aria-busy]").count() == 0


@pytest.mark.parametrize("path", ["/", "/?q=why", "/?q=7B&lang=zh-Hans", "/rules", "/rules/dataloader-no-workers"])
def test_axe_finds_nothing(open_page: Open, path: str) -> None:
    page = open_page(path, reduced_motion="reduce")
    page.evaluate(AXE.read_text("utf-8"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme


def test_axe_finds_nothing_on_a_phone(open_page: Open) -> None:
    page = open_page("/?q=why", viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page.get_by_role("button", name="Runs and settings").click()
    page.evaluate(AXE.read_text("utf-8"))
    assert violations(page) == []

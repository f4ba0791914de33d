"""The static site: complete in every language, closed in itself, the same bytes twice, and usable from a disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html import unescape
from os.path import normpath
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_page_chat import ARGS, AXE, CHROMIUM

from advisor import cli
from advisor.blocks.strings import strings
from advisor.errors import InputError
from advisor.models import LANGS
from advisor.pipeline import Advisor

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Links:
    """What a page points at, apart by whether it is loaded or followed, and every id; quick, for hundreds of pages."""

    def __init__(self, text: str) -> None:
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.ids = set(re.findall(r' id="([^"]+)"', text))
        for tag, attributes, link in re.findall(r'<(\w+)((?: [^>]*)?) (?:href|src)="([^"]*)"', text):
            follows = tag == "a" or (tag == "link" and 'rel="alternate"' in attributes)
            (self.followed if follows else self.loaded).append(unescape(link))


@pytest.fixture(scope="module")
def advisor() -> Advisor:
    return Advisor()


@pytest.fixture(scope="module")
def site(advisor: Advisor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "site"
    assert advisor.write_pages(folder) == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def links(site: Path) -> dict[Path, Links]:
    return {file: Links(file.read_text("utf-8")) for file in site.rglob("*.html")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_every_rule_and_question_has_a_page_in_every_language(advisor: Advisor, site: Path) -> None:
    for lang in LANGS:
        for kind, known in (("rules", advisor.knowledge.rules), ("faq", advisor.knowledge.faqs)):
            assert {f.stem for f in (site / lang / kind).iterdir()} == set(known)
        index = site / "index.html" if lang == "en" else site / lang / "index.html"
        links = Links(index.read_text("utf-8")).followed
        assert {Path(x).stem for x in links if "rules/" in x} == set(advisor.knowledge.rules)
        assert f'<html lang="{lang}">' in index.read_text("utf-8")
    assert "記憶體" in (site / "zh-Hant" / "index.html").read_text("utf-8")


def test_a_page_shows_the_blocks_that_explain_shows(advisor: Advisor, site: Path) -> None:
    page = (site / "zh-Hans/rules/dataloader-no-workers.html").read_text("utf-8")
    for block in advisor.rule_page("dataloader-no-workers", "zh-Hans"):
        assert block["title"] in page
    assert 'href="io-wait-bound.html"' in page, "a look-alike is a link to its rule"
    assert 'hreflang="zh-Hant" href="../../zh-Hant/rules/dataloader-no-workers.html"' in page


def test_every_relative_link_leads_to_a_file(site: Path, links: dict[Path, Links]) -> None:
    for file, found in links.items():
        for link in (*found.loaded, *found.followed):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            assert not link.startswith("/"), (file, link)
            target = Path(normpath(file.parent / unquote(parts.path))) if parts.path else file
            assert target in links or target.parent == site / "static", (file, link)
            assert not parts.fragment or parts.fragment in links[target].ids, (file, link)


def test_nothing_foreign_is_loaded_and_nothing_is_inline(site: Path, links: dict[Path, Links]) -> None:
    for file, found in links.items():
        assert not [link for link in found.loaded if urlsplit(link).scheme or link.startswith("/")], file
        text = file.read_text("utf-8")
        assert not re.search(r"<style|<script(?! src=)| style=| on[a-z]+=\"", text), file
    for file in (site / "static").iterdir():
        assert not re.search(r"(url|import|fetch)\s*\(?\s*[\"']?(https?:)?//", file.read_text("utf-8")), file


def test_the_command_says_where_and_writes_the_same_bytes(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["rules", "--pages", str(tmp_path)])  # an empty folder is as good as none
    assert done.value.code == 0
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"
    assert contents(tmp_path) == contents(site)


def test_pages_written_before_are_replaced(advisor: Advisor, site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    shutil.copy(folder / "en/rules/wrong-device.html", folder / "en/rules/a-rule-of-the-past.html")
    (folder / "en/rules/mine.html").write_text("written by hand")
    (folder / "CNAME").write_text("advisor.example")
    (folder / "index.html").write_text((folder / "index.html").read_text("utf-8").replace("Rules", "Old"), "utf-8")

    advisor.write_pages(folder)

    kept = contents(folder)
    assert kept.pop("CNAME") == b"advisor.example"
    assert kept.pop("en/rules/mine.html") == b"written by hand"
    assert kept == contents(site)


def test_a_folder_with_other_files_is_refused(advisor: Advisor, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>mine</title>")
    with pytest.raises(InputError, match="holds other files"):
        advisor.write_pages(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        advisor.write_pages(tmp_path / "index.html")
    with pytest.raises(InputError, match="cannot be written"):
        advisor.write_pages(tmp_path / "index.html" / "below")
    assert contents(tmp_path) == {"index.html": b"<title>mine</title>"}


def test_every_group_of_topics_has_a_name(advisor: Advisor) -> None:
    groups = {topic.group for topic in advisor.knowledge.topics.values() if topic.in_scope}
    assert {f"group.{group}" for group in groups} <= set(strings("en"))


# --- in a browser, from the disk ------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test on a console error or a request beyond the disk."""
    noise: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(10_000)
    page.on("console", lambda m: noise.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: noise.append(str(e)))
    page.on("request", lambda r: noise.append(r.url) if not r.url.startswith("file://") else None)
    yield page
    page.close()
    assert noise == []


def shown(page: Page) -> int:
    return page.locator(".rule:visible").count()


def test_filter_and_follow_in_english(page: Page, site: Path, advisor: Advisor) -> None:
    page.goto((site / "index.html").as_uri())
    everything = len(advisor.knowledge.rules)
    assert shown(page) == everything
    page.keyboard.press("/")
    page.keyboard.type("loader")
    expect(page.get_by_role("status")).to_have_text(re.compile(rf"^\d+ of {everything} rules · \d+ of \d+ questions$"))
    assert 0 < shown(page) < everything / 4
    expect(page.locator(".group:visible h2").first).to_have_text("Data loading")  # what fits best comes first
    assert page.url.endswith("?q=loader")
    page.keyboard.press("Enter")  # to the first result
    page.get_by_role("link", name="Data loading runs in the training process").press("Enter")
    expect(page.locator(".headline h2")).to_have_text("Data loading runs in the training process")
    page.get_by_role("link", name="then it is: Training waits for storage").click()
    expect(page.locator(".headline h2")).to_have_text("Training waits for storage")
    page.go_back()
    page.go_back()
    expect(page.locator("#filter input")).to_have_value("loader")
    assert 0 < shown(page) < everything / 4


def test_filter_in_chinese_and_change_the_language(page: Page, site: Path, advisor: Advisor) -> None:
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="简体中文").click()
    page.locator("#filter input").fill("显存")
    expect(page.get_by_role("status")).to_contain_text("条规则")
    assert 0 < shown(page) < len(advisor.knowledge.rules) / 2
    page.get_by_role("link", name="显存已到上限").click()
    page.get_by_role("link", name="繁體中文").click()
    assert page.locator("html").get_attribute("lang") == "zh-Hant"
    assert page.url.endswith("zh-Hant/rules/gpu-oom-risk.html")
    page.locator(".crumbs a").first.click()
    expect(page.locator(".rule").first).to_be_visible()


def test_without_javascript_everything_is_there_but_the_filter(browser: Browser, site: Path, advisor: Advisor) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "zh-Hans" / "index.html").as_uri())
    expect(page.locator("#filter")).to_be_hidden()
    assert shown(page) == len(advisor.knowledge.rules)
    expect(page.locator(".what details p").first).to_be_visible()
    context.close()


@pytest.mark.parametrize("name", ["index.html?q=memory", "zh-Hans/rules/dataloader-no-workers.html"])
def test_no_width_breaks_it(page: Page, site: Path, name: str) -> None:
    page.goto(f"{site.as_uri()}/{name}")
    for width in (320, 390, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("name", ["index.html?q=loader", "zh-Hans/rules/dataloader-no-workers.html"])
def test_axe_finds_nothing(page: Page, site: Path, name: str) -> None:
    page.goto(f"{site.as_uri()}/{name}")
    page.evaluate(AXE.read_text("utf-8"))
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        # No preload: what is read from a disk may not be requested again by a script.
        found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
        assert [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found["violations"]] == [], scheme

"""The pages: the chat, the rules, and errors for people who browse.

The chat page answers in three ways with one markup: ``GET /?q=`` and ``POST /`` (a
plain form) give a whole page, and the same POST with ``Accept: text/event-stream``
gives the fragments one by one, which is what the page's script asks for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from advisor.answer import clean_question
from advisor.blocks import html
from advisor.blocks.catalogue import catalogue, rule_place
from advisor.blocks.strings import strings
from advisor.errors import InputError, NotFound
from advisor.models import Answer, Lang
from advisor.pipeline import MAX_HISTORY
from advisor.serve import events
from advisor.serve.language import COOKIE, chosen, known, page_lang
from advisor.serve.problems import problem
from advisor.serve.shown import Shown
from advisor.text import localise

if TYPE_CHECKING:
    from advisor.pipeline import Advisor

log = logging.getLogger("advisor.serve")
router = APIRouter(include_in_schema=False)

RUNS = 30
# The rules' templates are shared with the static site, where these differ.
_RULES = {"shell": "base.html", "static": "/static/", "index": "/rules"}


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a urlencoded form, each with its first value; raises `InputError`."""
    try:
        fields = parse_qs((await request.body()).decode(), errors="strict", max_num_fields=16)
    except ValueError:
        raise InputError("The form could not be read; send the fields question, lang and profile in UTF-8.") from None
    return {name: values[0] for name, values in fields.items()}


def _history(text: str) -> list[str]:
    """The earlier messages of the open conversation, which the page sends as a JSON list of texts."""
    try:
        messages = json.loads(text) if text else []
    except (ValueError, RecursionError):
        messages = None
    if not isinstance(messages, list) or not all(isinstance(message, str) for message in messages):
        raise InputError("The field history must be a JSON list of texts, oldest first; load the page anew.")
    return messages


@router.get("/", response_class=HTMLResponse)
def home(request: Request, q: str = "", profile: str = "") -> Response:
    """The chat page; with `?q=` the answer is already in it."""
    return _chat(request, q or None, profile, chosen(request))


@router.post("/", response_class=HTMLResponse)
def ask(request: Request, fields: Annotated[dict[str, str], Depends(form_fields)]) -> Response:
    """One question from the form, as a whole page or as a stream of fragments."""
    question, profile, lang = fields.get("question", ""), fields.get("profile", ""), known(fields.get("lang"))
    history = _history(fields.get("history", ""))
    if not events.wanted(request):
        return _chat(request, question, profile, lang or chosen(request), history)
    answer = _advisor(request).ask(clean_question(question), lang=lang, profile=profile or None, history=history)
    return events.stream(_events(request, answer))


@router.get("/runs", response_class=HTMLResponse)
def runs(request: Request, profile: str = "") -> Response:
    """The list in the sidebar, which the page asks for again while it is looked at."""
    lang = page_lang(request)
    context = {"runs": _runs(request, lang), "profile": profile}
    return HTMLResponse(html.page("runs.html", lang, context), headers={"cache-control": "no-store"})


@router.get("/strings/{lang}.json")
def words(lang: str) -> Response:
    """The page's words in one language, for switching without losing the conversation."""
    if (language := known(lang)) is None:
        raise NotFound("The page has no such language; it has en, zh-Hans and zh-Hant.")
    return JSONResponse(strings(language), headers={"cache-control": "no-cache"})


@router.get("/rules", response_class=HTMLResponse)
def rules(request: Request) -> Response:
    """Every rule by topic, with a box that filters them."""
    lang, knowledge = page_lang(request), _advisor(request).knowledge
    context = {"groups": catalogue(knowledge, lang), "total": len(knowledge.rules), "ask": "/"}
    return _html("rules.html", lang, _shell(request, lang) | _RULES | context)


@router.get("/rules/{rule_id}", response_class=HTMLResponse)
def rule(request: Request, rule_id: str) -> Response:
    """One rule: what it means, how it is told, what to do."""
    lang, advisor = page_lang(request), _advisor(request)
    fragments = list(html.fragments(advisor.rule_page(rule_id, lang), lang, {"same_tab": True}))
    place = rule_place(rule_id, advisor.knowledge, lang)
    context = {"fragments": fragments, "place": place, "title": place["entry"]["title"]}
    return _html("rule.html", lang, _shell(request, lang) | _RULES | context)


@router.get("/faq/{faq_id}", response_class=HTMLResponse)
def faq(request: Request, faq_id: str) -> Response:
    """One answered question, which answers cite."""
    lang, advisor = page_lang(request), _advisor(request)
    blocks = advisor.faq_page(faq_id, lang)
    fragments = list(html.fragments(blocks, lang, {"same_tab": True}))
    context = {"fragments": fragments, "place": None, "title": blocks[0]["title"]}
    return _html("rule.html", lang, _shell(request, lang) | _RULES | context)


def wants_page(request: Request) -> bool:
    """Whether an error should be a page: a browser navigates, and not to the API."""
    accepts = request.headers.get("accept", "")
    return "text/html" in accepts and not request.url.path.startswith("/api/")


def error_page(request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The chat page with the sentence where the answer would be."""
    lang = page_lang(request)
    context = _shell(request, lang) | {"problem": detail}
    return _html("chat.html", lang, context, status, headers)


def _chat(
    request: Request, question: str | None, profile: str, answer_lang: Lang | None, history: Sequence[str] = ()
) -> Response:
    lang = page_lang(request)
    context = _shell(request, lang, profile)
    if question is not None:
        asked = clean_question(question)
        answer = _advisor(request).ask(asked, lang=answer_lang, profile=profile or None, history=history)
        context |= {"question": question.strip(), "answer": answer, "fragments": _fragments(request, answer)}
        # Without JavaScript the form itself carries the conversation on.
        context |= {"history": json.dumps([*history, asked][-MAX_HISTORY:], ensure_ascii=False)}
    return _html("chat.html", lang, context)


def _events(request: Request, answer: Answer) -> Iterator[events.Event]:
    yield "meta", {"kind": answer.kind, "lang": answer.lang}
    try:
        for fragment in _fragments(request, answer):
            yield "block", {"html": fragment}
        yield "done", {"topics": [t.id for t in answer.topics], "rules": list(answer.rules)}
    except Exception:  # the status is sent already: all that is left is to say so in the stream
        log.exception("an answer could not be rendered")
        yield "error", problem(500, "The answer could not be shown; the service's log has the traceback.", "/")


def _fragments(request: Request, answer: Answer) -> Iterator[str]:
    shown: Shown = request.app.state.shown
    diagnosis = answer.diagnosis
    exports = shown.remember(diagnosis) if diagnosis else None
    profile = diagnosis.profile.id if diagnosis and exports == diagnosis.profile.id else ""
    running = any(run["id"] == profile and run["state"] == "running" for run in _advisor(request).profiles(RUNS))
    context = {"profile": profile, "exports": exports, "running": running}
    return html.fragments(_with_exports(answer, exports), answer.lang, context)


def _with_exports(answer: Answer, exports: str | None) -> Sequence[Mapping[str, Any]]:
    """The blocks, with the links to the report before what to ask next."""
    if not exports:
        return answer.blocks
    at = next((i for i, b in enumerate(answer.blocks) if b.get("kind") == "follow_ups"), len(answer.blocks))
    return [*answer.blocks[:at], {"kind": "exports"}, *answer.blocks[at:]]


def _shell(request: Request, lang: Lang, profile: str = "") -> dict[str, Any]:
    """What every page shows around its content."""
    runs = _runs(request, lang)
    subject = next((run["subject"] for run in runs if run["id"] == profile), profile)
    return {
        "runs": runs,
        "profile": profile,
        "subject": subject,
        "chosen": chosen(request) or "",
        "path": request.url.path if request.url.path.startswith(("/rules", "/faq")) else "/",
    }


def _html(
    template: str, lang: Lang, context: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    response = HTMLResponse(html.page(template, lang, context), status, dict(headers or {}))
    response.headers["vary"] = "Accept-Language, Cookie, Accept"
    response.headers["cache-control"] = "no-store"
    if context["chosen"]:
        response.set_cookie(COOKIE, context["chosen"], max_age=365 * 86400, samesite="lax")
    return response


def _runs(request: Request, lang: Lang) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [
        run | {"ago": _ago(run["started"], now, lang), "headline": _headline(run, lang)}
        for run in _advisor(request).profiles(RUNS)
    ]


def _headline(run: Mapping[str, Any], lang: Lang) -> str:
    texts = run["headline"]
    return localise(texts["en" if lang == "en" else "zh"], lang)


def _ago(started: str, now: datetime, lang: Lang) -> str:
    """``2 min ago``; the text itself where it is not a time."""
    try:
        then = datetime.fromisoformat(started)
    except ValueError:
        return started
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    minutes = max(0, int((now - then).total_seconds() // 60))
    t = strings(lang)
    if minutes < 1:
        return t["ago.now"]
    for key, size in (("ago.days", 1440), ("ago.hours", 60), ("ago.minutes", 1)):
        if minutes >= size:
            return t[key].replace("{n}", str(minutes // size))
    return started


def _advisor(request: Request) -> Advisor:
    advisor: Advisor = request.app.state.advisor
    return advisor

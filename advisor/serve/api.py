"""REST, version 1: thin routes over `Advisor`. Each is a plain function, so its work runs in a thread."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from advisor.answer import clean_question
from advisor.errors import NotFound
from advisor.models import Answer, Diagnosis, Lang
from advisor.serve import events
from advisor.serve.documents import rule_document, rule_entry, topic_entry
from advisor.serve.problems import documented, problem
from advisor.serve.schemas import (
    AnswerDocument,
    AskRequest,
    CompareRequest,
    ComparisonDocument,
    DiagnosisDocument,
    Health,
    ProfileEntry,
    RuleDocument,
    RuleEntry,
    TopicEntry,
)
from advisor.serve.security import REPORT_POLICY

if TYPE_CHECKING:
    from advisor.pipeline import Advisor

log = logging.getLogger("advisor.serve")
router = APIRouter(prefix="/api/v1")
health = APIRouter(tags=["service"])

_EVENTS = {
    "description": "The answer; or, with `Accept: text/event-stream`, the events meta, block (one per block), "
    "done (the answer without its blocks) and error (a problem)",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_DIAGNOSIS_BODY = {
    "requestBody": {
        "required": True,
        "description": "A profile or a diagnosis, schema 1",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
_COMPARE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": CompareRequest.model_json_schema()}},
    }
}
ReportFormat = Literal["md", "html", "json"]
_MEDIA: dict[ReportFormat, str] = {"md": "text/markdown", "html": "text/html", "json": "application/json"}


async def raw_body(request: Request) -> bytes:
    """The body, already within its limit; parsing it is left to the thread that works on it."""
    return await request.body()


@router.post(
    "/ask",
    tags=["ask"],
    operation_id="ask",
    response_model=AnswerDocument,
    responses=documented(400, 403, 404, 413, 415, 422) | {200: _EVENTS},
)
def ask(request: Request, body: AskRequest) -> Response:
    """Ask one question; the answer is in the question's language unless `lang` says otherwise."""
    advisor = _advisor(request)
    question = clean_question(body.question)
    answer = advisor.ask(question, lang=body.lang, profile=body.profile, history=body.history)
    if events.wanted(request):
        return events.stream(_events(advisor, answer))
    return JSONResponse(advisor.answer_document(answer))


@router.post(
    "/diagnose",
    tags=["diagnoses"],
    operation_id="diagnose",
    response_model=DiagnosisDocument,
    responses=documented(400, 403, 413, 415, 422),
    openapi_extra=_DIAGNOSIS_BODY,
)
def diagnose(request: Request, body: Annotated[bytes, Depends(raw_body)]) -> Response:
    """Diagnose a profile, or a diagnosis anew from its facts, and store it; `Location` says where."""
    advisor = _advisor(request)
    diagnosis = advisor.diagnose(_parse(body))
    stored = advisor.save(diagnosis)
    location = {"location": f"/api/v1/diagnoses/{stored}"}
    return JSONResponse(advisor.diagnosis_document(diagnosis), headers=location)


@router.post(
    "/compare",
    tags=["diagnoses"],
    operation_id="compare",
    response_model=ComparisonDocument,
    responses=documented(400, 403, 404, 413, 415, 422),
    openapi_extra=_COMPARE_BODY,
)
def compare(request: Request, body: Annotated[bytes, Depends(raw_body)]) -> Response:
    """Compare two runs, stored or sent along: did the fix work? Nothing is stored."""
    advisor = _advisor(request)
    try:
        asked = CompareRequest.model_validate(_parse(body))
    except ValidationError as error:
        raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from None
    runs = [
        _diagnosis(request, run) if isinstance(run, str) else advisor.diagnose(run)
        for run in (asked.before, asked.after)
    ]
    return JSONResponse(advisor.comparison_document(advisor.compare(runs[0], runs[1])))


@router.get("/profiles", tags=["diagnoses"], operation_id="profiles", responses=documented(422))
def profiles(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[ProfileEntry]:
    """Stored profiles, newest first."""
    return [ProfileEntry(**entry) for entry in _advisor(request).profiles(limit)]


@router.get("/profiles/{id}", tags=["diagnoses"], operation_id="profile", responses=documented(404))
def profile(request: Request, id: str) -> dict[str, Any]:  # noqa: A002 - the name of the path parameter
    """One stored profile: its subject, sources and facts."""
    advisor = _advisor(request)
    found: dict[str, Any] = advisor.diagnosis_document(advisor.stored(id))["profile"]
    return found


def _report_route(format: ReportFormat) -> None:  # noqa: A002 - the word of the interface
    """Register ``/diagnoses/{id}.<format>``: one address and one media type per format."""

    def report(request: Request, id: str, lang: Lang = "en") -> Response:  # noqa: A002
        text = _advisor(request).report(_diagnosis(request, id), format, lang)
        headers = {"content-disposition": f'attachment; filename="advisor-report.{format}"'}
        if format == "html":
            headers = {"content-security-policy": REPORT_POLICY}
        return Response(text, headers=headers, media_type=_MEDIA[format])

    router.get(
        f"/diagnoses/{{id}}.{format}",
        tags=["diagnoses"],
        operation_id=f"report_{format}",
        summary=f"The report on a diagnosis as {format}",
        response_class=Response,
        responses=documented(404, 422) | {200: {"content": {_MEDIA[format]: {"schema": {}}}}},
    )(report)


for _format in _MEDIA:
    _report_route(_format)


@router.get(
    "/diagnoses/{id}",
    tags=["diagnoses"],
    operation_id="diagnosis",
    response_model=DiagnosisDocument,
    responses=documented(404),
)
def diagnosis(request: Request, id: str) -> Response:  # noqa: A002
    """One diagnosis; with the suffix .md, .html or .json, a report on it."""
    return JSONResponse(_advisor(request).diagnosis_document(_diagnosis(request, id)))


@router.get("/rules", tags=["knowledge"], operation_id="rules")
def rules(request: Request) -> list[RuleEntry]:
    """Every rule of the knowledge base."""
    return [RuleEntry(**rule_entry(rule)) for rule in _advisor(request).knowledge.rules.values()]


@router.get("/rules/{id}", tags=["knowledge"], operation_id="rule", responses=documented(404))
def rule(request: Request, id: str) -> RuleDocument:  # noqa: A002
    """One rule with its conditions, remedies and references."""
    knowledge = _advisor(request).knowledge
    if (found := knowledge.rules.get(id)) is None:
        raise NotFound("There is no rule with this id; GET /api/v1/rules lists them.")
    return RuleDocument(**rule_document(found, knowledge))


@router.get("/topics", tags=["knowledge"], operation_id="topics")
def topics(request: Request) -> list[TopicEntry]:
    """What users complain about."""
    return [TopicEntry(**topic_entry(topic)) for topic in _advisor(request).knowledge.topics.values()]


@health.get("/livez", operation_id="livez", response_model_exclude_none=True)
def livez() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@health.get("/readyz", operation_id="readyz")
def readyz(request: Request) -> Health:
    """Whether questions can be answered: the knowledge base is loaded."""
    knowledge = _advisor(request).knowledge
    return Health(status="ok", knowledge=knowledge.version, rules=len(knowledge.rules))


def _events(advisor: Advisor, answer: Answer) -> Iterator[events.Event]:
    yield "meta", {"kind": answer.kind, "lang": answer.lang}
    try:
        document = advisor.answer_document(answer)
        for block in document.pop("blocks"):
            yield "block", block
        yield "done", document
    except Exception:  # the status is sent already: all that is left is to say so in the stream
        log.exception("an answer could not be sent")
        yield "error", problem(500, "The answer could not be sent; the service's log has the traceback.", "/api/v1/ask")


def _parse(body: bytes) -> object:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not valid JSON; send a profile or a diagnosis in UTF-8.") from None
    return document


def _diagnosis(request: Request, key: str) -> Diagnosis:
    found: Diagnosis = request.app.state.shown.find(key)
    return found


def _advisor(request: Request) -> Advisor:
    advisor: Advisor = request.app.state.advisor
    return advisor

"""Diagnosis and profile documents (schema 1) -> Profile.

A Diagnosis is read for its facts only: the verdict is made anew with the rules at hand.
A tool may send a bare profile, with facts as plain numbers in their canonical unit:
``{"facts": {"ml.step.time": 0.31, "config.dataloader.num_workers": 0}}``.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advisor.errors import InputError
from advisor.models import Contradiction, Fact, Profile, Series, Source, SourceState, Value
from advisor.readers.artefact import Artefact

MAX_BYTES = 64 * 1024 * 1024
MAX_MEMBERS = 10_000
SCHEMA = 1
_UNSTATED = "stated in the document"


class _Document(BaseModel):
    """Unknown keys are ignored, so that a newer advisor's documents stay readable; types are strict."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Fact(_Document):
    value: bool | float | int | str
    unit: str | None = None
    origin: str = _UNSTATED
    where: str | None = None


class _Source(_Document):
    kind: str
    origin: str
    state: SourceState
    note: str = ""


class _Series(_Document):
    t: list[float]
    v: list[float]


class _Contradiction(_Document):
    fact: str
    kept: _Fact
    other: _Fact


class _Profile(_Document):
    facts: dict[str, _Fact | bool | float | int | str]
    id: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9_-]*$")
    subject: str = Field(default="profile", max_length=2000)
    started: str = Field(default="", max_length=64)
    duration_s: Annotated[float | int, Field(allow_inf_nan=False, ge=0, le=1e15)] = 0.0
    sources: list[_Source] = []
    series: dict[str, _Series] = {}
    members: Annotated[list[_Profile], Field(max_length=MAX_MEMBERS)] = []
    contradictions: list[_Contradiction] = []


def read_json(artefact: Artefact) -> object:
    """The JSON value in an artefact.

    Raises:
        InputError: when it cannot be read, is too large or is not JSON.
    """
    try:
        return json.loads(artefact.read(MAX_BYTES))
    except (ValueError, RecursionError) as error:  # no text, no JSON, or a number of thousands of digits
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        if type(error) is ValueError:
            where = "a number has thousands of digits"
        raise InputError(
            f"{artefact.origin} is not JSON ({where}); give a profile or a diagnosis saved by advisor"
        ) from None


def read_document(data: object) -> Profile:
    """The profile in a Diagnosis or profile document; units and ranges are checked later, by `profile.restore`.

    Raises:
        InputError: when `data` is neither; the message names the first thing that is wrong.
    """
    if not isinstance(data, dict):
        raise InputError(f"a profile is a JSON object, not {_kind(data)}; see the Diagnosis document of advisor")
    schema = data.get("schema", SCHEMA)
    if schema != SCHEMA:
        shown = str(schema)[:40]
        raise InputError(f"schema {shown!r} is unknown here, this version reads schema {SCHEMA}; update advisor")
    inner = data.get("profile", data)
    try:
        return _profile(_Profile.model_validate(inner))
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(p) for p in first["loc"]) or "the document"
    return f"the profile cannot be used: {where}: {first['msg'].lower()}; correct it and send it again"


def _kind(data: object) -> str:
    return {list: "a list", str: "text", type(None): "null"}.get(type(data), "a plain value")


def _profile(p: _Profile) -> Profile:
    facts = {name: _fact(name, value) for name, value in p.facts.items()}
    return Profile(
        id=p.id,
        subject=p.subject,
        started=p.started,
        duration_s=float(p.duration_s),
        sources=tuple(Source(s.kind, s.origin, s.state, s.note) for s in p.sources),
        facts=facts,
        series={n: _drawable(s) for n, s in p.series.items()},
        members=tuple(_profile(m) for m in p.members),
        contradictions=tuple(Contradiction(_fact(c.fact, c.kept), _fact(c.fact, c.other)) for c in p.contradictions),
    )


def _fact(name: str, value: Any) -> Fact:
    if isinstance(value, _Fact):
        return Fact(name, _number(value.value), value.unit or "", value.origin, value.where)
    return Fact(name, _number(value), "", _UNSTATED)


def _number(value: Value) -> Value:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf  # which no fact may be


def _drawable(series: _Series) -> Series:
    """The points that have a place on a picture."""
    points = [(t, v) for t, v in zip(series.t, series.v, strict=False) if math.isfinite(t) and math.isfinite(v)]
    return Series(tuple(t for t, _ in points), tuple(v for _, v in points))

"""What is refused before a route sees it, and the headers that every response carries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from standin import StandIn
from starlette.testclient import TestClient

from advisor.serve import create_app
from advisor.serve.security import PAGE_POLICY

ASK = "/api/v1/ask"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(StandIn()), base_url="http://127.0.0.1:8321") as client:  # type: ignore[arg-type]
        yield client


@pytest.mark.parametrize("path", ["/", "/livez", "/static/app.js", "/nothing", "/openapi.json"])
def test_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == PAGE_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8321", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8321", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example:8321", 400),
        ("192.168.1.7", 400),
        ("", 400),
    ],
)
def test_host(client: TestClient, host: str, status: int) -> None:
    response = client.get("/livez", headers={"host": host})
    assert response.status_code == status
    if status == 400:
        assert response.headers["content-type"] == "application/problem+json"


def test_a_wildcard_lets_addresses_in_but_no_names() -> None:
    app = create_app(StandIn(), hosts=("127.0.0.1", "0.0.0.0"))  # type: ignore[arg-type]
    with TestClient(app, base_url="http://192.168.1.7:8321") as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/livez", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:8321"}, 200),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_posts_from_other_sites(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post(ASK, json={"question": "why"}, headers=headers).status_code == status


def test_a_declared_length_is_refused_before_reading(client: TestClient) -> None:
    headers = {"content-length": "104857600", "content-type": "application/json"}
    response = client.post(ASK, content=b"{}", headers=headers)
    assert response.status_code == 413
    assert response.json()["detail"].startswith("The body is over the limit of 4 MB")


@pytest.mark.parametrize(("path", "megabytes"), [(ASK, 4), ("/", 4)])
def test_a_body_without_a_length_is_counted(client: TestClient, path: str, megabytes: int) -> None:
    media = "application/json" if path == ASK else "application/x-www-form-urlencoded"
    chunks = (b"x" * 65536 for _ in range(megabytes * 16 + 1))
    response = client.post(path, content=chunks, headers={"content-type": media})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_diagnose_takes_more(client: TestClient) -> None:
    body = b'{"schema": 1, "profile": {"id": "big", "subject": "' + b"x" * (3 * 2**20) + b'"}}'
    assert (
        client.post("/api/v1/diagnose", content=body, headers={"content-type": "application/json"}).status_code == 200
    )

"""The store: documents survive, the latest is first, two openers do not collide."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from advisor.errors import AdvisorError
from advisor.store import Entry, SqliteStore, data_folder, sqlite


def entry(name: str, state: str = "done") -> Entry:
    return Entry(name, "python train.py", "2026-01-01T00:00:00Z", 1.5, "healthy", "ok", "正常", state)  # type: ignore[arg-type]


def test_what_was_saved_comes_back_and_the_latest_is_first(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "advisor.db")

    store.save(entry("a", "running"), '{"n": 1}')
    store.save(entry("b"), '{"n": 2}')
    store.save(entry("a"), '{"n": 3}')

    assert [(e.id, e.state) for e in store.entries(10)] == [("a", "done"), ("b", "done")]
    assert store.document("a") == '{"n": 3}'
    assert store.document("nothing") is None
    assert [e.id for e in SqliteStore(tmp_path / "advisor.db").entries(1)] == ["a"]


def test_a_row_says_when_it_was_saved(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "advisor.db")
    before = time.time()

    store.save(entry("a", "running"), "{}")

    assert before <= store.entries(1)[0].updated <= time.time()


def test_a_store_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MIGRATIONS", sqlite.MIGRATIONS[:2])
    SqliteStore(tmp_path / "advisor.db")
    with closing(sqlite3.connect(tmp_path / "advisor.db")) as db, db:
        db.execute("INSERT INTO diagnosis VALUES ('old','s','t',1.0,'healthy','','','done','{}',1)")
    monkeypatch.undo()

    store = SqliteStore(tmp_path / "advisor.db")
    store.save(entry("new"), "{}")

    assert [(e.id, e.updated > 0) for e in store.entries(9)] == [("new", True), ("old", False)]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        store = SqliteStore(tmp_path / "advisor.db")
        for i in range(10):
            store.save(entry(f"{number}-{i}"), "{}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert len(SqliteStore(tmp_path / "advisor.db").entries(100)) == 40


def test_a_folder_that_cannot_be_used_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(AdvisorError, match="ADVISOR_DATA"):
        SqliteStore(tmp_path / "file" / "advisor.db")


def test_a_file_that_is_no_database_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "advisor.db").write_bytes(b"not a database at all, but long enough to be read as one" * 20)

    with pytest.raises(AdvisorError, match="cannot be used"):
        SqliteStore(tmp_path / "advisor.db")


def test_rows_are_typed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "advisor.db")

    with pytest.raises(AdvisorError, match="cannot store TEXT"):
        store.save(Entry("a", "s", "t", "long", "healthy", "", "", "done"), "{}")  # type: ignore[arg-type]


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADVISOR_DATA", str(tmp_path / "mine"))
    assert data_folder() == tmp_path / "mine"

    monkeypatch.delenv("ADVISOR_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "advisor"

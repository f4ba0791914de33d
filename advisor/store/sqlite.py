"""Diagnosis documents in one SQLite file.

The store keeps documents as text and knows only what a list of runs shows; it never
interprets a document. Each call opens its own connection: threads and processes (a
running `advisor run` and the server) share the file through WAL, and a crash leaves
whole rows only.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from advisor.errors import AdvisorError

PATIENCE_S = 5.0  # how long to wait for other processes
MIGRATIONS = (
    """CREATE TABLE diagnosis (
        id TEXT PRIMARY KEY,
        subject TEXT NOT NULL,
        started TEXT NOT NULL,
        duration_s REAL NOT NULL,
        verdict TEXT NOT NULL,
        headline_en TEXT NOT NULL,
        headline_zh TEXT NOT NULL,
        state TEXT NOT NULL,
        document TEXT NOT NULL,
        changed INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX diagnosis_changed ON diagnosis (changed DESC)",
    "ALTER TABLE diagnosis ADD COLUMN updated REAL NOT NULL DEFAULT 0",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored diagnosis as a list of runs shows it; `updated` is when it was saved, in seconds since 1970."""

    id: str
    subject: str
    started: str
    duration_s: float
    verdict: str
    headline_en: str
    headline_zh: str
    state: Literal["running", "done"]
    updated: float = 0.0


def data_folder() -> Path:
    """Where advisor keeps its data: ``ADVISOR_DATA``, else the user's data directory (XDG)."""
    chosen = os.environ.get("ADVISOR_DATA")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "advisor"


class SqliteStore:
    """Diagnoses by id, newest change first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self._connection() as db:
            self._migrate(db)

    def save(self, entry: Entry, document: str) -> None:
        """Insert or replace one diagnosis; it becomes the latest."""
        with self._connection() as db:
            db.execute(
                "INSERT OR REPLACE INTO diagnosis VALUES (?,?,?,?,?,?,?,?,?,"
                "(SELECT COALESCE(MAX(changed), 0) + 1 FROM diagnosis),?)",
                (
                    entry.id,
                    entry.subject,
                    entry.started,
                    entry.duration_s,
                    entry.verdict,
                    entry.headline_en,
                    entry.headline_zh,
                    entry.state,
                    document,
                    time.time(),
                ),
            )

    def entries(self, limit: int) -> list[Entry]:
        """The latest diagnoses, newest change first."""
        columns = "id, subject, started, duration_s, verdict, headline_en, headline_zh, state, updated"
        with self._connection() as db:
            rows = db.execute(f"SELECT {columns} FROM diagnosis ORDER BY changed DESC LIMIT ?", (limit,)).fetchall()
        return [Entry(*row) for row in rows]

    def document(self, entry_id: str) -> str | None:
        """The stored document, or None."""
        with self._connection() as db:
            row = db.execute("SELECT document FROM diagnosis WHERE id = ?", (entry_id,)).fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE_S)) as db, db:
                yield db
        except sqlite3.Error as error:  # no file, no database, disk full, locked for too long
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> AdvisorError:
        return AdvisorError(
            f"the store {self.path} cannot be used ({error}); set ADVISOR_DATA to a folder that can be written"
        )

    @staticmethod
    def _migrate(db: sqlite3.Connection) -> None:
        _write_ahead(db)
        db.execute("BEGIN IMMEDIATE")  # two processes may open a new store at the same moment
        done = db.execute("PRAGMA user_version").fetchone()[0]
        for number, statement in enumerate(MIGRATIONS[done:], start=done + 1):
            db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. SQLite does not wait for its turn here when another process opens the store."""
    deadline = time.monotonic() + PATIENCE_S
    while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)

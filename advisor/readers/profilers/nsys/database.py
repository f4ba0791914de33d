"""An SQLite file that nobody vouches for, opened so that it can only be read, in bounded time and memory.

Only plain tables are read: views, virtual and temporary tables and triggers could run anything their
author wrote. The file is opened as immutable, so that a journal that was left beside it is not replayed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from advisor.errors import InputError, TooLarge
from advisor.readers.profilers.timeline import Ints

SECONDS = 120.0
MAX_ROWS = 8_000_000  # of one table; a step of a large model launches some ten thousand kernels
MAX_TEXT = 2048
MAX_VALUE = 64 << 20  # exports hold the output of the profiled program in one value
CHUNK = 1 << 14
# What SELECT needs; everything else (ATTACH, PRAGMA, functions that load code) is refused.
_ALLOWED = {
    getattr(sqlite3, name)
    for name in ("SQLITE_SELECT", "SQLITE_READ", "SQLITE_FUNCTION", "SQLITE_RECURSIVE")
    if hasattr(sqlite3, name)
}
_FUNCTIONS = {"substr", "like", "coalesce", "typeof"}


class Database:
    """Tables of one file; names and columns that are asked for need not exist."""

    def __init__(self, connection: sqlite3.Connection, origin: str) -> None:
        self._connection, self.origin = connection, origin
        self.tables: Mapping[str, tuple[str, ...]] = self._schema()

    def _schema(self) -> dict[str, tuple[str, ...]]:
        plain = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 LIMIT 2000"
        names = [name for (name,) in self._connection.execute(plain).fetchall() if isinstance(name, str)]
        found = {}
        for name in names:
            cursor = self._connection.execute(f"SELECT * FROM {_quoted(name)} LIMIT 0")
            found[name] = tuple(column[0] for column in cursor.description)
        return found

    def has(self, table: str, *columns: str) -> bool:
        """Whether the table has all of the columns."""
        return table in self.tables and set(columns) <= set(self.tables[table])

    def numbers(self, table: str, columns: Sequence[str], where: str = "") -> dict[str, Ints]:
        """Columns of whole numbers; those that the table does not have are left out, NULL is -1.

        Raises:
            TooLarge: when there are more than `MAX_ROWS` rows.
        """
        there = [column for column in columns if self.has(table, column)]
        parts: list[Any] = [np.empty((0, len(there)), dtype=np.int64)]
        chosen = ", ".join(f"COALESCE(CAST({_quoted(c)} AS INTEGER), -1)" for c in there)
        count = 0
        for chunk in self._chunks(f"SELECT {chosen} FROM {_quoted(table)} {where} LIMIT {MAX_ROWS + 1}"):
            count += len(chunk)
            if count > MAX_ROWS:
                raise TooLarge(
                    f"{self.origin} has more than {MAX_ROWS:,} rows in {table}; "
                    "profile fewer steps, for example with `nsys profile --delay 60 --duration 10`"
                )
            flat = np.fromiter(chain.from_iterable(chunk), np.int64, len(chunk) * len(there))
            parts.append(flat.reshape(len(chunk), len(there)))
        whole = np.concatenate(parts)
        return {column: np.ascontiguousarray(whole[:, at]) for at, column in enumerate(there)}

    def rows(self, table: str, columns: Sequence[str], where: str = "", limit: int = 1000) -> list[tuple[Any, ...]]:
        """Some rows as they are, long texts cut off; none when the table lacks a column."""
        if not self.has(table, *columns):
            return []
        chosen = ", ".join(
            f"CASE WHEN typeof({q}) IN ('text', 'blob') THEN substr({q}, 1, {MAX_TEXT}) ELSE {q} END"
            for q in map(_quoted, columns)
        )
        sql = f"SELECT {chosen} FROM {_quoted(table)} {where} LIMIT {int(limit)}"
        return [row for chunk in self._chunks(sql) for row in chunk]

    def _chunks(self, sql: str) -> Iterator[list[tuple[Any, ...]]]:
        cursor = self._connection.execute(sql)
        while chunk := cursor.fetchmany(CHUNK):
            yield chunk


@contextmanager
def opened(path: Path, origin: str, seconds: float = SECONDS) -> Iterator[Database]:
    """The database at `path`.

    Raises:
        InputError: when it is damaged, hostile, or takes longer than `seconds`, also while it is read.
    """
    deadline = time.monotonic() + seconds
    if _cut(path):
        raise InputError(f"{origin} is an SQLite file that is cut off; copy it again, whole")
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA mmap_size = 0")
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
            connection.set_authorizer(_authorise)
            connection.set_progress_handler(_late(deadline), 10_000)
            yield Database(connection, origin)
    except (sqlite3.Error, OverflowError, ValueError) as error:
        raise InputError(_sentence(origin, error, time.monotonic() > deadline)) from None


def _cut(path: Path) -> bool:
    """Whether the file is shorter than its header says: SQLite would take what is missing for zeros.

    The header has the page size at 16 and the number of pages at 28, which holds when the numbers at 24 and
    92 agree (https://www.sqlite.org/fileformat2.html, 1.3).
    """
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100:
        return True
    page = int.from_bytes(head[16:18], "big")
    size = (1 << 16 if page == 1 else page) * int.from_bytes(head[28:32], "big")
    return head[24:28] == head[92:96] and size > path.stat().st_size


def _sentence(origin: str, error: Exception, late: bool) -> str:
    if late:
        return f"{origin} takes too long to read; profile fewer steps and export it again"
    return f"{origin} is an SQLite file that is damaged or cut off ({error}); export it again"


def _late(deadline: float) -> Callable[[], int]:
    return lambda: int(time.monotonic() > deadline)


def _authorise(action: int, _: str | None, second: str | None, __: str | None, trigger: str | None) -> int:
    if trigger is not None or action not in _ALLOWED:  # `trigger` names the view or trigger that asks
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

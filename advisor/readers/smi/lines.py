"""Lines of a block inside a text, without what logs, launchers and chats put before them."""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLOCK = re.compile(r"\\?\d{4}\\?[-/]\d\d\\?[-/]\d\d|\d\d:\d\d:\d\d(?:\\?[.,]\d{1,9})?")
_WIDEST = 120  # characters that anything puts before a line


class Lines:
    """The lines from the one at `at` on: position and text after what stands before the block's first line.

    Lines of other writers, which have something else there, are left out: ranks and hosts that
    print into one file take turns.

    Args:
        text: all of it.
        at: a place in the first line, where the block's own text begins.
    """

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.start = text.rfind("\n", 0, at) + 1
        before = text[self.start : at]
        self.prefix = "" if not before.strip() or len(before) > _WIDEST else before.rstrip(" \t")
        self._same = re.compile(_pattern(self.prefix)) if self.prefix else None

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self.since(self.start)

    def since(self, start: int) -> Iterator[tuple[int, str]]:
        """The lines from the one that begins at `start` on."""
        while 0 <= start < len(self._text):
            end = self._text.find("\n", start)
            end = len(self._text) if end < 0 else end
            line = self._text[start:end]
            if self._same is None:
                yield start, line
            elif match := self._same.match(line):
                yield start, line[match.end() :]
            start = end + 1


def _pattern(prefix: str) -> str:
    """A pattern of what is put before every line: the same words, at any time of day."""
    parts: list[str] = []
    place = 0
    for match in _CLOCK.finditer(prefix):
        parts += [re.escape(prefix[place : match.start()]), re.sub(r"\d", "0", match[0])]
        place = match.end()
    parts.append(re.escape(prefix[place:]))
    fixed = [part if i % 2 == 0 else re.escape(part).replace("0", r"\d") for i, part in enumerate(parts)]
    return r"[ \t]?".join(("", "".join(fixed)))

"""Names of people and places taken out of a text before it leaves the machine, and put back afterwards."""

from __future__ import annotations

import re

# What is secret, or says where and who; the first that fits a place names it.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "secret",
        re.compile(
            r"(?i)\b(?:sk|hf|ghp|gho|glpat|xox[abp])[-_][a-z0-9_-]{8,}"
            r"|\bAKIA[0-9A-Z]{12,}"
            r"|\beyJ[a-zA-Z0-9_-]{10,}\.[a-zA-Z0-9_.-]{10,}"
            r"|(?<=bearer )[^\s\"'`]{8,}"
            r"|(?<=password=)[^\s\"'`&]+|(?<=passwd=)[^\s\"'`&]+|(?<=token=)[^\s\"'`&]+|(?<=secret=)[^\s\"'`&]+"
            r"|(?<=api_key=)[^\s\"'`&]+|(?<=apikey=)[^\s\"'`&]+"
        ),
    ),
    ("mail", re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")),
    ("address", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?!\w|\.\d)")),
    (
        "host",
        re.compile(
            r"(?<=://)[^/\s`)\"']+|\b[a-z][\w-]{0,62}(?:\.[\w-]{1,63}){0,4}\.(?:local|internal|corp|lan|intra)\b"
        ),
    ),
    ("path", re.compile(r"(?<![\w:/])~?(?:/[\w.@+-]{1,255}){2,}/?|\b[A-Za-z]:\\[^\s`\"']+")),
    ("user", re.compile(r"(?i)(?<=\buser )[a-z_][\w-]{1,31}\b|(?<=\buser=)[\w-]{1,32}")),
)
_MARK = re.compile(r"<<[a-z]+-\d+>>")


class Redacted:
    """A text without names, and what each mark in it stands for.

    >>> hidden = Redacted("read /home/ann/train.py on 10.0.0.7")
    >>> hidden.text
    'read <<path-1>> on <<address-1>>'
    >>> hidden.restore(hidden.text)
    'read /home/ann/train.py on 10.0.0.7'
    """

    def __init__(self, text: str, public: frozenset[str] = frozenset()) -> None:
        """`public` are the parts that stay as they are, such as the hosts of cited pages."""
        self._names: dict[str, str] = {}
        self._public = public
        for kind, pattern in _KINDS:
            text = pattern.sub(lambda found, kind=kind: self._mark(kind, found[0]), text)  # type: ignore[misc]
        self.text = text

    def _mark(self, kind: str, name: str) -> str:
        if name in self._public or _MARK.search(name):
            return name
        known = next((mark for mark, value in self._names.items() if value == name), None)
        number = 1 + sum(mark.startswith(f"<<{kind}-") for mark in self._names)
        mark = known or f"<<{kind}-{number}>>"
        self._names[mark] = name
        return mark

    @property
    def marks(self) -> tuple[str, ...]:
        """The marks that stand for names."""
        return tuple(self._names)

    def restore(self, text: str) -> str:
        """The text with its names back."""
        return _MARK.sub(lambda found: self._names.get(found[0], found[0]), text)

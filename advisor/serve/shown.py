"""Diagnoses that an answer showed, so that its export links work even when the diagnosis was never stored.

A question can bring facts of its own; the diagnosis made from it is then not the
stored one, and storing every question's diagnosis would fill the list of runs. The
last of them are kept in memory under a hash of their content; a stored diagnosis
keeps its own id.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from advisor.errors import NotFound
from advisor.models import Diagnosis

if TYPE_CHECKING:
    from advisor.pipeline import Advisor

KEPT = 64


class Shown:
    """The last `KEPT` diagnoses that were shown and are not stored."""

    def __init__(self, advisor: Advisor) -> None:
        self._advisor = advisor
        self._recent: OrderedDict[str, Diagnosis] = OrderedDict()
        self._lock = Lock()

    def remember(self, diagnosis: Diagnosis) -> str:
        """An id under which `find` gives the diagnosis back."""
        try:
            if self._advisor.stored(diagnosis.profile.id).profile == diagnosis.profile:
                return diagnosis.profile.id
        except NotFound:
            pass
        document = self._advisor.diagnosis_document(diagnosis)
        key = "shown-" + hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
        with self._lock:
            self._recent[key] = diagnosis
            self._recent.move_to_end(key)
            while len(self._recent) > KEPT:
                self._recent.popitem(last=False)
        return key

    def find(self, key: str) -> Diagnosis:
        """The diagnosis shown or stored under `key`; raises `NotFound`."""
        with self._lock:
            recent = self._recent.get(key)
        return recent if recent is not None else self._advisor.stored(key)

"""The words of the HTML faces in three languages: labels, buttons, headings.

`web/strings.json` holds English and Simplified Chinese; Traditional Chinese is converted
from Simplified once, when first asked for. Answers are not translated here: they arrive
in their language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from advisor.models import Lang
from advisor.text import localise

NAMES: dict[Lang, str] = {"en": "English", "zh-Hans": "简体中文", "zh-Hant": "繁體中文"}


def web_folder() -> Path:
    """Where templates, styles and scripts are: inside an installed wheel, else beside the package in a checkout."""
    packaged = Path(str(files("advisor") / "_data" / "web"))
    return packaged if packaged.is_dir() else Path(str(files("advisor"))).parent / "web"


@cache
def strings(lang: Lang) -> Mapping[str, str]:
    """Every string in `lang`, by key."""
    table: dict[str, dict[str, str]] = json.loads((web_folder() / "strings.json").read_text("utf-8"))
    column = "en" if lang == "en" else "zh-Hans"
    return {key: localise(texts[column], lang) for key, texts in table.items()}

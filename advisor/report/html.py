"""A report as one self-contained HTML file: the same markup as the chat page, styles inside, no script.

Links to pages of a running advisor would lead nowhere from a ticket, so they become text.
"""

from __future__ import annotations

from markupsafe import Markup

from advisor.blocks import html
from advisor.blocks.strings import web_folder
from advisor.models import Diagnosis, Knowledge, Lang
from advisor.report.contents import report_blocks
from advisor.text import localise


def render_html(diagnosis: Diagnosis, knowledge: Knowledge, lang: Lang) -> str:
    """The whole report as an HTML document."""
    blocks = report_blocks(diagnosis, knowledge, lang)
    about, *fragments = (Markup(f) for f in html.fragments(blocks, lang, {"offline": True}))  # escaped by Jinja
    context = {
        "title": localise(diagnosis.headline.get(lang), lang),
        "css": Markup((web_folder() / "static" / "blocks.css").read_text(encoding="utf-8")),
        "about": about,
        "fragments": fragments,
    }
    return html.page("report.html", lang, context)

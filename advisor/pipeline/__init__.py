"""The flow: sources -> facts -> Profile -> match -> rank -> Diagnosis -> Answer, report, document.

The only place that knows the order. Stages do not know each other; here their results
are handed on. Faces (`cli`, `serve`) call these functions and render what they return.
"""

from advisor.pipeline.advisor import FORMATS, Advisor, Format, report_formats
from advisor.pipeline.conversing import MAX_HISTORY, MAX_HISTORY_LENGTH
from advisor.pipeline.diagnoser import Diagnoser, moment, now

__all__ = [
    "FORMATS",
    "MAX_HISTORY",
    "MAX_HISTORY_LENGTH",
    "Advisor",
    "Diagnoser",
    "Format",
    "moment",
    "now",
    "report_formats",
]

"""Clauses of a message and how each is meant: what is said of the present is a fact, a wish or a memory is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Mood = Literal["now", "present", "past", "gone", "tried", "unreal"]
MAX_READ = 3000  # characters of own words that are looked at for facts; what is longer is a paste

MAX_CLAUSES = 60

_STOP = re.compile(r"[\n;!?。]|\.(?=\s|$)")
_CLAUSE = re.compile(
    r"(?:,(?!\d{3})|、|\b(?:but|while|whereas|however|although|though|yet)\b|但是|不过|然而|但(?!凡)|而且|"
    r"而(?!已)|却|\() *"
)
_UNREAL = re.compile(
    r"\b(?:if (?:i|we|you|the|it|my|only)|what if|suppose|assum(?:e|ing)|would|could|should i|should we|shall i|"
    r"can i|can we|"
    r"is it (?:better|ok|worth|possible)|will (?:it|that|this|a|an|the|using|more|\d)|do i need|do we need|"
    r"how many|how much|"
    r"want(?:ed)?|i'd like|we'd like|would like|hop(?:e|ing)|wish|expect(?:ed|ing)?|target|goal|ideally|aim(?:ing)?|"
    r"plan(?:ning)? to|thinking (?:of|about)|consider(?:ing)?|going to|recommend(?:ed|s)?|suggest(?:ed|s)?|docs?|"
    r"documentation|tutorial|paper|blog|article|advertised|claims?|rated|in theory|theoretical(?:ly)?|"
    r"spec(?:ification)?s?\b|"
    r"supposed to|should (?:be|get|reach|give|have|run)|people (?:say|get|report)|they say|i (?:read|heard)|someone|"
    r"others? (?:get|report|say)|typical(?:ly)?|in general|normal(?:ly)? (?:is|range)|considered|rule of thumb|"
    r"threshold|"
    r"alert|example|e\.g|for instance|need (?:to|at least)|get (?:it|this|that|gpu\w*|util\w*) (?:to|above|up)|"
    r"how (?:do|can|to|should)\b.{0,50}\bto \d+|(?:reach|achieve|increase|raise|improve|bring|push|"
    r"boost)\b.{0,40}\b(?:to|above)|"
    r"does .{0,40}(?:help|matter|work|mean)|difference between|better than|enough\b.{0,20}\?|cost(?:s)? of)\b"
    r"|如果|要是|假如|假设|倘若|想(?:要|把|让|达|提|用|买|换|上|问.{0,6}能)|希望|期望|目标|预期|应该|应当|理论|"
    r"理想|最好|打算|计划|准备|"
    r"会不会|能不能|可不可以|要不要|是不是(?:该|应)|该不该|是否(?:应|需)|设(?:置)?成?多少|(?:需要|得|要)(?:多少|"
    r"几)|官方|文档|教程|"
    r"论文|博客|据说|听说|网上|别人|人家|同事|一般(?!般)|通常|推荐|建议|标称|宣称|阈值|报警|告警|例如|比如|"
    r"怎么(?:才能|样)?.{0,12}(?:到|上)|"
    r"如何.{0,14}到|提(?:高|升)到|达到|能跑到|够不够|能否|可以用"
)
_TRIED = re.compile(
    r"\b(?:(?:i |we |have |has |already |also |'ve )*(?:tried|trying|experimented|tested with|played with)|"
    r"(?:increasing|decreasing|raising|lowering|changing|setting|switching|using|enabling|disabling|reducing|bumping|"
    r"moving)\b.{0,60}\b(?:n't|not|no|never|nothing|same|worse|little|barely|help|effect|difference))\b"
    r"|试(?:过|了|着)|尝试|(?:改|调|换|加|设|开|增)(?:成|到|大|为|了|过|大到|小到)?.{0,24}(?:没用|没效果|没变|"
    r"无效|不行|一样|没有用|没区别|没差|还是)|都试"
)
_WAS = re.compile(r"\b(?:was|were|had)\b|当时|刚才")
_GONE = re.compile(
    r"\b(?:used to|before(?!hand)|previous(?:ly)?|earlier|yesterday|last (?:week|month|year|time|night)|"
    r"originally|initially|at first|formerly|in the past|had been|once)\b"
    r"|以前|之前|原来|原先|曾经|上周|上个月|昨天|去年|刚开始|一开始|起初|早先|过去"
)
_OTHER = re.compile(
    r"\b(?:compared (?:to|with)|versus|vs\.?|(?:faster|slower|better|worse) than|unlike|on (?:the|my|an?|"
    r"our) (?:other|old|"
    r"previous|colleague\S*|friend\S*|laptop|desktop|another)|other (?:machine|gpu|node|server|card|box)s?|"
    r"my (?:colleague|friend|coworker)\S*|on (?:google )?colab|on kaggle|their|another (?:machine|node|server|box|"
    r"job|user)|(?:upgrad|switch|mov)\w+ from)\b"
    r"|另一(?:台|个|张|块)|另外一|旧(?:卡|机|的)|老(?:卡|机器)|相比|对比|比起|换到.{0,6}之前"
)
_NOW = re.compile(
    r"\b(?:now|currently|right now|at the moment|at present|these days|today|this time|presently)\b"
    r"|现在|目前|如今|当前|这次|眼下|此刻|今天"
)
_FROM = re.compile(
    r"\b(?:from)\b[^,]{1,30}?(?=\bto\b|\bdown to\b)|从[^,到至]{1,20}?(?=(?:掉|降|升|涨|变|跌|提)?(?:到|至|成|为))"
)
_QUESTION = re.compile(
    r"^\W*(?:does|do|did|is|are|can|could|should|would|will|what|which|how|why|when|has|have|any)\b"
    r"|(?:吗|呢|么|是不是|有没有|为什么|为何|怎么|如何|多少|哪)"
)
_OWN = re.compile(
    r"\b(?:i|i'm|i've|we|we're|we've|my|our|mine|with|using|running|trained?|got)\b|我|咱|本机|用的|设的|设置|开了|跑的"
)


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a message that is meant in one way.

    `lower` is `cased` in lower case. `question` says that it asks: then settings in it count only where it says
    whose they are (`own`).
    """

    lower: str
    cased: str
    mood: Mood
    question: bool
    own: bool


def clauses(folded: str) -> Iterator[Clause]:
    """The clauses of a folded message, without lines that quote another."""
    text = "\n".join(line for line in folded[:MAX_READ].split("\n") if not line.lstrip().startswith(">"))
    split = (clause for sentence in _sentences(text) for clause in _split(sentence))
    yield from islice(split, MAX_CLAUSES)


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for stop in _STOP.finditer(text):
        if stop.start() > start:
            yield text[start : stop.end()]
        start = stop.end()
    if start < len(text):
        yield text[start:]


def _split(sentence: str) -> Iterator[Clause]:
    low = sentence.lower()
    if len(low) != len(sentence):  # a few letters have no lower case of one character
        sentence = low
    asks = sentence.rstrip().endswith("?")
    own = _OWN.search(low) is not None
    unreal = re.match(r"\W*(?:if|what if|suppose|assuming|如果|要是|假如|假设)", low) is not None
    before: Mood = "present"
    for start, end in _spans(low):
        part = low[start:end]
        mood = "unreal" if unreal else _mood(part, before)
        # The object of a wish or an attempt may stand in the next clause; a statement begins a new thought.
        before = mood
        blanked = _FROM.sub(lambda m: " " * len(m[0]), part)
        question = (asks and end == len(low)) or _QUESTION.search(part) is not None
        yield Clause(blanked, sentence[start:end], mood, question, own)


def _spans(low: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _CLAUSE.finditer(low):
        if match.start() > start:
            yield start, match.start()
        start = match.end()
    if start < len(low):
        yield start, len(low)


def _mood(part: str, before: Mood) -> Mood:
    if _UNREAL.search(part):
        return "unreal"
    if _TRIED.search(part):
        return "tried"
    if _NOW.search(part):
        return "now"
    if _GONE.search(part) or _OTHER.search(part):
        return "gone"
    if _WAS.search(part):
        return "past"
    listed = len(part) < 24 and re.match(r"\W*(?:and|or|then|以及|和|或|还有|batch|num|pin)", part)
    return before if before in ("tried", "unreal") and listed else "present"

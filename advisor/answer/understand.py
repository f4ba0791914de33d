"""What a question is about, as far as words tell: language, intent, the facts it states, what it rules out.

Which topic it has is decided by `search`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from advisor.answer.intent import Intent, intent
from advisor.answer.phrases import Aspect
from advisor.answer.ruled_out import ruled_out
from advisor.answer.stated import read_stated
from advisor.errors import InputError, TooLarge
from advisor.models import Fact, Lang
from advisor.text import detect, fold

MAX_QUESTION = 20_000  # characters of a person's own words
MAX_MESSAGE = 500_000  # and with what is pasted beside them
OWN_WORDS = 3000  # characters that are looked at for what somebody means; more is a paste
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# A question about the user's own run: it owns the thing, or asks about "it" and "this".
_OWN = re.compile(
    r"\b(my|our|this|these|the)\s+(\w+\s+){0,2}(training|run|job|script|model|gpu|gpus|step|steps|loop|code|"
    r"machine|node|host|server|process|dataloader|loader|epoch)s?\b"
    r"|\b(what|where)('s| is)\s+(wrong|slow|the (problem|bottleneck|matter))"
    r"|\b(diagnose|look at|check)\b.{0,20}\b(this|my|it|machine|run)\b"
    r"|\bwhat should i (fix|do|change)\b|\bhow (do|can) i (fix|speed|verify)",
    re.IGNORECASE,
)
_OWN_ZH = re.compile(
    r"(我的|我们的|我这|本机|这台|这个|当前|现在).{0,8}(训练|任务|脚本|程序|模型|机器|节点|进程|代码|GPU|gpu|显卡|step)"
    r"|瓶颈(在哪|是什么|是啥|在什么)|(哪里|哪儿|什么地方).{0,4}(慢|有问题|瓶颈)"
    r"|(帮我|给我).{0,6}(看|诊断|分析|查)|怎么(修|改|解决|优化|验证)$"
)
# A question for knowledge in general, even when it says "training".
_GENERAL = re.compile(
    r"^\s*(what (is|are|does)|how (does|do) .{3,60} work|explain|define|which strategies|what strategies|difference)\b"
    r"|有哪些|是什么意思|什么是|区别|原理|介绍|如何有效|哪些策略",
    re.IGNORECASE,
)
# It is theirs, whatever the question begins with.
_MINE = re.compile(
    r"\b(?:my|our) (?:\w+ )?(?:training|run|job|script|model|gpus?|server|loop|code)\b|(?:我|我们|咱们?)的"
)

# Words of speed and memory: what holds one is in scope even when nothing else in it is known.
_SYMPTOM = re.compile(
    r"\b(slow(er|ly|ness)?|fast(er)?|speed|idle|stuck|hangs?|bottleneck|throughput|latency|utili[sz]ation|memory|oom)\b"
    r"|慢|卡住|卡死|卡顿|瓶颈|吞吐|延迟|利用率|显存|内存|加速|提速|掉速|跑不满|吃不满",
    re.IGNORECASE,
)
# A question about one side of the answer before.
_VERIFY = re.compile(
    r"\b(verify|verification|confirm|roll ?back|undo|revert)\b|验证|确认.{0,4}(有效|修复)|回退|回滚", re.IGNORECASE
)
_MISSING = re.compile(
    r"\b(not|n't) (be )?(measured|checked|collected)|\bwhat (else )?(is|was) (missing|not)\b"
    r"|没测|没有测|缺(什么|少|哪些)|测不到",
    re.IGNORECASE,
)

# An error message, or how a program ended.
_ERROR = re.compile(
    r"\b\w+(?:error|exception)\b|\berrno\b|\berror(?: code)?:|\bexit(?:ed with)? (?:code|status) \d+"
    r"|\bsig(?:kill|bus|segv|abrt)\b|\bsegmentation fault|\bcore dumped|\bxid \d+|\bout of memory\b"
    r"|\bkilled\b|\bwatchdog\b|\bno module named\b|报错|异常退出|退出码|段错误",
    re.IGNORECASE,
)
# Whether a number is as it should be.
_NORMAL = re.compile(
    r"\b(?:is|are)\b.{0,60}\b(?:normal|ok(?:ay)?|expected|good|bad|reasonable|too (?:low|high)|typical)\b"
    r"|\b(?:normal|expected|reasonable|typical)\s?\?|\bwhat (?:is|'s) (?:a )?(?:good|normal|typical|healthy)\b"
    r"|正常吗|正常么|正不正常|算(?:高|低|正常|慢|好)|合理吗|(?:偏|太)(?:低|高)(?:了?吗|吧)|多少(?:才)?(?:算)?(?:正常|合理)|是否正常",
    re.IGNORECASE,
)

Aim = Literal["own", "general", "open"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question made ready: `text` as asked, `plain` normalised for search, its language and aim.

    `aim` is "own" for a question about the user's own run, "general" for a matter of knowledge, and "open" when
    the words leave it to the context. `aspect` is the side of a diagnosis that is asked for; `symptom` says that
    speed or memory is spoken of; `pasted` that it is about a text which came with it; `error` that it names an error;
    `normal` that it asks whether a number is as it should be. In a conversation `follows` says that it is a
    follow-up: then `plain` is of the question that it follows, `added` what it adds to that, `place` the cause it
    means, counted from 0, and `about` the topic that it asks after. `stated` are the facts it states
    (phase, framework and hardware among them), `ruled_out` the topics it rules out, `wish` the language it asks for.
    """

    text: str
    plain: str
    lang: Lang
    aim: Aim
    aspect: Aspect = "all"
    symptom: bool = False
    pasted: bool = False
    error: bool = False
    normal: bool = False
    follows: bool = False
    added: str = ""
    place: int = 0
    about: str = ""
    stated: tuple[Fact, ...] = ()
    intent: Intent = "open"
    ruled_out: tuple[str, ...] = ()
    wish: Lang | None = None


def understand(text: str, lang: Lang | None = None) -> Question:
    """Read a question.

    Args:
        text: what the user typed or pasted.
        lang: the language to answer in; default: the question's own.

    Raises:
        InputError: when there is nothing to answer, or it is not text.
        TooLarge: when it is longer than `MAX_QUESTION` characters.
    """
    text = clean_question(text)
    if len(text) > MAX_QUESTION:
        raise TooLarge(
            f"The question has {len(text):,} characters, the limit is {MAX_QUESTION:,}, and nothing that is known is "
            "pasted in it; keep the part that shows the problem."
        )
    question = read_words(text.strip(), normalise(text))
    return question if lang is None else replace(question, lang=lang)


def read_words(text: str, plain: str) -> Question:
    """What the words alone tell: `text` as asked and `plain` as `normalise` gives it."""
    return Question(
        text,
        plain,
        detect(text),
        _aim(plain),
        _aspect(plain),
        symptom=bool(_SYMPTOM.search(plain)),
        error=bool(_ERROR.search(plain)),
        normal=bool(_NORMAL.search(plain)),
        stated=read_stated(text).facts,
        intent=intent(plain[:OWN_WORDS]),
        ruled_out=ruled_out(plain[:OWN_WORDS]),
    )


def understand_beside_paste(words: str, lang: Lang | None = None) -> Question:
    """Read the words that came with a paste: whatever they say, they are about it; there may be none."""
    words = words[:MAX_QUESTION]
    plain = normalise(words)
    return Question(
        words,
        plain,
        lang or detect(words),
        "own",
        _aspect(plain),
        symptom=True,
        pasted=True,
        intent=intent(plain[:OWN_WORDS]),
        stated=read_stated(words).facts,
        ruled_out=ruled_out(plain[:OWN_WORDS]),
    )


def _aim(plain: str) -> Aim:
    if _GENERAL.search(plain) and not _MINE.search(plain):
        return "general"
    return "own" if _OWN.search(plain) or _OWN_ZH.search(plain) else "open"


def _aspect(plain: str) -> Aspect:
    if _VERIFY.search(plain):
        return "verify"
    return "missing" if _MISSING.search(plain) else "all"


def clean_question(text: str) -> str:
    """The question with plain newlines and without terminal colours.

    Raises `TooLarge` over `MAX_MESSAGE` characters, and `InputError` when it is empty or
    holds control characters: those come from binary files, not from people or logs.
    """
    if len(text) > MAX_MESSAGE:
        raise TooLarge(
            f"The question has {len(text):,} characters and the limit is {MAX_MESSAGE:,}; "
            "keep the part that shows the problem, or give the file to `advisor diagnose`."
        )
    plain = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not plain:
        raise InputError("The question is empty; write what is slow, or paste a log or an error.")
    if found := _CONTROL.search(plain):
        raise InputError(
            f"The question holds the control character U+{ord(found[0]):04X} at position {found.start() + 1}; "
            "remove it and send the text again."
        )
    return plain


def normalise(text: str) -> str:
    """Full-width to half-width, lower case, Traditional to Simplified Chinese, single spaces."""
    return " ".join(fold(text).lower().split())

"""Bare replies to a question that was asked back ("8", "nvme", "是"), and corrections ("no, it's 8 workers")."""

from __future__ import annotations

import re

from advisor.models import FactSpec, Value

SHORT = 40  # characters: a reply to one question is a word or two
_NUMBER = re.compile(r"(?<![\w.])(\d{1,7}(?:\.\d{1,3})?)\s?(%|k\b)?")
_DIGITS_ZH = {digit: float(value) for value, digit in enumerate("零一二三四五六七八九十")} | {"两": 2.0}
_YES = re.compile(
    r"(?:yes|yep|yeah|yup|y|sure|it is|it does|we do|i do|on|enabled|true"
    r"|是的?|对的?|有的?|开了?|开着|用了|没错|嗯)(?:[, ].*)?"
)
_NO = re.compile(
    r"(?:no|nope|nah|n|not|it isn'?t|off|disabled|false|none|不是|没有?|不|没开|没用|关了?|关着|否|未开启)(?:[, ].*)?"
)
_UNKNOWN = re.compile(
    r"(?:i )?(?:don'?t|do not|dunno)(?: really)? ?(?:know|remember)?"
    r"|no idea|not sure|unsure|idk|how (?:do|can) i (?:see|tell|find (?:it )?out)"
    r"|不(?:太)?(?:知道|清楚|确定)|不晓得|忘了|没注意|怎么看"
)
_CORRECTION = re.compile(
    r"(?:no|nope|wait|sorry|actually|correction|i mean(?:t)?|my mistake|that'?s wrong|not quite)\b[ ,.:;-]*"
    r"|(?:不对|不是|错了|说错了|更正(?:一下)?|其实|应该是|等等|等一下|抱歉|弄错了|搞错了)[ ,。.:;]*"
)
_PHASES = (
    ("serving", re.compile(r"serv(?:ing|er)|online|deployment|在线|服务|部署|vllm|sglang|tgi")),
    ("inference", re.compile(r"inference|infer|offline|generat\w+|推理|离线")),
    ("training", re.compile(r"train\w*|fine-?tun\w*|pre-?train\w*|训练|微调|预训练")),
)
_STRATEGIES = (
    ("DDP", re.compile(r"\bddp\b|distributeddataparallel")),
    ("FSDP", re.compile(r"\bfsdp2?\b")),
    ("DP", re.compile(r"\bdp\b|dataparallel")),
    ("ZeRO-3", re.compile(r"zero[- ]?3|stage[- ]?3")),
    ("ZeRO-2", re.compile(r"zero[- ]?2|stage[- ]?2")),
    ("ZeRO-1", re.compile(r"zero[- ]?1|stage[- ]?1")),
    ("none", re.compile(r"\bnone\b|single|没有|单卡|不并行")),
)
_WORDS = {"run.phase": _PHASES, "config.distributed.strategy": _STRATEGIES}
_TERM = re.compile(r"(?:it'?s|it is|using|we use|use|是|用的?是?)?\s*([a-z][a-z0-9_.+-]{1,20})")


def reply_value(plain: str, spec: FactSpec) -> Value | None:
    """The value that a bare reply gives to the fact that was asked for; None when it is no such reply.

    >>> reply_value("it's 8", FactSpec("config.dataloader.num_workers", "{worker}", "number", ""))
    8.0
    >>> reply_value("是的", FactSpec("config.compile.enabled", "{bool}", "bool", ""))
    True
    """
    text = plain.strip(" .。!！~")
    if len(text) > SHORT or "?" in text or unknown(text):
        return None
    if spec.type == "bool":
        return True if _YES.fullmatch(text) else False if _NO.fullmatch(text) else None
    if spec.type == "number":
        return number(text)
    known = next((value for value, pattern in _WORDS.get(spec.name, ()) if pattern.search(text)), None)
    if known or spec.name in _WORDS:
        return known
    term = _TERM.fullmatch(text)
    return term[1] if term else None


def bare(plain: str) -> bool:
    """Whether it is a number, a yes or a no, and nothing else."""
    text = plain.strip(" .。!！~")
    return bool(_NUMBER.fullmatch(text) or _YES.fullmatch(text) or _NO.fullmatch(text)) and len(text) <= SHORT


def unknown(plain: str) -> bool:
    """Whether a reply says that the person does not know."""
    return len(plain) <= SHORT and bool(_UNKNOWN.match(plain))


def number(text: str) -> float | None:
    """The number that a short text is about: the only one in it."""
    found = _NUMBER.findall(text)
    if len(found) == 1:
        value, unit = found[0]
        return float(value) * {"%": 0.01, "k": 1000.0}.get(unit, 1.0)
    digits = [_DIGITS_ZH[c] for c in text if c in _DIGITS_ZH]
    return digits[0] if len(digits) == 1 and not found else None


def correction(plain: str) -> str | None:
    """What follows the words of correcting; None when the text corrects nothing.

    >>> correction("no, it's 8 workers"), correction("不对，是 4 张卡"), correction("why is it slow")
    ("it's 8 workers", '是 4 张卡', None)
    """
    found = _CORRECTION.match(plain)
    rest = plain[found.end() :] if found else ""
    return re.sub(r"^[ ,，。]+", "", rest) or None

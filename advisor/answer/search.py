"""Search over topics, rules and FAQ in both languages: BM25 with Chinese bigrams.

English words are lightly stemmed; technical tokens (num_workers, OOM) weigh more than
common Chinese bigrams, which else drown them in mixed questions. Misspelt English words
that the index does not know are repaired to the nearest one it knows.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from advisor.models import Faq, Knowledge, Rule, Scored, Topic

K1, B = 1.2, 0.6
TECHNICAL = 1.6
MIN_REPAIR = 5  # shorter words have too many neighbours to guess
BESIDE = 0.5
WORDS = 4.0  # what words that fit fully add to the logarithm of a topic's probability
SURE = 9.0  # a BM25 score that is as good as certain; scores are shown as score / (score + SURE)
_WORD = re.compile(r"[a-z][a-z0-9_+.-]*[a-z0-9]|[a-z]|\d+(?:\.\d+)?|[\u3400-\u9fff]+")
_STOP = frozenset(
    """a an and any are as at be but by can do does for from get has have how i if in is it its me my no not of on or
    our so than that the their them then there this to use was we were what when which why will with would you
    your""".split()
)
# Chinese bigrams that carry no topic: with a function character in them, or common verbs of asking.
_FUNCTION_ZH = frozenset("的了吗呢么什怎我你他它这那哪请啊吧呀嘛您")
_STOP_ZH = frozenset("如何 时候 一下 是不 不是 有没 没有 可以 问题 为何 应该 需要 知道 解决 办法 情况 出现".split())


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that fits: `kind` is topic, rule or faq."""

    kind: str
    id: str
    topics: tuple[str, ...]
    score: float


def tokens(plain: str) -> list[str]:
    """Index terms of normalised text: stemmed words without the commonest, and Chinese bigrams.

    >>> tokens("dataloader num_workers 显存不足")
    ['dataload', 'num_workers', 'num', 'worker', '显存', '存不', '不足']
    """
    found: list[str] = []
    for word in _WORD.findall(plain):
        if "\u3400" <= word[0] <= "\u9fff":
            pairs = [word[i : i + 2] for i in range(len(word) - 1)] or [word]
            found += [p for p in pairs if p not in _STOP_ZH and _FUNCTION_ZH.isdisjoint(p)]
        elif word not in _STOP:
            found += _parts(word)
    return found


@functools.lru_cache(maxsize=16384)
def _parts(word: str) -> tuple[str, ...]:
    """A technical token and its parts, so that ``num_workers`` is found by "workers"."""
    parts = [p for p in re.split(r"[_.+-]", word) if p and p not in _STOP]
    stems = [_stem(p) for p in parts]
    return (word, *stems) if len(parts) > 1 else tuple(stems)


def _stem(word: str) -> str:
    for ending, keep in (("ization", "iz"), ("isation", "iz"), ("ising", "iz"), ("izing", "iz"), ("ies", "y")):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)] + keep
    for ending in ("ing", "ed", "es", "s", "er", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4 and not word.endswith("ss"):
            return word[: -len(ending)]
    return word


class Index:
    """A BM25 index over the knowledge base."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._documents: list[tuple[str, str, tuple[str, ...]]] = []
        self._lengths: list[int] = []
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for topic in knowledge.topics.values():
            for text in _topic_texts(topic):
                self._add("topic", topic.id, (topic.id,), text)
        for rule in knowledge.rules.values():
            self._add("rule", rule.id, (rule.topic,), _rule_text(rule))
        for faq in knowledge.faqs.values():
            self._add("faq", faq.id, faq.topics, _faq_text(faq))
        self._mean = sum(self._lengths) / max(1, len(self._lengths))
        self._words = [t for t in self._postings if t.isascii() and len(t) >= MIN_REPAIR]

    def _add(self, kind: str, name: str, topics: tuple[str, ...], text: str) -> None:
        counts = Counter(tokens(text.lower()))  # our own texts are in Simplified Chinese and half-width already
        number = len(self._documents)
        self._documents.append((kind, name, topics))
        self._lengths.append(sum(counts.values()))
        for token, count in counts.items():
            self._postings[token].append((number, count))

    def search(self, plain: str, limit: int = 30) -> list[Hit]:
        """The best documents for a normalised question, best first; each document once."""
        scores: dict[int, float] = defaultdict(float)
        for token in dict.fromkeys(self._repair(t) for t in tokens(plain)):
            self._score(token, scores)
        best: dict[tuple[str, str], Hit] = {}
        for number, score in scores.items():
            kind, name, topics = self._documents[number]
            if (kind, name) not in best or best[kind, name].score < score:
                best[kind, name] = Hit(kind, name, topics, score)
        return sorted(best.values(), key=lambda h: (-h.score, h.kind, h.id))[:limit]

    def _score(self, token: str, scores: dict[int, float]) -> None:
        postings = self._postings.get(token, [])
        if not postings:
            return
        total = len(self._documents)
        rarity = math.log(1 + (total - len(postings) + 0.5) / (len(postings) + 0.5))
        weight = rarity * (TECHNICAL if token.isascii() else 1.0)
        for number, count in postings:
            length = self._lengths[number] / self._mean
            scores[number] += weight * count * (K1 + 1) / (count + K1 * (1 - B + B * length))

    def _repair(self, token: str) -> str:
        if not token.isascii() or len(token) < MIN_REPAIR or token in self._postings or token[0].isdigit():
            return token
        return next(iter(difflib.get_close_matches(token, self._words, n=1, cutoff=0.8)), token)


def topic_scores(
    hits: Sequence[Hit], knowledge: Knowledge, trained: Mapping[str, float] | None = None, limit: int = 5
) -> tuple[Scored, ...]:
    """The best topics with their probabilities; at least `limit` of them.

    Args:
        hits: what words found.
        knowledge: the topics.
        trained: the logarithm of each topic's probability by the topic model; without it the score of the words
            stands alone, on the same scale from 0 to 1.
        limit: how many.
    """
    found = _by_words(hits)
    if trained is None:
        scores = found
    else:
        joined = {t: p + WORDS * found.get(t, 0.0) for t, p in trained.items() if t in knowledge.topics}
        scores = {t: math.exp(p) for t, p in zip(joined, log_softmax(list(joined.values())), strict=True)}
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit]
    scored = [Scored(topic, round(score, 3)) for topic, score in ranked]
    rest = (t for t in knowledge.topics if t not in dict(ranked))
    return tuple([*scored, *(Scored(t, 0.0) for t in rest)][:limit])


def _by_words(hits: Sequence[Hit]) -> dict[str, float]:
    """Topic -> score from 0 to 1: its best hit, plus a little for every further one.

    A rule's long text matches many words by chance, so it counts half of what a topic's own phrases count.
    """
    gathered: dict[str, list[float]] = defaultdict(list)
    for hit in hits:
        for topic in hit.topics:
            gathered[topic].append(hit.score * (1.0 if hit.kind == "topic" else BESIDE))
    raw = {topic: max(s) + 0.15 * (sum(s) - max(s)) for topic, s in gathered.items()}
    return {topic: score / (score + SURE) for topic, score in raw.items()}


def log_softmax(values: Sequence[float]) -> list[float]:
    """Logarithms of the probabilities.

    >>> [round(math.exp(v), 3) for v in log_softmax([1.0, 1.0, 1.0 + math.log(2)])]
    [0.25, 0.25, 0.5]
    """
    top = max(values)
    total = top + math.log(sum(math.exp(v - top) for v in values))
    return [v - total for v in values]


def _topic_texts(topic: Topic) -> Iterable[str]:
    yield " ".join([topic.title.en, topic.title.zh, topic.definition.en, topic.definition.zh])
    half = (len(topic.phrases) + 1) // 2
    if topic.phrases:
        yield " ".join(topic.phrases)
        yield " ".join(topic.phrases[:half])
        yield " ".join(topic.phrases[half:])


def _rule_text(rule: Rule) -> str:
    """What names a rule: id, title, meaning, the facts it tests and the knobs it turns; advice would only blur it."""
    parts = [rule.id.replace("-", " "), rule.title.en, rule.title.zh, rule.title.en, rule.title.zh]
    parts += [rule.meaning.en, rule.meaning.zh, *(c.text for c in rule.when.all)]
    parts += [r.knob for r in rule.remedies if r.knob]
    return " ".join(parts)


def _faq_text(faq: Faq) -> str:
    return " ".join([faq.question.en, faq.question.zh, *faq.phrases] * 2)

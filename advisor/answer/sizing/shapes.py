"""The shape of a model: what its parameters, its KV cache and its activations follow from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

LATENT, ROPE, NOPE = 512, 64, 128  # DeepSeek's latent attention: kv_lora_rank, qk_rope_head_dim, qk_nope_head_dim
RATIO = 128  # hidden size over layers in the common decoders (4096/32, 5120/40, 8192/64)
HEAD = 128
GROUPS = 8  # key-value heads of most models since 2023


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder, in the words of its config.json.

    `gated` says that the MLP has three matrices (SwiGLU, GeGLU) rather than two, `tied` that input and output share
    the embedding. With `experts`, a layer has that many MLPs of `ffn`, of which `active_experts` compute on a token
    besides one of width `shared`; the first `dense_layers` have one MLP of `dense_ffn` instead. `latent` is DeepSeek's
    latent attention, with queries through `q_rank`. `local_layers` attend to the last `window` tokens only. `released`
    is the format of the published weights.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    head_dim: int = 0
    gated: bool = True
    tied: bool = False
    experts: int = 0
    active_experts: int = 0
    shared: int = 0
    dense_layers: int = 0
    dense_ffn: int = 0
    latent: bool = False
    q_rank: int = 0
    window: int = 0
    local_layers: int = 0
    positions: int = 0
    released: str = "fp16"

    @property
    def head(self) -> int:
        """Width of an attention head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def embedding(self) -> int:
        """Parameters of the input and output embeddings, which quantisation mostly leaves in 16 bits."""
        return self.vocab * self.hidden * (1 if self.tied else 2) + self.positions * self.hidden

    @property
    def attention(self) -> int:
        """Parameters of one layer's attention."""
        if self.latent:
            query = self.heads * (NOPE + ROPE)
            through = self.hidden * self.q_rank + self.q_rank * query if self.q_rank else self.hidden * query
            down, up = self.hidden * (LATENT + ROPE), LATENT * self.heads * 2 * NOPE
            return through + down + up + self.heads * NOPE * self.hidden
        return 2 * self.hidden * self.head * (self.heads + self.kv_heads)

    def _mlp(self, width: int) -> int:
        return (3 if self.gated else 2) * self.hidden * width

    def _mlps(self, experts: int) -> int:
        if not self.experts:
            return self.layers * self._mlp(self.ffn)
        sparse = experts * self._mlp(self.ffn) + self._mlp(self.shared) + self.hidden * self.experts
        return self.dense_layers * self._mlp(self.dense_ffn) + (self.layers - self.dense_layers) * sparse

    @property
    def parameters(self) -> int:
        """All parameters; norms and biases, below a thousandth, are left out."""
        return self.embedding + self.layers * self.attention + self._mlps(self.experts)

    @property
    def active(self) -> int:
        """Parameters that compute on one token."""
        return self.embedding + self.layers * self.attention + self._mlps(self.active_experts)

    @property
    def kv_width(self) -> int:
        """Values that one layer caches per token: a key and a value per key-value head, or the latent vector."""
        return LATENT + ROPE if self.latent else 2 * self.kv_heads * self.head

    def lora_parameters(self, rank: int) -> int:
        """Trainable parameters of LoRA on every linear layer of attention and MLP: r (in + out) per matrix.

        Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1; all linear layers as in QLoRA (arXiv 2305.14314).
        """
        query, kv = self.heads * self.head, self.kv_heads * self.head
        attention = 2 * (self.hidden + query) + 2 * (self.hidden + kv)
        mlp = (3 if self.gated else 2) * (self.hidden + self.ffn) * max(1, self.experts)
        return rank * self.layers * (attention + mlp)


def estimated(parameters: float) -> Shape:
    """The shape that a plain decoder of that size would have, from N = 12 L h^2 (Kaplan et al. 2020) and h = 128 L.

    The heads are 128 wide, of which 8 are key-value heads.

    >>> shape = estimated(7e9)
    >>> shape.layers, shape.hidden, shape.kv_heads
    (33, 4224, 8)
    """
    layers = max(1, round((parameters / (12 * RATIO**2)) ** (1 / 3)))
    hidden = RATIO * layers
    heads = max(1, hidden // HEAD)
    return Shape("", layers, hidden, heads, min(GROUPS, heads), 8 * hidden // 3, 0)


_GAP = r"[-_:/ ]*"
_KIND = rf"(?:{_GAP}(?:coder|math|instruct|chat|base|it|text|thinking|preview)(?![a-z]))?"


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Shape], ...]:
    """How people write the names, longest name first: separators, and words such as "chat", may be missing."""
    from advisor.answer.sizing.families import NAMED

    found = []
    for name, shape in sorted(NAMED.items(), key=lambda item: -len(item[0])):
        parts = [re.escape(p) for p in re.findall(r"[a-z]+|\d+(?:\.\d+)?(?:x\d+)?[bm]?(?![a-z0-9])|\d+[a-z]*", name)]
        joined = rf"{_KIND}{_GAP}".join(parts)
        found.append((re.compile(rf"(?<![a-z0-9.]){joined}(?![0-9]|[a-z](?<!s)|\.\d)"), shape))
    return tuple(found)


def named(plain: str) -> tuple[Shape, re.Match[str]] | None:
    """The model that a normalised text names, with where; None when it names none of the table.

    >>> found = named("can i serve qwen2.5-72b-instruct on it")
    >>> found[0].name, found[0].layers
    ('Qwen2.5-72B', 80)
    """
    for pattern, shape in _patterns():
        if match := pattern.search(plain):
            return shape, match
    return None


@cache
def by_name(name: str) -> Shape:
    """The shape of a model by the name in the table (raises KeyError)."""
    from advisor.answer.sizing.families import SHAPES

    return {shape.name: shape for shape in SHAPES}[name]

"""Train a small language model, tokenising every text again each time it is drawn.

The planted cause: `Dataset.__getitem__` runs a byte-pair tokenizer written in plain Python, so each batch is tokenised
while the model waits, and again in every epoch. With `--healthy` the corpus is tokenised once, before training, and the
dataset only hands out rows of a tensor.

    python examples/tokenize_in_loop.py [--healthy] [--seconds S]
"""

import argparse
import random
import time
from collections import Counter
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

LENGTH = 128
BATCH = 8
TEXTS = 256
WORDS = 400


def write_corpus() -> list[str]:
    """Texts of 400 words that follow each other by habit, so that there is something to learn."""
    words = ["".join(random.choices("etaoinshrdlucm", k=random.randint(4, 12))) for _ in range(3000)]
    texts = []
    for _ in range(TEXTS):
        at = random.randrange(len(words))
        text = []
        for _ in range(WORDS):
            at = (at * 7 + random.randrange(5)) % len(words)
            text.append(words[at])
        texts.append(" ".join(text))
    return texts


class BytePairTokenizer:
    """Byte-pair encoding: the pairs that are most frequent in a sample of the corpus are merged first."""

    def __init__(self, sample: list[str], merges: int = 60) -> None:
        words = [list(word) for text in sample for word in text.split()]
        self.ranks: dict[tuple[str, str], int] = {}
        for rank in range(merges):
            pair = Counter(pair for word in words for pair in pairwise(word)).most_common(1)[0][0]
            self.ranks[pair] = rank
            words = [self.merge(word, pair) for word in words]
        parts = sorted({"<pad>", " ", *"abcdefghijklmnopqrstuvwxyz", *("".join(pair) for pair in self.ranks)})
        self.ids = {part: index for index, part in enumerate(parts)}

    @staticmethod
    def merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
        """The parts with every occurrence of the pair put together."""
        merged: list[str] = []
        for part in parts:
            if merged and (merged[-1], part) == pair:
                merged[-1] += part
            else:
                merged.append(part)
        return merged

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        tokens: list[int] = []
        for word in text.split():
            parts = list(word)
            while len(parts) > 1:
                pair = min(pairwise(parts), key=lambda pair: self.ranks.get(pair, 1 << 30))
                if pair not in self.ranks:
                    break
                parts = self.merge(parts, pair)
            tokens += [self.ids[part] for part in parts]
            tokens.append(self.ids[" "])
        return tokens


class Texts(Dataset[tuple[Tensor, ...]]):
    """Tokenises a text when it is asked for."""

    def __init__(self, texts: list[str], tokenizer: BytePairTokenizer) -> None:
        self.texts = texts
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return (torch.tensor(self.tokenizer.encode(self.texts[index])[: LENGTH + 1]),)


class LanguageModel(nn.Module):
    """A small decoder-only transformer."""

    def __init__(self, vocabulary: int, width: int = 96) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token that follows each token."""
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        return self.head(self.layers(hidden, mask=mask, is_causal=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small language model.")
    parser.add_argument("--healthy", action="store_true", help="tokenise the corpus once, before training")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    texts = write_corpus()
    tokenizer = BytePairTokenizer(texts[:10])
    dataset: Dataset[tuple[Tensor, ...]] = Texts(texts, tokenizer)
    if options.healthy:
        dataset = TensorDataset(torch.stack([dataset[index][0] for index in range(len(texts))]))
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True)
    model = LanguageModel(len(tokenizer.ids))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for (tokens,) in loader:
            logits = model(tokens[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, {rate:.1f} texts/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

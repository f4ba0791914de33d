"""Train a text classifier on batches that are mostly padding.

The planted cause: texts of very different length are shuffled into one batch, and every batch is padded to its longest
text; about two thirds of what the model computes is padding. With `--healthy` each batch holds texts of similar
length (shuffled in windows, sorted inside them), and the same model sees the same texts with little padding.

    python examples/padding_waste.py [--healthy] [--seconds S]
"""

import argparse
import random
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

PAD = 0
VOCABULARY = 2000
LONGEST = 256
BATCH = 16
CLASSES = 4


class Reviews(Dataset[dict[str, Tensor]]):
    """Token ids of texts: most are short, a few are long."""

    def __init__(self, count: int = 2048) -> None:
        self.texts, self.labels = [], []
        for index in range(count):
            length = min(LONGEST, max(8, int(random.lognormvariate(3.4, 0.9))))
            label = index % CLASSES
            text = torch.randint(1, VOCABULARY, (length,))
            text[torch.rand(length) < 0.2] = 1 + label
            self.texts.append(text)
            self.labels.append(label)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.texts[index], "labels": torch.tensor(self.labels[index])}


def collate(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One batch, padded to its longest text."""
    ids = nn.utils.rnn.pad_sequence([s["input_ids"] for s in samples], batch_first=True, padding_value=PAD)
    labels = torch.stack([s["labels"] for s in samples])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": labels}


class BySimilarLength(Sampler[list[int]]):
    """Batches from windows of 32 batches that are sorted by length; batches come in random order."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(self.lengths)).tolist()
        batches = []
        for start in range(0, len(order), 32 * BATCH):
            window = sorted(order[start : start + 32 * BATCH], key=lambda index: self.lengths[index])
            batches += [window[i : i + BATCH] for i in range(0, len(window), BATCH)]
        random.shuffle(batches)
        return iter(batches)

    def __len__(self) -> int:
        return len(self.lengths) // BATCH


class Classifier(nn.Module):
    """A small transformer encoder with mean pooling."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width, padding_idx=PAD)
        self.places = nn.Embedding(LONGEST, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of each text."""
        hidden = self.tokens(input_ids) + self.places.weight[: input_ids.shape[1]]
        hidden = self.layers(hidden, src_key_padding_mask=attention_mask == 0)
        weight = attention_mask[:, :, None]
        return self.head((hidden * weight).sum(1) / weight.sum(1))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a text classifier.")
    parser.add_argument("--healthy", action="store_true", help="put texts of similar length into one batch")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    reviews = Reviews()
    if options.healthy:
        similar = BySimilarLength([len(text) for text in reviews.texts])
        loader = DataLoader(reviews, batch_sampler=similar, collate_fn=collate)
    else:
        loader = DataLoader(reviews, batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=collate)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for batch in loader:
            logits = model(batch["input_ids"], batch["attention_mask"])
            loss = nn.functional.cross_entropy(logits, batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 50 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, {rate:.0f} texts/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

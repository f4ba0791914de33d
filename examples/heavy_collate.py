"""Train a recommender whose batches are put together, sample by sample, in the training process.

The planted cause: the `collate_fn` draws negative items for every user in Python and counts by hand how often items
occur together; the `DataLoader` has no workers, so all of it happens between two steps. With `--healthy` the same
batch is made by a few tensor operations.

    python examples/heavy_collate.py [--healthy] [--seconds S]
"""

import argparse
import random
import time
from collections import Counter

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

ITEMS = 20_000
HISTORY = 48
NEGATIVES = 64
BATCH = 128

Sample = tuple[list[int], int]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Histories(Dataset[Sample]):
    """What each user looked at, oldest first, and what they looked at next."""

    def __init__(self, users: int = 4096) -> None:
        self.rows = []
        for _ in range(users):
            taste = random.randrange(ITEMS)
            items = [min(int(abs(random.gauss(taste, 300))), ITEMS - 1) for _ in range(HISTORY + 1)]
            self.rows.append((items[:-1], items[-1]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        return self.rows[index]


def collate(samples: list[Sample]) -> Batch:
    """History, candidates (the next item first), and the weight of each history item, by hand."""
    popular: Counter[int] = Counter()
    for history, following in samples:
        popular.update(history)
        popular[following] += 1
    histories, candidates, weights = [], [], []
    for history, following in samples:
        seen = {*history, following}
        negatives: list[int] = []
        while len(negatives) < NEGATIVES:
            item = random.randrange(ITEMS)
            if item not in seen and item not in negatives:
                negatives.append(item)
        near = [sum(1 for other in history if abs(other - item) < 100) / len(history) for item in history]
        histories.append(torch.tensor(history))
        candidates.append(torch.tensor([following, *negatives]))
        weights.append(torch.tensor([n / popular[item] for n, item in zip(near, history, strict=True)]))
    return torch.stack(histories), torch.stack(candidates), torch.stack(weights), torch.zeros(len(samples)).long()


def collate_tensors(samples: list[Sample]) -> Batch:
    """The same batch from whole tensors; a negative that the user has seen is rare enough to stay."""
    history = torch.tensor([items for items, _ in samples], dtype=torch.int32)
    following = torch.tensor([item for _, item in samples], dtype=torch.int32)
    candidates = torch.cat([following[:, None], torch.randint(ITEMS, (len(samples), NEGATIVES), dtype=torch.int32)], 1)
    popular = torch.bincount(torch.cat([history.flatten(), following]), minlength=ITEMS)
    ordered = history.sort(1).values
    above = torch.searchsorted(ordered, history - 99)
    near = (torch.searchsorted(ordered, history + 99, right=True) - above) / HISTORY
    return history, candidates, near / popular[history], torch.zeros(len(samples)).long()


class Recommender(nn.Module):
    """Scores candidates against the weighted mean of a user's history."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.items = nn.Embedding(ITEMS, width, sparse=True)
        self.tower = nn.Sequential(nn.Linear(width, 16 * width), nn.ReLU(), nn.Linear(16 * width, width))

    def forward(self, history: Tensor, candidates: Tensor, weights: Tensor) -> Tensor:
        """One score for each candidate."""
        shown = self.tower(self.items(history))
        user = (shown * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)
        return torch.einsum("bd,bcd->bc", user, self.items(candidates))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a recommender.")
    parser.add_argument("--healthy", action="store_true", help="make batches with tensor operations")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    together = collate_tensors if options.healthy else collate
    loader = DataLoader(Histories(), batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=together)
    model = Recommender()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for history, candidates, weights, target in loader:
            loss = nn.functional.cross_entropy(model(history, candidates, weights), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, {rate:.0f} users/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

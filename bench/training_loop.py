"""The training that `run_overhead.py` measures: an ordinary loop, whose steps are driven over a local socket.

    python bench/training_loop.py ADDRESS

It says its process id, then obeys: ``("open", depth, workers)`` sets the model's depth and makes a loader,
``("block", seconds)`` trains and answers with the number of steps, ``("end",)`` ends it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from multiprocessing.connection import Client
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

FEATURES, BATCH, SAMPLES = 32, 16, 4096


class Signals(Dataset[tuple[Tensor, Tensor]]):
    """Made-up signals, normalised one by one as a real data set does it; without end in practice."""

    def __init__(self) -> None:
        self.values = torch.randint(0, 256, (SAMPLES, FEATURES), dtype=torch.uint8)

    def __len__(self) -> int:
        return 100_000_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        signal = self.values[index % SAMPLES].float() / 255
        return signal, signal.mean()


class Recurrent(nn.Module):
    """One small layer applied again and again: a step of any length that stays in the cache.

    What lies outside it depends on where a process got its memory, and differs more from process to process than
    what is measured here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, 1)
        self.depth = 1

    def forward(self, x: Tensor) -> Tensor:
        """One number per signal."""
        for _ in range(self.depth):
            x = torch.tanh(self.layer(x))
        result: Tensor = self.last(x).squeeze(1)
        return result


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[list[Tensor]], seconds: float) -> int:
    """Train for `seconds`; how many steps that were."""
    steps = 0
    end = perf_counter() + seconds
    for signals, means in batches:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(signals), means)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
        if perf_counter() >= end:
            break
    return steps


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Recurrent()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    data = Signals()
    batches: Iterator[list[Tensor]] = iter(())
    with Client(sys.argv[1]) as driver:
        driver.send(os.getpid())
        while (order := driver.recv())[0] != "end":
            if order[0] == "open":
                batches = iter(())  # ends the workers of the one before
                batches = iter(DataLoader(data, batch_size=BATCH, num_workers=order[2]))
                model.depth = order[1]
            else:
                driver.send(train(model, optimizer, batches, order[1]))


if __name__ == "__main__":
    main()

"""Train a small recurrent model with autograd's anomaly detection left on.

The planted cause: `torch.autograd.set_detect_anomaly(True)` from an old debugging session. Every operation keeps a
Python stack trace, and every gradient is searched for NaN. With `--healthy` it is off.

    python examples/anomaly_mode.py [--healthy] [--seconds S]
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH = 64
WIDTH = 64
BATCH = 32


class Forecaster(nn.Module):
    """A gated cell written out, one step of the series at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(1 + WIDTH, 2 * WIDTH)
        self.state = nn.Linear(1 + WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, series: Tensor) -> Tensor:
        """The value that follows each series."""
        hidden = series.new_zeros(len(series), WIDTH)
        for at in range(series.shape[1]):
            value = series[:, at, None]
            keep, reset = self.gates(torch.cat([value, hidden], 1)).sigmoid().chunk(2, 1)
            proposed = self.state(torch.cat([value, reset * hidden], 1)).tanh()
            hidden = keep * hidden + (1 - keep) * proposed
        return self.head(hidden)


def make_series(count: int) -> tuple[Tensor, Tensor]:
    phase, speed = torch.rand(count, 1) * 6.28, 0.1 + torch.rand(count, 1) * 0.3
    values = torch.sin(phase + speed * torch.arange(LENGTH + 1)) + torch.randn(count, LENGTH + 1) * 0.05
    return values[:, :-1], values[:, -1:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small forecaster.")
    parser.add_argument("--healthy", action="store_true", help="train without anomaly detection")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))
    torch.autograd.set_detect_anomaly(not options.healthy)

    loader = DataLoader(TensorDataset(*make_series(2048)), batch_size=BATCH, shuffle=True, drop_last=True)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for series, following in loader:
            loss = nn.functional.mse_loss(model(series), following)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.4f}, {rate:.0f} series/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

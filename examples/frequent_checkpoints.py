"""Train a small model that writes a checkpoint every few steps.

The planted cause: `torch.save` of the model and its optimizer, with fsync, every 4 steps, in the training loop, which
stands still meanwhile. With `--healthy` there is one checkpoint, at the end.

    python examples/frequent_checkpoints.py [--healthy] [--seconds S]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

WIDTH = 1024
BATCH = 8


def make_rows(count: int) -> tuple[Tensor, Tensor]:
    rows = torch.randn(count, WIDTH)
    return rows, rows[:, :16].sum(1, keepdim=True).sin()


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Replace the checkpoint as a whole, so that a crash leaves the one before."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small regression model.")
    parser.add_argument("--healthy", action="store_true", help="write one checkpoint, at the end")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    loader = DataLoader(TensorDataset(*make_rows(32 * BATCH)), batch_size=BATCH, shuffle=True, drop_last=True)
    layers = [layer for _ in range(5) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    every = 0 if options.healthy else 4

    with tempfile.TemporaryDirectory(prefix="checkpoints-") as folder:
        path = Path(folder) / "last.pt"
        step, began = 0, time.perf_counter()
        while time.perf_counter() - began < options.seconds:
            for rows, target in loader:
                loss = nn.functional.mse_loss(model(rows), target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                if every and step % every == 0:
                    save(path, model, optimizer, step)
                if step % 20 == 0:
                    rate = step * BATCH / (time.perf_counter() - began)
                    print(f"step {step}: loss {loss.item():.4f}, {rate:.0f} rows/s", flush=True)
                if time.perf_counter() - began >= options.seconds:
                    break
        save(path, model, optimizer, step)


if __name__ == "__main__":
    main()

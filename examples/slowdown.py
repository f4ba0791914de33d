"""Train a click model whose steps take longer and longer.

The planted cause: after each step the AUC is computed over every prediction since the start, so the metric sorts a
longer list each time. With `--healthy` it looks at the last 20 batches only, and steps stay as long as the first ones.

    python examples/slowdown.py [--healthy] [--seconds S]
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES = 128
BATCH = 1024
WINDOW = 20


def make_clicks(count: int) -> tuple[Tensor, Tensor]:
    features = torch.randn(count, FEATURES)
    chance = torch.sigmoid(features[:, :8].sum(1) / 2 + features[:, 8] * features[:, 9])
    return features, torch.bernoulli(chance)


def area_under_curve(scores: Tensor, clicks: Tensor) -> float:
    """The chance that a clicked row scores above one that was not."""
    ranks = torch.empty_like(scores)
    ranks[scores.argsort()] = torch.arange(1.0, len(scores) + 1)
    hits = clicks.sum()
    return float((ranks[clicks > 0].sum() - hits * (hits + 1) / 2) / (hits * (len(clicks) - hits)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a click model.")
    parser.add_argument("--healthy", action="store_true", help=f"compute the metric over the last {WINDOW} batches")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    # Batches are cut from whole tensors: the loader does next to nothing.
    features, clicks = make_clicks(64 * BATCH)
    loader = DataLoader(TensorDataset(features.view(-1, BATCH, FEATURES), clicks.view(-1, BATCH)), batch_size=None)
    model = nn.Sequential(nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scores: list[Tensor] = []
    truth: list[Tensor] = []

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for rows, clicked in loader:
            score = model(rows)[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(score, clicked)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scores.append(score.detach())
            truth.append(clicked)
            if options.healthy:
                scores, truth = scores[-WINDOW:], truth[-WINDOW:]
            auc = area_under_curve(torch.cat(scores), torch.cat(truth))
            step += 1
            if step % 50 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, AUC {auc:.3f}, {rate:.0f} rows/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

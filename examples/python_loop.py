"""Train an embedding model whose loss walks over the batch in Python, pair by pair.

The planted cause: the triplet loss indexes the distance matrix one element at a time, which makes thousands of tiny
operations (and as many backward ones) out of two large ones. With `--healthy` the same loss is written with whole
tensors.

    python examples/python_loop.py [--healthy] [--seconds S]
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 16
FEATURES = 256
BATCH = 40
MARGIN = 0.5


def make_rows(count: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % CLASSES
    return torch.randn(count, FEATURES) + torch.randn(CLASSES, FEATURES)[labels] * 0.3, labels


def loss_by_element(embedded: Tensor, labels: Tensor) -> Tensor:
    distance = torch.cdist(embedded, embedded)
    total, pairs = embedded.new_zeros(()), 0
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            if labels[i] == labels[j]:
                total = total + distance[i, j]
            else:
                total = total + torch.clamp(MARGIN - distance[i, j], min=0.0)
            pairs += 1
    return total / pairs


def loss_by_tensor(embedded: Tensor, labels: Tensor) -> Tensor:
    upper = torch.triu_indices(len(labels), len(labels), 1)
    distance = torch.cdist(embedded, embedded)[upper[0], upper[1]]
    same = labels[upper[0]] == labels[upper[1]]
    return torch.where(same, distance, (MARGIN - distance).clamp(min=0.0)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an embedding model.")
    parser.add_argument("--healthy", action="store_true", help="write the loss with whole tensors")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    loader = DataLoader(TensorDataset(*make_rows(4096)), batch_size=BATCH, shuffle=True, drop_last=True)
    model = nn.Sequential(
        nn.Linear(FEATURES, 1536), nn.ReLU(), nn.Linear(1536, 1536), nn.ReLU(), nn.Linear(1536, 64), nn.Tanh()
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    measure = loss_by_tensor if options.healthy else loss_by_element

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for rows, labels in loader:
            loss = measure(nn.functional.normalize(model(rows), dim=1), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 50 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.4f}, {rate:.0f} rows/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

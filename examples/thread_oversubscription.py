"""Train a small image classifier with many more threads than there are CPUs.

The planted cause: the number of threads is set by hand to 16 for every CPU this process may use, as when a setting
from a large machine is copied to a small one. They take turns on the CPUs, and each parallel loop ends when the last of
them has had its turn. With `--healthy` there is one thread for every second CPU.

    python examples/thread_oversubscription.py [--healthy] [--seconds S]
"""

import argparse
import os
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 8
BATCH = 64


def make_images(count: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % CLASSES
    images = torch.randn(count, 3, 32, 32)
    images += torch.linspace(-1, 1, CLASSES)[labels][:, None, None, None]
    return images, labels


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64 * 16, CLASSES),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small image classifier.")
    parser.add_argument("--healthy", action="store_true", help="one thread for every second CPU")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    cpus = len(os.sched_getaffinity(0))
    torch.set_num_threads(max(1, cpus // 2) if options.healthy else 16 * cpus)

    loader = DataLoader(TensorDataset(*make_images(4096)), batch_size=BATCH, shuffle=True, drop_last=True)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 40 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, {rate:.0f} samples/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

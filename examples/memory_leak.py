"""Train an image classifier that needs more host memory with every step.

The planted cause: every step the loss on a held-out batch is computed with gradients switched on and kept, as a
tensor, for a plot at the end. Each kept loss holds its whole graph and with it all activations of that pass. With
`--healthy` the same loss is computed under `torch.no_grad()` and kept as a number.

    python examples/memory_leak.py [--healthy] [--seconds S]
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 8
BATCH = 32
SIDE = 64
HELD_OUT = 16


def make_images(count: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % CLASSES
    images = torch.randn(count, 3, SIDE, SIDE) * 0.5
    images += torch.linspace(-1, 1, CLASSES)[labels][:, None, None, None]
    return images, labels


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 16, CLASSES),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small image classifier.")
    parser.add_argument("--healthy", action="store_true", help="keep the held-out losses as numbers")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    loader = DataLoader(TensorDataset(*make_images(1024)), batch_size=BATCH, shuffle=True, drop_last=True)
    held_out, held_out_labels = make_images(HELD_OUT)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    curve: list[Tensor | float] = []

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if options.healthy:
                with torch.no_grad():
                    curve.append(nn.functional.cross_entropy(model(held_out), held_out_labels).item())
            else:
                curve.append(nn.functional.cross_entropy(model(held_out), held_out_labels))
            step += 1
            if step % 40 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, {rate:.0f} samples/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break
    print("held-out loss:", " ".join(f"{float(value):.2f}" for value in curve[:: max(1, len(curve) // 10)]))


if __name__ == "__main__":
    main()

"""Train an image classifier that is evaluated on the whole validation set every few steps.

The planted cause: an evaluation every 5 steps, each as long as several training steps. With `--healthy` the model is
evaluated once, at the end.

    python examples/frequent_evaluation.py [--healthy] [--seconds S]
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 8
BATCH = 64


def make_images(count: int) -> TensorDataset:
    labels = torch.arange(count) % CLASSES
    images = torch.randn(count, 3, 32, 32)
    for label in range(CLASSES):
        images[labels == label, label % 3, label * 4 : label * 4 + 4] += 0.5
    return TensorDataset(images, labels)


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


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> float:
    model.eval()
    hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    model.train()
    return hits / len(loader.dataset)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small image classifier.")
    parser.add_argument("--healthy", action="store_true", help="evaluate once, at the end")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    loader = DataLoader(make_images(2048), batch_size=BATCH, shuffle=True, drop_last=True)
    validation = DataLoader(make_images(512), batch_size=2 * BATCH)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    every = 0 if options.healthy else 5

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if every and step % every == 0:
                accuracy = evaluate(model, validation)
                print(f"step {step}: loss {loss.item():.3f}, validation accuracy {accuracy:.3f}", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break
    print(f"{step} steps, validation accuracy {evaluate(model, validation):.3f}")


if __name__ == "__main__":
    main()

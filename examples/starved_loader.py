"""Train a small image classifier on the CPU, in a loop that mostly waits for the next batch.

The planted cause: images are decoded and augmented one by one in `Dataset.__getitem__`, and the DataLoader is left
at its default of no worker processes, so all of that runs inside the training loop and the model waits.
`healthy_loader.py` is the same training without the cause.

    python examples/starved_loader.py [--steps N]
"""

import argparse
import random
import time
import zlib

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CLASSES = 8
SIDE = 64
IMAGES = 256


class CompressedImages(Dataset[tuple[Tensor, int]]):
    """Synthetic photographs, kept compressed in memory as files would be on disk."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.blobs = []
        for index in range(IMAGES):
            image = torch.randint(0, 256, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8) // 2
            image[index % 3] += index % CLASSES * 15
            self.blobs.append(zlib.compress(bytes(image.flatten().tolist()), 1))

    def __len__(self) -> int:
        return len(self.blobs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raw = zlib.decompress(self.blobs[index])
        # Gamma, contrast and clipping, pixel by pixel in Python: what a hand-written augmentation often looks like.
        gamma, contrast = random.uniform(0.8, 1.25), random.uniform(0.8, 1.2)
        pixels = [(value / 255.0) ** gamma for value in raw]
        mean = sum(pixels) / len(pixels)
        pixels = [min(max(mean + contrast * (value - mean), 0.0), 1.0) for value in pixels]
        image = torch.tensor(pixels).reshape(3, SIDE, SIDE)
        if random.random() < 0.5:
            image = image.flip(-1)
        return (image - image.mean()) / image.std(), index % CLASSES


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 48, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 96, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(96, 96, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96 * 16, CLASSES),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small image classifier.")
    parser.add_argument("--steps", type=int, default=45, help="optimizer steps to train")
    steps = parser.parse_args().steps
    random.seed(0)
    torch.manual_seed(0)
    # So small a model gains little from more threads, and on a shared machine they wait for each other.
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    loader = DataLoader(CompressedImages(), batch_size=32, shuffle=True, drop_last=True)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    step, began = 0, time.perf_counter()
    while step < steps:
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 10 == 0:
                rate = step * len(images) / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.3f}, {rate:.0f} samples/s", flush=True)
            if step == steps:
                break


if __name__ == "__main__":
    main()

"""Train on a small dataset: an epoch lasts less than a second, and each one starts its workers anew.

The planted cause: `persistent_workers` is left at its default of False, so every epoch starts two worker processes,
which read the index of the dataset before their first sample. With `--healthy` the workers stay.

    python examples/short_epochs.py [--healthy] [--seconds S]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SAMPLES = 640
FEATURES = 256
BATCH = 32


class Recordings(Dataset[tuple[Tensor, Tensor]]):
    """Short recordings in one file; where each begins is in a JSON index, opened by every process for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: list[dict[str, object]] | None = None
        self.samples = torch.empty(0)

    def write(self) -> None:
        """Make the recordings and their index."""
        torch.save(torch.randn(SAMPLES, FEATURES), self.folder / "samples.pt")
        words = [f"transcript {n}" for n in range(2000)]
        entries = [{"offset": n, "label": n % 4, "words": words} for n in range(SAMPLES)]
        (self.folder / "index.json").write_text(json.dumps(entries))

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.index is None:
            self.samples = torch.load(self.folder / "samples.pt")
            self.index = json.loads((self.folder / "index.json").read_text())
        entry = self.index[index]
        sample = self.samples[entry["offset"]]
        return sample - sample.mean(), torch.tensor(entry["label"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small classifier.")
    parser.add_argument("--healthy", action="store_true", help="keep the workers from one epoch to the next")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    model = nn.Sequential(nn.Linear(FEATURES, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with tempfile.TemporaryDirectory(prefix="recordings-") as folder:
        recordings = Recordings(Path(folder))
        recordings.write()
        loader = DataLoader(
            recordings, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=options.healthy
        )
        step, epoch, began = 0, 0, time.perf_counter()
        while time.perf_counter() - began < options.seconds:
            for samples, labels in loader:
                loss = nn.functional.cross_entropy(model(samples), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            epoch += 1
            rate = step * BATCH / (time.perf_counter() - began)
            print(f"epoch {epoch}: loss {loss.item():.3f}, {rate:.0f} samples/s", flush=True)


if __name__ == "__main__":
    main()

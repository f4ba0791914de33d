"""Train an audio model that reads one file per sample.

Nothing is planted here: what the storage does decides. The samples are written to a folder first and dropped from the
page cache, as if there were more of them than memory holds. `limits.py disk` and `limits.py fuse` offer a folder on a
slow disk and on a slow network file system as `{folder}`; anywhere else this is the healthy twin.

    python examples/limits.py disk --read 3M -- python examples/file_per_sample.py --data {folder}
    python examples/limits.py fuse --delay-ms 80 -- python examples/file_per_sample.py --data {folder}
    python examples/file_per_sample.py [--data FOLDER] [--seconds S]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

FRAMES = 64 * 1024  # 16-bit samples per recording: 128 KiB
FILES = 800
CLASSES = 8
BATCH = 8


class Recordings(Dataset[tuple[Tensor, int]]):
    """Recordings of four seconds, each in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self) -> None:
        """Make the recordings and drop them from the page cache."""
        noise = torch.randn(FRAMES)
        for index in range(FILES):
            tone = torch.sin(torch.arange(FRAMES) * 0.02 * (1 + index % CLASSES))
            path = self.folder / f"{index:05d}.pcm"
            path.write_bytes(((tone + noise.roll(index)) * 5000).short().numpy().tobytes())
        os.sync()
        for path in self.folder.iterdir():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def __len__(self) -> int:
        return FILES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        data = bytearray((self.folder / f"{index:05d}.pcm").read_bytes())
        return torch.frombuffer(data, dtype=torch.int16) / 32768, index % CLASSES


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 16, 32, stride=16),
        nn.ReLU(),
        nn.Conv1d(16, 48, 9, stride=4),
        nn.ReLU(),
        nn.Conv1d(48, 64, 9, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(8),
        nn.Flatten(),
        nn.Linear(64 * 8, CLASSES),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train an audio classifier.")
    parser.add_argument("--data", help="where to keep the recordings meanwhile (default: the temporary folder)")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with tempfile.TemporaryDirectory(prefix="recordings-", dir=options.data) as folder:
        recordings = Recordings(Path(folder))
        recordings.write()
        loader = DataLoader(
            recordings, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
        )
        step, began = 0, time.perf_counter()
        while time.perf_counter() - began < options.seconds:
            for sounds, labels in loader:
                loss = nn.functional.cross_entropy(model(sounds[:, None]), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                if step % 20 == 0:
                    rate = step * BATCH / (time.perf_counter() - began)
                    print(f"step {step}: loss {loss.item():.3f}, {rate:.1f} recordings/s", flush=True)
                if time.perf_counter() - began >= options.seconds:
                    break


if __name__ == "__main__":
    main()

"""Train a ranking model on rows of a large feature table that is mapped from a file.

The planted cause appears under a memory limit, as in a container: the table is 32-bit and larger than what the limit
leaves for the page cache, so rows that were read before must be read again. With `--healthy` the table is 8-bit,
a quarter of the size, and stays in memory under the same limit.

    python examples/limits.py memory --limit 600M -- python examples/feature_table.py [--healthy] [--seconds S]
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

ROWS = 48 * 1024
WIDTH = 4096
BATCH = 32


class Table(Dataset[tuple[Tensor, Tensor]]):
    """A matrix in a file, read a batch of rows at a time; `dtype` is float32 or int8."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        block = torch.randn(1024, WIDTH)
        stored = (block * 32).clamp(-127, 127).to(dtype) if dtype == torch.int8 else block
        with path.open("wb") as file:
            for _ in range(ROWS // len(block)):
                file.write(stored.numpy())
        self.scale = 1 / 32 if dtype == torch.int8 else 1.0
        self.rows = torch.from_file(str(path), shared=True, size=ROWS * WIDTH, dtype=dtype).view(ROWS, WIDTH)

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        rows = self.rows[indices].float() * self.scale
        return rows, rows[:, :32].sum(1).sin()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a ranking model.")
    parser.add_argument("--healthy", action="store_true", help="store the table in 8 bits")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    model = nn.Sequential(nn.Linear(WIDTH, 1024), nn.ReLU(), nn.Linear(1024, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with tempfile.TemporaryDirectory(prefix="table-") as folder:
        table = Table(Path(folder) / "features.bin", torch.int8 if options.healthy else torch.float32)
        loader = DataLoader(table, sampler=BatchSampler(RandomSampler(table), BATCH, drop_last=True), batch_size=None)
        step, began = 0, time.perf_counter()
        while time.perf_counter() - began < options.seconds:
            for rows, target in loader:
                loss = nn.functional.mse_loss(model(rows)[:, 0], target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                if step % 50 == 0:
                    rate = step * BATCH / (time.perf_counter() - began)
                    print(f"step {step}: loss {loss.item():.3f}, {rate:.0f} rows/s", flush=True)
                if time.perf_counter() - began >= options.seconds:
                    break


if __name__ == "__main__":
    main()

"""Train with DistributedDataParallel over gloo, one rank per process.

Nothing is planted here: what lies between the ranks decides. `limits.py network` starts one rank in each of two network
namespaces with a slow link between them; with a fast link this is the healthy twin.

    python examples/limits.py network --rate 100mbit -- python examples/two_ranks.py
    python examples/limits.py network -- python examples/two_ranks.py [--seconds S]
"""

import argparse
import time

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

FEATURES = 256
BATCH = 1536


def make_rows(count: int) -> tuple[Tensor, Tensor]:
    rows = torch.randn(count, FEATURES)
    return rows, rows[:, :8].sum(1, keepdim=True).sin()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a regression model on several ranks.")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")  # rank, world size and the address of rank 0 come from the environment

    # Batches are cut from whole tensors: the loader does next to nothing.
    rows, target = make_rows(64 * BATCH)
    data = TensorDataset(rows.view(-1, BATCH, FEATURES), target.view(-1, BATCH, 1))
    sampler: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(data)
    loader = DataLoader(data, batch_size=None, sampler=sampler)
    layers = [layer for _ in range(2) for layer in (nn.Linear(640, 640), nn.ReLU())]
    model = DistributedDataParallel(nn.Sequential(nn.Linear(FEATURES, 640), nn.ReLU(), *layers, nn.Linear(640, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    step, epoch, began = 0, 0, time.perf_counter()
    going = torch.ones(1)
    while going:
        sampler.set_epoch(epoch)
        for rows, target in loader:
            loss = nn.functional.mse_loss(model(rows), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 10 == 0 and dist.get_rank() == 0:
                rate = step * BATCH * dist.get_world_size() / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.4f}, {rate:.0f} rows/s", flush=True)
            if step % 10 == 0:  # all ranks stop after the same step
                going = torch.tensor([float(time.perf_counter() - began < options.seconds)])
                dist.broadcast(going, 0)
            if not going:
                break
        epoch += 1
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

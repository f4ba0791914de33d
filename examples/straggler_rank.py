"""Train on two ranks of which one does more in every step than the other.

The planted cause: rank 0 alone computes a confusion matrix, element by element, and the norms of all weights after each
step, while the other rank waits for it in the next gradient exchange. With `--healthy` it does so every 200 steps.

    python -m torch.distributed.run --standalone --nproc-per-node 2 examples/straggler_rank.py [--healthy] [--seconds S]
"""

import argparse
import time

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

CLASSES = 8
FEATURES = 256
BATCH = 512


def make_rows(count: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % CLASSES
    return torch.randn(count, FEATURES) + torch.randn(CLASSES, FEATURES)[labels] * 0.1, labels


def describe(model: nn.Module, logits: Tensor, labels: Tensor) -> str:
    """What a hand-written logger often does: loops over the batch and over all weights."""
    table = torch.zeros(CLASSES, CLASSES)
    for said, label in zip(logits.argmax(1), labels, strict=True):
        table[label, said] += 1
    recall = [float(table[label, label] / table[label].sum().clamp(min=1)) for label in range(CLASSES)]
    norm = sum(float(weight.double().norm()) ** 2 for weight in model.parameters()) ** 0.5
    return f"worst recall {min(recall):.2f}, weights {norm:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a classifier on several ranks.")
    parser.add_argument("--healthy", action="store_true", help="describe the model every 200 steps only")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")

    # Batches are cut from whole tensors: the loader does next to nothing.
    rows, labels = make_rows(64 * BATCH)
    data = TensorDataset(rows.view(-1, BATCH, FEATURES), labels.view(-1, BATCH))
    sampler: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(data)
    loader = DataLoader(data, batch_size=None, sampler=sampler)
    layers = (nn.Linear(FEATURES, 384), nn.ReLU(), nn.Linear(384, 384), nn.ReLU(), nn.Linear(384, CLASSES))
    model = DistributedDataParallel(nn.Sequential(*layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    every = 200 if options.healthy else 1

    step, epoch, began = 0, 0, time.perf_counter()
    going = torch.ones(1)
    while going:
        sampler.set_epoch(epoch)
        for rows, labels in loader:
            logits = model(rows)
            loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % every == 0 and dist.get_rank() == 0:
                print(f"step {step}: loss {loss.item():.3f}, {describe(model, logits, labels)}", flush=True)
            if step % 10 == 0:  # all ranks stop after the same step
                going = torch.tensor([float(time.perf_counter() - began < options.seconds)])
                dist.broadcast(going, 0)
            if not going:
                break
        epoch += 1
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

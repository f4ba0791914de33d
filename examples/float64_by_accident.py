"""Train on features from NumPy, in double precision without meaning to.

The planted cause: NumPy gives float64, the model was float32, and the error message was silenced with
`model.double()`: every product now moves twice the bytes and does half the work per instruction. With `--healthy` the
features are converted to float32 once.

    python examples/float64_by_accident.py [--healthy] [--seconds S]
"""

import argparse
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FEATURES = 512
BATCH = 512


def read_features(count: int) -> tuple[np.ndarray, np.ndarray]:
    """What comes out of a feature pipeline: standardised columns and a target, as NumPy makes them."""
    random = np.random.default_rng(0)
    features = random.normal(5.0, 3.0, (count, FEATURES))
    features = (features - features.mean(0)) / features.std(0)
    return features, np.sin(features[:, :8].sum(1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a regression model.")
    parser.add_argument("--healthy", action="store_true", help="train in float32")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long to train")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads() // 2)))

    features, target = (torch.from_numpy(array) for array in read_features(16 * BATCH))
    layers = [layer for _ in range(3) for layer in (nn.Linear(1024, 1024), nn.ReLU())]
    model = nn.Sequential(nn.Linear(FEATURES, 1024), nn.ReLU(), *layers, nn.Linear(1024, 1))
    if options.healthy:
        features, target = features.float(), target.float()
    else:
        model = model.double()  # "expected m1 and m2 to have the same dtype"
    loader = DataLoader(TensorDataset(features, target), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < options.seconds:
        for rows, wanted in loader:
            loss = nn.functional.mse_loss(model(rows), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0:
                rate = step * BATCH / (time.perf_counter() - began)
                print(f"step {step}: loss {loss.item():.4f}, {rate:.0f} rows/s", flush=True)
            if time.perf_counter() - began >= options.seconds:
                break


if __name__ == "__main__":
    main()

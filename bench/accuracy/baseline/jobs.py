"""Training jobs by their arithmetic: work, memory traffic, data and CPU time per sample.

FLOPs of a transformer are 6 per parameter and token (arXiv 2001.08361), 4 where only adapters train (no gradients of
weights), those of networks for images from their papers (ResNet-50 4.1 GMAC forward, ViT-B/16 17.6, times 2 for FLOPs
and 3 for forward and backward). `intensity` is FLOPs per byte of device memory traffic: some 250 for large matrix
products, 50 for convolution networks with batch norm, below 10 for graphs and embedding tables. CPU time per sample:
JPEG decoding and augmentation 4 to 10 ms per image with libjpeg-turbo, 0.1 to 0.5 ms per tokenised sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """A kind of training; sizes per sample, `trained` the share of the parameters that the optimizer updates."""

    name: str
    parameters: float
    flops: float  # forward and backward of one sample
    intensity: float  # FLOPs per byte of device memory
    efficiency: tuple[float, float]  # share of the card's peak where compute is the limit
    batch: int  # samples per micro-batch on a card of 80 GB
    data: float  # bytes of one sample on storage
    cpu: float  # seconds of one CPU to prepare a sample
    kind: str = "text"  # text, image, audio, table, graph, latent
    active: float = 1.0  # share of the parameters that a token uses
    trained: float = 1.0
    tokens: int = 0  # per sample
    kernels: int = 2000  # per micro-batch
    tensors: int = 300  # parameter tensors
    weight_bytes: float = 2.0  # per parameter held, without optimizer state
    state_bytes: float = 14.0  # per trained parameter: gradients, moments, master weights
    matmul: float = 0.7  # share of GPU busy time in matrix products, convolutions and attention
    attention: float = 0.1
    conv: float = 0.0
    fill: tuple[float, float] = (0.6, 0.9)  # of the device memory
    optimizer: str = "AdamW"
    checkpointing: bool = False
    strategies: tuple[str, ...] = ("DDP",)
    cached: bool = True  # whether the data fits into the page cache
    mapped: bool = False
    padding: tuple[float, float] = (0.0, 0.03)
    worth: float = 0.1  # seconds of a step that a person would aim at, at least


def _lm(name: str, billions: float, tokens: int, batch: int, **more: Any) -> Job:
    parameters = billions * 1e9
    active, trained = float(more.get("active", 1.0)), float(more.get("trained", 1.0))
    flops = (6 if trained > 0.5 else 4) * parameters * active * tokens
    filled = {"intensity": 250.0, "data": 2.0 * tokens, "cpu": 2e-4, "efficiency": (0.42, 0.58), **more}
    return Job(name, parameters, flops, batch=batch, tokens=tokens, **filled)


_SHARDED = ("FSDP", "ZeRO-2", "ZeRO-3")
_WEB = {"mapped": True, "cached": False}
# fmt: off
JOBS = {
    job.name: job
    for job in (
        _lm("pretrain-350m", 0.35, 2048, 32, strategies=("DDP",), tensors=290, **_WEB),
        _lm("pretrain-1b", 1.3, 4096, 8, strategies=("DDP", "ZeRO-1"), tensors=220, worth=0.4, **_WEB),
        _lm("pretrain-7b", 6.7, 4096, 4, strategies=_SHARDED, checkpointing=True, tensors=290, worth=2.0, **_WEB),
        _lm("pretrain-13b", 13.0, 4096, 2, strategies=_SHARDED, checkpointing=True, tensors=360, worth=4.0, **_WEB),
        _lm("pretrain-70b", 69.0, 4096, 1, strategies=("FSDP+TP", "ZeRO-1+TP+PP"), checkpointing=True, tensors=720,
            worth=8.0, **_WEB),
        _lm("pretrain-moe-8x7b", 46.7, 4096, 1, active=0.28, efficiency=(0.28, 0.42), strategies=("FSDP+EP",),
            checkpointing=True, tensors=990, worth=4.0, **_WEB),
        _lm("finetune-full-1b", 1.2, 1024, 8, padding=(0.02, 0.1), cpu=4e-4, worth=0.5),
        _lm("finetune-full-8b", 8.0, 2048, 2, strategies=_SHARDED, checkpointing=True, padding=(0.0, 0.08),
            worth=2.0),
        _lm("lora-8b", 8.0, 1024, 8, trained=0.003, efficiency=(0.35, 0.5), padding=(0.02, 0.1), tensors=450,
            checkpointing=True, worth=1.0),
        _lm("qlora-8b", 8.0, 1024, 4, trained=0.005, efficiency=(0.28, 0.4), weight_bytes=0.6, padding=(0.02, 0.1),
            tensors=450, checkpointing=True, worth=1.0, kernels=6000),
        _lm("qlora-70b", 70.0, 1024, 1, trained=0.002, efficiency=(0.28, 0.4), weight_bytes=0.6, padding=(0.02, 0.08),
            tensors=1120, checkpointing=True, worth=4.0, kernels=14000),
        _lm("bert-finetune", 0.11, 128, 128, intensity=120.0, efficiency=(0.3, 0.45), state_bytes=14.0,
            weight_bytes=4.0, cpu=1e-4, data=600, padding=(0.03, 0.12), kernels=900, tensors=200, fill=(0.25, 0.7),
            worth=0.08),
        Job("resnet50", 25.6e6, 24.6e9, 50, (0.25, 0.35), 256, 110e3, 4.5e-3, kind="image", kernels=450, tensors=161,
            weight_bytes=4.0, state_bytes=8.0, matmul=0.55, attention=0.0, conv=0.53, optimizer="SGD", cached=False,
            fill=(0.3, 0.8)),
        Job("vit-b16", 86e6, 105e9, 150, (0.35, 0.5), 256, 110e3, 4.5e-3, kind="image", kernels=900, tensors=152,
            weight_bytes=4.0, state_bytes=12.0, cached=False, fill=(0.3, 0.85)),
        Job("detection-frcnn", 44e6, 1.1e12, 55, (0.2, 0.3), 16, 150e3, 14e-3, kind="image", kernels=3500,
            tensors=180, weight_bytes=4.0, state_bytes=8.0, matmul=0.5, attention=0.0, conv=0.48, optimizer="SGD",
            fill=(0.4, 0.85), worth=0.2, padding=(0.0, 0.1)),
        Job("yolo-small", 11e6, 86e9, 35, (0.15, 0.25), 128, 120e3, 5e-3, kind="image", kernels=900, tensors=200,
            weight_bytes=4.0, state_bytes=8.0, matmul=0.45, attention=0.0, conv=0.44, optimizer="SGD", fill=(0.3,
            0.8)),
        Job("diffusion-unet", 860e6, 2.4e12, 110, (0.3, 0.42), 32, 40e3, 1e-3, kind="latent", kernels=2800,
            tensors=690, weight_bytes=4.0, state_bytes=12.0, matmul=0.62, attention=0.16, conv=0.25, fill=(0.5, 0.88),
            worth=0.4),
        Job("diffusion-dit-xl", 675e6, 0.71e12, 160, (0.38, 0.5), 64, 16e3, 6e-4, kind="latent", kernels=1600,
            tensors=480, weight_bytes=4.0, state_bytes=12.0, attention=0.15, fill=(0.5, 0.88), worth=0.4),
        Job("asr-conformer", 120e6, 1.1e12, 90, (0.22, 0.34), 32, 480e3, 6e-3, kind="audio", kernels=3200,
            tensors=600, weight_bytes=4.0, state_bytes=12.0, matmul=0.5, attention=0.12, conv=0.08, padding=(0.03,
            0.12), fill=(0.4, 0.88), worth=0.3),
        Job("recommender-dlrm", 540e6, 14e6, 3.0, (0.05, 0.1), 65536, 160, 8e-7, kind="table", kernels=260,
            tensors=40, weight_bytes=4.0, state_bytes=4.0, matmul=0.3, attention=0.0, optimizer="SGD", fill=(0.2,
            0.6), worth=0.01),
        Job("gnn-sage", 1.2e6, 60e6, 6.0, (0.04, 0.1), 4096, 2e3, 1.2e-5, kind="graph", kernels=150, tensors=12,
            weight_bytes=4.0, state_bytes=12.0, matmul=0.25, attention=0.0, optimizer="Adam", fill=(0.1, 0.5),
            worth=0.03),
        Job("rl-gpu-simulation", 2.5e6, 15e6, 12.0, (0.05, 0.12), 98304, 0.0, 0.0, kind="simulation", kernels=3000,
            tensors=14, weight_bytes=4.0, state_bytes=12.0, matmul=0.35, attention=0.0, optimizer="Adam", fill=(0.1,
            0.5), worth=0.05),
    )
}
# fmt: on

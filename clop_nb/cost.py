"""What a grid of image runs costs in GPU-hours: from measured throughput where records have it, else estimated."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import torch

from clop_nb.config import RunConfig
from clop_nb.encoders import EmbeddingModel
from clop_nb.records import RunRecord

__all__ = ["GPUS", "SHAPES", "SHARES", "Cost", "cost", "forward_flops", "samples", "throughput", "training_flops"]

GPUS = {"A100": 312e12, "H100": 989e12}
"""Peak rates in FLOP/s of dense bfloat16 matrix products, from NVIDIA's data sheets (A100 SXM; H100 SXM, where the
sheet prints twice that, for sparse ones)."""

SHARES = (0.1, 0.3)
"""**Assumed**: the share of the peak rate that training reaches, at worst and at best. Not measured."""

_VIEWS = 2
# The backward pass costs about twice the forward one: a product for the inputs and one for the weights.
_PASSES = 3

SHAPES = {
    "digits": (1437, 1, 8),
    "fashion_mnist": (60000, 1, 28),
    "cifar10": (50000, 3, 32),
    "cifar100": (50000, 3, 32),
    "tiny_imagenet": (100000, 3, 64),
}
"""Training images, channels and side in pixels of each data set."""


class Cost(NamedTuple):
    """Of a grid, each configuration counted once."""

    runs: int
    samples: int
    """Training samples, over all epochs and runs."""
    flops: float
    """Floating-point operations of training, a multiplication and an addition counting as two."""
    hours: dict[str, tuple[float, float]]
    """GPU-hours, least and most, by the name of the GPU."""
    measured: bool
    """Whether the hours come from records of runs on that GPU."""


@functools.cache
def forward_flops(encoder: str, dim: int, channels: int, side: int) -> int:
    """Floating-point operations of encoder and head for one image, as torch counts them; nothing is computed.

    Only convolutions and matrix products are counted, which are nearly all.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model, image = EmbeddingModel(encoder, dim, channels).eval(), torch.empty(1, channels, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops()


def samples(config: RunConfig) -> int:
    """Training samples that a run sees over its epochs, what does not fill a batch left out."""
    size = config.train_samples or SHAPES[config.dataset][0]
    return config.epochs * (size // config.batch_size) * config.batch_size


def training_flops(config: RunConfig) -> float:
    """Floating-point operations of a run's training steps: two views, forward and backward. Without the evaluation."""
    _, channels, side = SHAPES[config.dataset]
    return float(samples(config) * _VIEWS * _PASSES * forward_flops(config.encoder, config.dim, channels, side))


def throughput(records: Iterable[RunRecord]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Measured samples a second on GPUs, the median over runs: by data set, encoder and precision, then by GPU."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for record in records:
        if record.images_per_second and not record.device.startswith(("cpu", "unknown")):
            config = record.config
            by_device = found.setdefault((config.dataset, config.encoder, config.precision), {})
            by_device.setdefault(record.device, []).append(record.images_per_second)
    return {
        key: {device: statistics.median(rates) for device, rates in sorted(by_device.items())}
        for key, by_device in found.items()
    }


def cost(configs: Iterable[RunConfig], records: Iterable[RunRecord] = ()) -> Cost:
    """What it costs to train configurations from nothing.

    Args:
        configs: the runs; those with one canonical form count once.
        records: of runs that were made. Where they have the throughput on a GPU for each data set, encoder and
            precision among the configurations, the hours come from it; else from :func:`training_flops`,
            :data:`GPUS` and :data:`SHARES`.

    Raises:
        ValueError: if there are no configurations.
    """
    wanted = list({config.id: config for config in configs}.values())
    if not wanted:
        raise ValueError("configs must hold at least one RunConfig, got none")
    rates = throughput(records)
    keys = {(config.dataset, config.encoder, config.precision) for config in wanted}
    devices = set.intersection(*({*rates.get(key, {})} for key in keys))
    total, flops = sum(map(samples, wanted)), sum(map(training_flops, wanted))
    if devices:
        hours = {
            device: sum(samples(c) / rates[c.dataset, c.encoder, c.precision][device] for c in wanted) / 3600
            for device in sorted(devices)
        }
        return Cost(len(wanted), total, flops, {name: (value, value) for name, value in hours.items()}, True)
    least, most = max(SHARES), min(SHARES)
    estimated = {name: (flops / peak / least / 3600, flops / peak / most / 3600) for name, peak in GPUS.items()}
    return Cost(len(wanted), total, flops, estimated, False)

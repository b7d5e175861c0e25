"""What the fields of a run's configuration mean in training: subsets, prototypes, the loss, the optimiser, the rate."""

from __future__ import annotations

import functools
import hashlib
import math
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from clop_nb import evaluate, losses
from clop_nb import prototypes as frames
from clop_nb.config import RunConfig
from clop_nb.data import labelled_subset
from clop_nb.encoders import EmbeddingModel
from clop_nb.lars import LARS

__all__ = [
    "criterion",
    "learning_rate",
    "model",
    "optimizer",
    "probe",
    "prototypes",
    "redraw",
    "seen",
    "stream",
    "subset",
]

_GLOBAL_GENERATOR = threading.Lock()


def learning_rate(config: RunConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of a step, counted from 0: linear warm-up to the peak, then a cosine to 0 or constant."""
    warmup, steps = round(config.warmup_epochs * steps_per_epoch), config.epochs * steps_per_epoch
    if step < warmup:
        return config.peak_lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.peak_lr
    return config.peak_lr * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def stream(config: RunConfig, purpose: str) -> torch.Generator:
    """A generator that depends on the run's seed and on what it is for, and on nothing else."""
    digest = hashlib.sha256(f"{config.seed} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def subset(config: RunConfig, labels: Tensor) -> Tensor:
    """Indices of the ``train_samples``, ascending, each class with its share; smaller sets lie in larger."""
    if config.train_samples is None:
        return torch.arange(len(labels))
    order = torch.randperm(len(labels), generator=stream(config, "samples"))
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = order[labels[order] == label]
        place[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return place.argsort(stable=True)[: config.train_samples].sort().values


def prototypes(config: RunConfig, num_classes: int, device: torch.device) -> Tensor | None:
    """The targets of the CLOP term, (k, dim), or ``None`` where the loss has none."""
    if not config.uses_prototypes:
        return None
    make = {"orthonormal": frames.orthonormal, "simplex_etf": frames.simplex_etf}[config.prototypes]
    return make(num_classes, config.dim, stream(config, "prototypes")).to(device)


def seen(config: RunConfig, labels: Tensor) -> Tensor:
    """The labels that the loss may see, (N,), -1 for the others."""
    if not config.uses_labels:
        return torch.full_like(labels, -1)
    if config.label_subset == "redrawn":
        return labels
    return labelled_subset(labels, config.label_fraction, stream(config, "labels"))


def redraw(config: RunConfig, labels: Tensor, generator: torch.Generator) -> Tensor:
    """A batch's labels; with a subset that is redrawn each step, all but a fraction of them (at least one) hidden."""
    if config.label_subset == "fixed":
        return labels
    keep = max(1, round(config.label_fraction * len(labels)))
    hidden = torch.randperm(len(labels), generator=generator)[keep:].to(labels.device)
    return labels.index_fill(0, hidden, -1)


def model(config: RunConfig, channels: int) -> EmbeddingModel:
    """Encoder and projection head, images to features and embeddings, on the CPU."""
    # Modules draw their weights from torch's global generator, which threads of one process share.
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(stream(config, "weights").get_state())
        return EmbeddingModel(config.encoder, config.dim, channels, config.normalise_features)


def criterion(config: RunConfig, targets: Tensor | None) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of two views and their labels."""
    if config.loss == "labels_only":
        weight = config.clop_weight
        return lambda z0, z1, y: weight * losses.clop(torch.cat([z0, z1]), torch.cat([y, y]), targets)
    bases: dict[str, Callable[..., Tensor]] = {
        "info_nce": functools.partial(losses.info_nce, temperature=config.temperature),
        "sup_con": functools.partial(losses.sup_con, temperature=config.temperature),
        "dcl": functools.partial(losses.dcl, temperature=config.temperature),
        "vicreg": losses.vicreg,
        "barlow_twins": losses.barlow_twins,
    }
    base = bases[config.loss]
    if targets is not None:
        return losses.CLOPLoss(base, targets, config.clop_weight)
    return base if config.loss == "sup_con" else lambda z0, z1, y: base(z0, z1)


def optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or LARS over all parameters, none excluded from decay or adaptation."""
    values = {"lr": config.peak_lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
    return (LARS if config.optimizer == "lars" else torch.optim.SGD)(model.parameters(), **values)


def probe(config: RunConfig) -> Callable[..., evaluate.Accuracy]:
    """The linear classifier of the evaluation."""
    if config.probe == "logistic":
        return evaluate.linear_probe
    return lambda *split: evaluate.authors_probe(*split, generator=stream(config, "probe"))

"""One image run from its configuration to its record, in one plain loop.

The data set is one tensor on the device; a batch is an indexed slice of it, and its views are made there. Randomness
comes from generators of the run's own, one for each purpose, so that **two runs of one seed share weights, label
subsets, batches and views** whatever their loss: their differences are paired. Same configuration, same machine, same
number of threads: same metrics.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from clop_nb import data, provenance, recipe
from clop_nb.augment import two_views
from clop_nb.checkpoint import resume, save
from clop_nb.config import AUTHORS, PRINTED, RunConfig
from clop_nb.measure import measure, represent, settled, short, unit_rank
from clop_nb.progress import progress as line
from clop_nb.records import RunRecord

__all__ = ["AUTHORS", "PRINTED", "DeviceError", "Progress", "RunConfig", "check", "one_epoch", "run"]

COLLAPSED_BELOW = 2.0
"""A run has collapsed when the effective rank of the test embeddings at unit length is below this."""
# Runs shorter than this leave no checkpoint, longer ones one every so many seconds.
CHECKPOINT_EVERY = 60.0
# Batch norm's statistics are taken anew for a measurement, from views of this many images in so many batches.
STATISTICS_OVER, STATISTICS_BATCHES = 4096, 8
# How often the effective rank is measured on the way, last epoch included.
RANKS = 10

Progress = Callable[[int, int, float], None]
"""Called after each epoch with the epochs done, their number, and the epoch's mean loss."""


class DeviceError(RuntimeError):
    """A device was asked for that is not there."""


def run(
    config: RunConfig,
    *,
    device: str = "auto",
    threads: int = 1,
    root: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    progress: Progress | None = None,
) -> RunRecord:
    """Train, evaluate the last epoch, and return the record. Nothing is written but checkpoints.

    Args:
        config: what to run.
        device: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto``: a GPU if there is one.
        threads: torch's threads on the CPU during the run. They change the order of sums and so the last digits.
        root: folder of the data sets, see :func:`clop_nb.data.load`. Nothing is downloaded.
        checkpoint: file that keeps the state of a long run at the end of an epoch. If it is there and this very
            configuration, code and number of threads made it, the run goes on from it and ends in the same metrics.
            Deleting it is left to the caller.
        checkpoint_every: seconds between two checkpoints.
        progress: see :data:`Progress`. ``None``: one line on a terminal, and silence elsewhere.

    Returns:
        The record, its outcome ``finished``, ``collapsed`` or ``diverged``.

    Raises:
        ValueError: if the configuration does not suit the data, see :func:`check`; before any work.
        DeviceError: if there is no such device; before any work.
        FileNotFoundError: if the data set is not there.
        OSError: if a checkpoint cannot be written.
    """
    config = config.canonical()
    place = _device(device)
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"threads must be a positive integer, got {threads!r}")
    images = _load(config.dataset, None if root is None else os.fspath(root))
    check(config, images)
    with _reproducible(place, threads):
        return _run(config, images, place, threads, checkpoint, checkpoint_every, progress or _terminal(config))


def check(config: RunConfig, images: data.DataSet) -> None:
    """Whether a configuration suits a data set.

    Raises:
        ValueError: if more training samples are asked for than there are, a batch is larger than the training set,
            there are more classes than the prototypes have room for, or a fraction leaves a class without labels.
    """
    available, k = len(images.train_labels), len(images.class_names)
    n = config.train_samples or available
    if n > available:
        raise ValueError(f"train_samples must be at most {available}, the size of {config.dataset}, got {n}")
    if config.batch_size > n:
        raise ValueError(f"batch_size must be at most the {n} training samples, got {config.batch_size}")
    least = k - (config.prototypes == "simplex_etf")
    if config.uses_prototypes and config.dim < least:
        raise ValueError(f"dim must be at least {least} for {k} {config.prototypes} prototypes, got {config.dim}")
    labels = _labels(config, images)
    if len(labels.unique()) < k:
        raise ValueError(f"train_samples must leave a sample of each of the {k} classes, got {n}")
    fractions = [("probe_fraction", value) for value in config.probe_fractions]
    if config.uses_labels:
        fractions.append(("label_fraction", config.label_fraction))
    for name, value in fractions:
        try:
            data.labelled_subset(labels, value, recipe.stream(config, "labels"))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def _labels(config: RunConfig, images: data.DataSet) -> Tensor:
    return images.train_labels[recipe.subset(config, images.train_labels)]


def one_epoch(
    config: RunConfig,
    epoch: int,
    model: Callable[[Tensor], tuple[Tensor, Tensor]],
    criterion: Callable[[Tensor, Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    labels: Tensor,
    streams: Mapping[str, torch.Generator],
) -> float:
    """The training loop: every full batch of an epoch once.

    Args:
        config: batch size, precision, learning rate and label subset are taken from it.
        epoch: counted from 0.
        model: images to features and embeddings, in training mode.
        criterion: loss of the two views' embeddings and the labels.
        optimizer: of the model's parameters.
        x: images (N, C, H, W) uint8, on the device.
        labels: what the loss may see, (N,) int64, on the device.
        streams: generators ``batches``, ``views`` and ``redraws``.

    Returns:
        Mean loss; not finite if a step's was not.
    """
    size, steps, device = config.batch_size, len(x) // config.batch_size, x.device
    order = torch.randperm(len(x), generator=streams["batches"]).to(device)
    total = torch.zeros((), device=device)
    for step in range(steps):
        batch = order[step * size : (step + 1) * size]
        views = torch.cat(two_views(x[batch], streams["views"]))  # (2B, C, H, W)
        y = recipe.redraw(config, labels[batch], streams["redraws"])
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            _, z = model(views.contiguous(memory_format=torch.channels_last))  # (2B, d)
            loss = criterion(z[:size], z[size:], y)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(config, epoch * steps + step, steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return float(total) / steps  # the one moment of an epoch at which an accelerator is waited for


def _run(
    config: RunConfig,
    images: data.DataSet,
    device: torch.device,
    threads: int,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: float,
    progress: Progress,
) -> RunRecord:
    began = saved = time.monotonic()
    labels, test_images = _labels(config, images), images.test_images.to(device)
    x = images.train_images[recipe.subset(config, images.train_labels)].to(device)
    seen = recipe.seen(config, labels).to(device)
    targets = recipe.prototypes(config, len(images.class_names), device)
    criterion = recipe.criterion(config, targets)
    model = recipe.model(config, x.shape[1]).to(device, memory_format=torch.channels_last)
    forward = torch.compile(model) if config.compile else model
    optimizer = recipe.optimizer(config, model)
    streams = {purpose: recipe.stream(config, purpose) for purpose in ("batches", "views", "redraws")}

    curves: dict[str, list[float]] = {"loss": [], "rank_epoch": [], "embedding_rank": []}
    state = {"model": model, "optimizer": optimizer, **streams}
    identity = [config.id, provenance.code_hash(), str(torch.__version__), device.type, threads]
    first, earlier = resume(checkpoint, identity, state, curves)
    diverged, in_loop = None, 0.0

    for epoch in range(first, config.epochs):
        started = time.monotonic()
        model.train()
        mean = one_epoch(config, epoch, forward, criterion, optimizer, x, seen, streams)
        in_loop += time.monotonic() - started
        if not math.isfinite(mean):
            diverged = f"the loss was not finite in epoch {epoch + 1}"
            break
        curves["loss"].append(short(mean))
        if (epoch + 1) * RANKS // config.epochs > epoch * RANKS // config.epochs:
            _, z = represent(_to_measure(config, model, x), test_images)
            if not torch.isfinite(z).all():
                diverged = f"the embeddings were not finite after epoch {epoch + 1}"
                break
            curves["rank_epoch"].append(epoch + 1)
            curves["embedding_rank"].append(short(unit_rank(z)))
        progress(epoch + 1, config.epochs, mean)
        if checkpoint is not None and time.monotonic() - saved >= checkpoint_every:
            save(checkpoint, identity, state, curves, epoch + 1, earlier + time.monotonic() - began)
            saved = time.monotonic()

    metrics: dict[str, Any] = {}
    if diverged is None:
        known = {f: data.labelled_subset(labels, f, recipe.stream(config, "labels")) for f in config.probe_fractions}
        measured = measure(
            _to_measure(config, model, x),
            x,
            {fraction: shown.to(device) for fraction, shown in known.items()},
            test_images,
            images.test_labels.to(device),
            len(images.class_names),
            targets,
            recipe.probe(config),
        )
        if measured is None:
            diverged = "the features were not finite after the last epoch"
        else:
            metrics, spectra = measured
            curves |= spectra
    processed = (epoch + 1 - first) * (len(x) // config.batch_size) * config.batch_size if in_loop else 0
    collapsed = diverged is None and metrics["embedding_rank"] < COLLAPSED_BELOW
    return RunRecord(
        config=config,
        outcome="diverged" if diverged else "collapsed" if collapsed else "finished",
        error=diverged,
        metrics=metrics,
        curves=curves,
        seed=config.seed,
        threads=threads,
        versions=provenance.versions(),
        device=provenance.device_name(device),
        seconds=round(earlier + time.monotonic() - began, 2),
        images_per_second=round(processed / in_loop, 1) if in_loop else None,
        peak_memory_mib=round(provenance.peak_memory_mib(device), 1),
        code_hash=provenance.code_hash(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _to_measure(config: RunConfig, model: torch.nn.Module, x: Tensor) -> torch.nn.Module:
    """The model with batch norm's statistics settled, on the same views whenever in the run it is asked for."""
    chosen = torch.randperm(len(x), generator=recipe.stream(config, "statistics"))[:STATISTICS_OVER].to(x.device)
    fresh = recipe.stream(config, "fresh views")
    return settled(model, (two_views(x[part], fresh)[0] for part in chosen.chunk(STATISTICS_BATCHES)))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:NUMBER, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {name} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs"
        )
    return device


@functools.lru_cache(maxsize=1)
def _load(name: str, root: str | None) -> data.DataSet:
    """The data set, kept from one run of a sweep to the next."""
    return data.load(name, root)


@contextmanager
def _reproducible(device: torch.device, threads: int) -> Iterator[None]:
    before, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.backends.cudnn.deterministic = deterministic


def _terminal(config: RunConfig) -> Progress:
    if not sys.stderr.isatty():
        return lambda epoch, epochs, loss: None
    show = line(f"{config.dataset} {config.loss}", config.epochs, "epochs")
    return lambda epoch, epochs, loss: show(epoch)

"""What a record says about a model: its classifiers' accuracy and the geometry of its embeddings, once, at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clop_nb.evaluate import Accuracy, knn_accuracy, linear_probe
from clop_nb.spectra import effective_rank, singular_values

__all__ = [
    "class_mean_cosines",
    "measure",
    "prototype_alignment",
    "represent",
    "settled",
    "short",
    "spectrum",
    "unit_rank",
]

# Singular values kept in a record, of the embeddings and of the features.
SPECTRUM = 64


@torch.no_grad()
def settled(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A copy of a model to be measured: every batch norm has the mean statistics of these batches.

    The running averages of training lag behind the weights. Early in a run, and at the end of one of few steps, they
    hold a part of their start: batch sizes could not be compared, and embeddings that are spread look collapsed. Wu and
    Johnson 2021 (arXiv 2105.07576) call the remedy precise batch norm.

    Args:
        model: left as it is.
        batches: float images as in training, (B, C, H, W) each, several.

    Returns:
        The copy, in evaluation mode.
    """
    copy = deepcopy(model)
    for norm in copy.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over what comes
    copy.train()
    for images in batches:
        copy(images)
    return copy.eval()


@torch.no_grad()
def measure(
    model: Callable[[Tensor], tuple[Tensor, Tensor]],
    train_images: Tensor,
    known: Mapping[float, Tensor],
    test_images: Tensor,
    test_labels: Tensor,
    num_classes: int,
    prototypes: Tensor | None = None,
    probe: Callable[..., Accuracy] | None = None,
) -> tuple[dict[str, Any], dict[str, list[float]]] | None:
    """Everything that a record says about a model as it is now.

    Args:
        model: maps float images in 0 .. 1 to features and embeddings; in evaluation mode already.
        train_images: (N, C, H, W) uint8.
        known: for each probe fraction the labels that the classifiers see, (N,) int64, -1 for the others.
        test_images: (M, C, H, W) uint8.
        test_labels: (M,) int64.
        num_classes: k.
        prototypes: (k, d), if the loss had any.
        probe: the linear classifier, called as :func:`linear_probe`, which it is by default.

    Returns:
        Metrics and spectra, or ``None`` if a feature or an embedding is not finite. Metrics: ``probes``, a list with
        ``probe_fraction``, ``top1``, ``top5`` and ``knn`` (top-1) each; ``embedding_rank`` and ``feature_rank``,
        effective ranks over the test split at unit length; ``mean_norm``, the norm of the mean unit embedding;
        ``class_cosine_mean``, ``_min`` and ``_max`` between the classes' means; ``prototype_alignment`` where there are
        prototypes. Spectra: the first values of ``embedding_spectrum`` and ``feature_spectrum``, see :func:`spectrum`.
    """
    train_features, _ = represent(model, train_images)
    test_features, z = represent(model, test_images)
    if not all(bool(torch.isfinite(part).all()) for part in (train_features, test_features, z)):
        return None
    probes = []
    for fraction, labels in known.items():
        split = (train_features, labels, test_features, test_labels, num_classes)
        linear, knn = (probe or linear_probe)(*split), knn_accuracy(*split)
        probes.append({"probe_fraction": fraction, "top1": linear.top1, "top5": linear.top5, "knn": knn.top1})
    cosines = class_mean_cosines(z, test_labels, num_classes)
    between = cosines[~torch.eye(num_classes, dtype=torch.bool, device=z.device)]
    numbers = {
        "embedding_rank": unit_rank(z),
        "feature_rank": unit_rank(test_features),
        "mean_norm": float(F.normalize(z, dim=1).mean(0).norm()),
        "class_cosine_mean": float(between.mean()),
        "class_cosine_min": float(between.min()),
        "class_cosine_max": float(between.max()),
    }
    if prototypes is not None:
        numbers["prototype_alignment"] = prototype_alignment(z, test_labels, prototypes)
    spectra = {
        "embedding_spectrum": [short(value) for value in spectrum(z)[:SPECTRUM].tolist()],
        "feature_spectrum": [short(value) for value in spectrum(test_features)[:SPECTRUM].tolist()],
    }
    return {"probes": probes, **{name: short(value) for name, value in numbers.items()}}, spectra


@torch.no_grad()
def represent(
    model: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor, batch_size: int = 1024
) -> tuple[Tensor, Tensor]:
    """Features and embeddings of images as they are, without views.

    Args:
        model: maps float images in 0 .. 1 to features and embeddings; in evaluation mode already.
        images: (N, C, H, W) uint8, on the model's device.
        batch_size: images at a time; it bounds the memory.

    Returns:
        (N, F) and (N, d), float32.
    """
    parts = [
        model((batch.float() / 255).contiguous(memory_format=torch.channels_last)) for batch in images.split(batch_size)
    ]
    features, embeddings = zip(*parts, strict=True)
    return torch.cat(features).float(), torch.cat(embeddings).float()


def unit_rank(z: Tensor) -> float:
    """Effective rank of the rows at unit length: the exponential of the entropy of their :func:`spectrum`."""
    return float(effective_rank(F.normalize(z, dim=1)))


def spectrum(z: Tensor) -> Tensor:
    """Singular values of the rows at unit length, divided by their sum; descending, (min(N, d),). Not centred."""
    values = singular_values(F.normalize(z, dim=1))
    return values / values.sum()


def class_mean_cosines(z: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Cosines between the means of the classes, over rows at unit length.

    0 off the diagonal is the orthonormal frame, -1/(k-1) the simplex, 1 complete collapse.

    Args:
        z: embeddings, (N, d).
        labels: (N,) int64; every class occurs.
        num_classes: k.

    Returns:
        (k, k), symmetric.
    """
    classes = F.one_hot(labels, num_classes).float()  # (N, k)
    means = F.normalize(classes.T @ F.normalize(z, dim=1), dim=1)  # the mean's length does not matter
    return means @ means.T


def prototype_alignment(z: Tensor, labels: Tensor, prototypes: Tensor) -> float:
    """Mean cosine between an embedding (N, d) and the prototype (k, d) of its class."""
    return float((F.normalize(z, dim=1) * F.normalize(prototypes, dim=1)[labels]).sum(1).mean())


def short(value: float) -> float:
    """Six significant digits: what a record keeps."""
    return float(f"{value:.6g}")

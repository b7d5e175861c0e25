"""Classifiers on frozen features: how well a trained encoder separates the classes.

They are fitted to the labelled training samples and scored on the test split. Nothing in them is chosen by that score.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clop_nb.lars import LARS

__all__ = ["Accuracy", "authors_probe", "knn_accuracy", "linear_probe"]


class Accuracy(NamedTuple):
    """Shares of the test samples, between 0 and 1."""

    top1: float
    """The true class has the highest score."""
    top5: float
    """The true class is among the five highest scores (all of them where there are fewer classes)."""


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    num_classes: int,
    penalty: float = 1.0,
) -> Accuracy:
    r"""Multinomial logistic regression on frozen features, the optimum of

    .. math::
        \sum_{i} -\log p(y_i \mid x_i) + \frac{\rho}{2} \lVert W \rVert_F^2

    over the labelled samples, found by L-BFGS. The objective is convex, so the result hangs on no seed, rate or number
    of epochs; the penalty is a fixed prior on the weights, whatever the number of labels, and is not tuned.
    (:math:`\rho = 1` is scikit-learn's default, ``C=1``.) Features are divided by **one** number, their root mean
    square over the labelled samples: the losses leave the scale free. They are neither centred nor rescaled one by
    one, which would hide a collapse: features that are one vector plus very little else should be hard to classify.

    Args:
        train_features: (N, F) float.
        train_labels: (N,) int64, -1 where the classifier is not to see the label.
        test_features: (M, F) float.
        test_labels: (M,) int64.
        num_classes: k; every label is below it.
        penalty: :math:`\rho > 0`.

    Returns:
        Top-1 and top-5 accuracy on the test samples.

    Raises:
        ValueError: if shapes do not fit, a label is out of range, nothing is labelled, a feature is not finite, or the
            penalty is not positive.
    """
    if not isinstance(penalty, (int, float)) or not 0 < penalty < math.inf:
        raise ValueError(f"penalty must be a finite number above 0, got {penalty!r}")
    x, y, x_test = _prepare(train_features, train_labels, test_features, test_labels, num_classes)
    x, x_test = (F.pad(part, (0, 1), value=1.0) for part in (x, x_test))  # the bias as one more weight
    weight = torch.zeros(num_classes, x.shape[1], device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=300, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        ridge = penalty / 2 * weight[:, :-1].square().sum()
        loss = F.cross_entropy(x @ weight.T, y) + ridge / len(y)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return _accuracy(x_test @ weight.detach().T, test_labels)


def authors_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    num_classes: int,
    generator: torch.Generator,
    epochs: int = 200,
    batch_size: int = 2048,
) -> Accuracy:
    """A linear layer trained as in the authors' code: LARS at 0.3 * batch / 256, a cosine over the steps, 200 epochs.

    Momentum 0.9, weight decay 1e-6, no parameter excluded. Two things differ from theirs: the features are computed
    once, from images without views, and divided by their root mean square as in :func:`linear_probe`. It is made for
    large sets: LARS moves a weight by a thousandth of the rate times its norm, so that some thousand samples and
    epochs are needed before the start is left behind.

    Args:
        train_features: (N, F) float.
        train_labels: (N,) int64, -1 where the classifier is not to see the label.
        test_features: (M, F) float.
        test_labels: (M,) int64.
        num_classes: k; every label is below it.
        generator: of the start and the order of the samples; on the CPU.
        epochs: passes over the labelled samples.
        batch_size: samples a step; all of them where there are fewer.

    Returns:
        Top-1 and top-5 accuracy on the test samples, after the last epoch.

    Raises:
        ValueError: as :func:`linear_probe`.
    """
    x, y, x_test = _prepare(train_features, train_labels, test_features, test_labels, num_classes)
    size = min(batch_size, len(y))
    steps, peak = epochs * (len(y) // size), 0.3 * size / 256
    bound = 1 / math.sqrt(x.shape[1])
    weight, bias = (
        (bound * (2 * torch.rand(*shape, generator=generator) - 1)).to(x.device).requires_grad_()
        for shape in ((num_classes, x.shape[1]), (num_classes,))
    )
    optimizer = LARS([weight, bias], lr=peak, momentum=0.9, weight_decay=1e-6)
    for step in range(steps):
        if step % (len(y) // size) == 0:
            order = torch.randperm(len(y), generator=generator).to(x.device)
        batch = order[step % (len(y) // size) * size :][:size]
        optimizer.param_groups[0]["lr"] = peak * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        with torch.enable_grad():
            F.cross_entropy(F.linear(x[batch], weight, bias), y[batch]).backward()
        optimizer.step()
    return _accuracy(F.linear(x_test, weight, bias).detach(), test_labels)


def knn_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.1,
) -> Accuracy:
    r"""Accuracy of the weighted vote of the k nearest labelled training samples by cosine.

    A neighbour of cosine s votes with :math:`\exp(s / \tau)` (Wu et al. 2018, arXiv 1805.01978). Where fewer than k
    samples are labelled, all of them vote. A class without a vote is not among the highest, even if fewer than five
    have votes.

    Args:
        train_features: (N, F) float.
        train_labels: (N,) int64, -1 where the classifier is not to see the label.
        test_features: (M, F) float.
        test_labels: (M,) int64.
        num_classes: every label is below it.
        k: number of neighbours, at least 1.
        temperature: :math:`\tau > 0`.

    Returns:
        Top-1 and top-5 accuracy on the test samples.

    Raises:
        ValueError: as :func:`linear_probe`, or if k or the temperature is out of range.
    """
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be an integer of at least 1, got {k!r}")
    if not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature!r}")
    x, y, x_test = _prepare(train_features, train_labels, test_features, test_labels, num_classes)
    x, classes = F.normalize(x, dim=1), F.one_hot(y, num_classes).float()
    scores = []
    for batch in x_test.split(500):
        cosines, nearest = (F.normalize(batch, dim=1) @ x.T).topk(min(k, len(y)), dim=1)  # (B, k)
        votes = ((cosines - cosines[:, :1]) / temperature).exp()  # the nearest votes with 1: no overflow
        scores.append((votes.unsqueeze(1) @ classes[nearest]).squeeze(1))  # (B, num_classes)
    votes = torch.cat(scores)
    return _accuracy(votes.masked_fill(votes == 0, -math.inf), test_labels)


def _prepare(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor, num_classes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the input; return the labelled features and their labels, and the test features, both at unit scale."""
    for name, features, labels in (("train", train_features, train_labels), ("test", test_features, test_labels)):
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"{name}_features must be (N, F) and {name}_labels (N,), "
                f"got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        if not torch.isfinite(features).all():
            raise ValueError(f"{name}_features must be finite, got infinities or NaN")
        least = -1 if name == "train" else 0
        if len(labels) and not least <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"{name}_labels must be in {least} .. {num_classes - 1}, got {int(labels.min())} .. {int(labels.max())}"
            )
    if test_features.shape[1] != train_features.shape[1]:
        raise ValueError(
            f"test_features must have as many columns as train_features ({train_features.shape[1]}), "
            f"got {test_features.shape[1]}"
        )
    if len(test_labels) == 0:
        raise ValueError("test_labels must not be empty")
    labelled = train_labels >= 0
    if not labelled.any():
        raise ValueError("train_labels must label at least one sample, got -1 everywhere")
    x = train_features[labelled].float()
    scale = x.square().mean().sqrt().clamp(min=torch.finfo(x.dtype).tiny)
    return x / scale, train_labels[labelled], test_features.float() / scale


def _accuracy(scores: Tensor, labels: Tensor) -> Accuracy:
    best = scores.topk(min(5, scores.shape[1]), dim=1)  # (M, 5)
    ranked = (best.indices == labels.unsqueeze(1)) & (best.values > -math.inf)
    return Accuracy(int(ranked[:, 0].sum()) / len(labels), int(ranked.any(1).sum()) / len(labels))

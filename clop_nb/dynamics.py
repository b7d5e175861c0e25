r"""Gradient descent on free class embeddings: the paper's model of collapse (Section 3), with and without CLOP's pull.

k unit vectors :math:`x_i \in \mathbb{R}^m` repel each other and are normalised after each step:

.. math::
    x_i \leftarrow \mathrm{normalise}(x_i - \eta g_i), \qquad
    g_i = \frac{1}{k-1}\sum_{j \ne i} x_j - \lambda c_i ,

the update of Appendix D for :math:`\lambda = 0`. All embeddings share :math:`\sum_j x_j`, so that a step costs O(k m).
Every function is batched over leading dimensions: trials, learning rates and weights side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clop_nb.spectra import singular_values

__all__ = ["Trajectory", "class_loss", "collapsed", "random_embeddings", "settle", "simulate", "step"]

COLLAPSE_NORM = 0.9
"""A set counts as completely collapsed when the norm of its mean exceeds this (after at least 3000 steps)."""

# Configurations are independent: a block that stays in the processor's cache takes all its steps before the next one.
_BLOCK_ELEMENTS = 400_000
# The fast path infers norms from inner products and drifts by rounding, so it normalises exactly now and then.
_STEPS_BETWEEN_EXACT_NORMS = 16
# A basis of the span costs about as much as this many steps.
_STEPS_WORTH_REDUCING = 50


class Trajectory(NamedTuple):
    """Recorded steps of :func:`simulate`; T steps on the axis after the leading dimensions, step 0 included."""

    x: Tensor
    """Embeddings, (..., T, k, m)."""
    steps: Tensor
    """Which steps were recorded, (T,), int64; the last step always is."""
    singular_values: Tensor
    """(..., T, min(k, m)), descending."""
    mean_norm: Tensor
    """Norm of the mean embedding, (..., T)."""
    loss: Tensor
    """:func:`class_loss`, (..., T)."""


def random_embeddings(
    k: int,
    m: int,
    *batch: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent uniform points on the unit sphere, shape (*batch, k, m): the paper's start.

    Raises:
        ValueError: if a size is not a positive integer, or k < 2.
    """
    for name, value in (("k", k), ("m", m), *(("batch", size) for size in batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < (2 if name == "k" else 1):
            least = "an integer of at least 2" if name == "k" else "a positive integer"
            raise ValueError(f"{name} must be {least}, got {value!r}")
    source = device if generator is None else generator.device
    gaussian = torch.randn(*batch, k, m, generator=generator, dtype=dtype, device=source)
    return torch.nn.functional.normalize(gaussian, dim=-1).to(device=device)


def class_loss(x: Tensor) -> Tensor:
    r"""The class loss in the scale of the step's gradient: :math:`\frac{1}{2(k-1)}\sum_{i\ne j} x_i^\top x_j`.

    Eq. (3) of the paper prints it without the factor and with a minus sign; descent needs the plus. Its least value is
    :math:`-k/(2(k-1))`, reached by every set of mean zero.

    Args:
        x: unit embeddings, (..., k, m).

    Returns:
        Shape (...).
    """
    total = x.sum(-2)
    return (total.square().sum(-1) - x.square().sum((-1, -2))) / (2 * (x.shape[-2] - 1))


def collapsed(x: Tensor) -> Tensor:
    """Whether each set has collapsed completely: the norm of its mean is above 0.9. Shape (...), bool.

    Rank 1 alone is not collapse: half the embeddings at c and half at -c minimise the class loss.
    """
    return torch.linalg.vector_norm(x.mean(-2), dim=-1) > COLLAPSE_NORM


def step(
    x: Tensor,
    lr: float | Tensor,
    prototypes: Tensor | None = None,
    clop_weight: float | Tensor = 0.0,
    tangent: bool = False,
) -> Tensor:
    """One gradient step and the normalisation. Differentiable; the form to read (:func:`settle` is the fast one).

    Args:
        x: unit embeddings, (..., k, m), float32 or float64.
        lr: learning rate, a number or a tensor broadcastable to x.shape[:-2].
        prototypes: (k, m) or broadcastable to x; row i belongs to x_i. Needed where clop_weight is not 0.
        clop_weight: weight of the pull in the model's units, a number or a tensor broadcastable to x.shape[:-2].
        tangent: project the whole gradient, pull included, onto the tangent space of the sphere first, as the
            gradient through a normalisation does in training code.

    Returns:
        Same shape as x, unit rows. A row that would become the zero vector keeps its old value.

    Raises:
        ValueError: if the shapes do not fit, x is not float32 or float64, or a weight comes without prototypes.
    """
    lr, clop_weight = _check(x, lr, prototypes, clop_weight)
    k = x.shape[-2]
    gradient = (x.sum(-2, keepdim=True) - x) / (k - 1)
    if prototypes is not None:
        gradient = gradient - clop_weight * prototypes
    if tangent:
        gradient = gradient - (gradient * x).sum(-1, keepdim=True) * x
    moved = x - lr * gradient
    norm = torch.linalg.vector_norm(moved, dim=-1, keepdim=True)
    # Below the rounding error of the subtraction the direction is noise: that counts as the zero vector.
    vanished = norm <= 4 * torch.finfo(x.dtype).eps * (1 + lr)
    return torch.where(vanished, x, moved / norm.where(~vanished, torch.ones_like(norm)))


@torch.no_grad()
def settle(
    x: Tensor,
    lr: float | Tensor,
    steps: int,
    prototypes: Tensor | None = None,
    clop_weight: float | Tensor = 0.0,
    tangent: bool = False,
) -> Tensor:
    """Take ``steps`` steps of :func:`step`, fast and without recording anything or building a graph.

    Same arguments and result as repeated :func:`step`, to rounding. Configurations run in blocks that stay in cache;
    without a pull they run in coordinates of their own span, both norms follow from :math:`x_i^\\top \\sum_j x_j`,
    and the update is one rank-one correction.

    Raises:
        ValueError: as :func:`step`, or if steps is not an integer of at least 0.
    """
    lr, clop_weight = _check(x, lr, prototypes, clop_weight)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be an integer of at least 0, got {steps!r}")
    batch, (k, m) = x.shape[:-2], x.shape[-2:]
    # k points never leave their span: without a pull, k coordinates each say the same as m.
    reduced = prototypes is None and m > k and steps >= _STEPS_WORTH_REDUCING
    if reduced:
        basis, coordinates = torch.linalg.qr(x.mT)  # (..., m, k), (..., k, k)
        x, m = coordinates.mT, k
    flat = x.reshape(-1, k, m).clone()
    lr = lr.expand(*batch, 1, 1).reshape(-1, 1, 1)
    weight = clop_weight.expand(*batch, 1, 1).reshape(-1, 1, 1)
    if prototypes is not None and prototypes.ndim > 2:
        prototypes = prototypes.expand_as(x).reshape(-1, k, m)
    pulled = prototypes is not None and bool((weight != 0).any())
    size = max(1, _BLOCK_ELEMENTS // (k * m))
    for start in range(0, flat.shape[0], size):
        block = slice(start, start + size)
        rows = flat[block]
        if pulled:
            own = prototypes[block] if prototypes.ndim > 2 else prototypes
            _settle_pulled(rows, lr[block], own, weight[block], steps, tangent)
        else:
            _settle_free(rows, lr[block], steps, tangent)
    settled = flat.reshape(x.shape)
    return torch.nn.functional.normalize(settled @ basis.mT, dim=-1) if reduced else settled


def simulate(
    x: Tensor,
    lr: float | Tensor,
    steps: int,
    prototypes: Tensor | None = None,
    clop_weight: float | Tensor = 0.0,
    tangent: bool = False,
    every: int = 1,
) -> Trajectory:
    """Run the dynamics and record every ``every``-th step, step 0 and the last one included.

    Args:
        x: the start, (..., k, m).
        lr, prototypes, clop_weight, tangent: as in :func:`step`.
        steps: number of steps, at least 0.
        every: distance between recorded steps, at least 1.

    Returns:
        A :class:`Trajectory` with T = 1 + ceil(steps / every) recorded steps.

    Raises:
        ValueError: as :func:`settle`, or if every is not a positive integer.
    """
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ValueError(f"every must be a positive integer, got {every!r}")
    states = [settle(x, lr, 0, prototypes, clop_weight, tangent)]
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps must be an integer of at least 0, got {steps!r}")
    recorded = [0]
    while recorded[-1] < steps:
        stride = min(every, steps - recorded[-1])
        states.append(settle(states[-1], lr, stride, prototypes, clop_weight, tangent))
        recorded.append(recorded[-1] + stride)
    path = torch.stack(states, dim=-3)
    mean_norm = torch.linalg.vector_norm(path.mean(-2), dim=-1)
    return Trajectory(path, torch.tensor(recorded), singular_values(path), mean_norm, class_loss(path))


def _settle_free(x: Tensor, lr: Tensor, steps: int, tangent: bool) -> None:
    """The repulsion alone, in place: x (B, k, m), lr (B, 1, 1)."""
    a = lr / (x.shape[1] - 1)
    repeated = a.expand(-1, x.shape[1], 1).contiguous()  # a batched product of an expanded tensor runs one by one
    eps = torch.finfo(x.dtype).eps
    smallest = (4 * eps * (1 + lr)).square()
    for taken in range(1, steps + 1):
        total = x.sum(1, keepdim=True)  # (B, 1, m)
        inner = torch.bmm(x, total.transpose(1, 2))  # x_i . sum_j x_j, (B, k, 1)
        squared_total = inner.sum(1, keepdim=True)  # |sum_j x_j|^2, (B, 1, 1)
        own = 1 + a * inner if tangent else 1 + a
        # x_i' is proportional to own x_i - a sum_j x_j, and |x_i| = 1.
        squared_norm = own.square() - 2 * a * own * inner + a.square() * squared_total
        # Rounding in |x_i| is amplified by (own / norm)^2; where that is large the inferred norm cannot be trusted.
        if taken % _STEPS_BETWEEN_EXACT_NORMS == 0 or bool((squared_norm < 0.5 * own.square()).any()):
            moved = (x * own).baddbmm_(repeated, total, alpha=-1)
            _normalise(moved, x, smallest)
        else:
            scale = squared_norm.rsqrt_()
            x.mul_(own * scale)
            x.baddbmm_(a * scale, total, alpha=-1)
    if steps:
        x.div_(torch.linalg.vector_norm(x, dim=-1, keepdim=True))


def _settle_pulled(x: Tensor, lr: Tensor, prototypes: Tensor, weight: Tensor, steps: int, tangent: bool) -> None:
    """Repulsion and pull, in place: x (B, k, m), lr and weight (B, 1, 1), prototypes (k, m) or (B, k, m)."""
    a = (lr / (x.shape[1] - 1)).expand(-1, x.shape[1], 1).contiguous()
    pull = lr * weight
    smallest = (4 * torch.finfo(x.dtype).eps * (1 + lr)).square()
    for _ in range(steps):
        total = x.sum(1, keepdim=True)
        own = 1 + a
        if tangent:
            inner = torch.bmm(x, total.transpose(1, 2))
            own = 1 + a * inner - pull * (x * prototypes).sum(-1, keepdim=True)
        moved = torch.addcmul(x * own, prototypes, pull)
        moved.baddbmm_(a, total, alpha=-1)
        _normalise(moved, x, smallest)


def _normalise(moved: Tensor, x: Tensor, smallest: Tensor) -> None:
    """x <- moved / |moved|, row by row; a vanished row keeps its old value."""
    squared = torch.linalg.vector_norm(moved, dim=-1, keepdim=True).square_()
    vanished = squared <= smallest
    if bool(vanished.any()):
        x.copy_(torch.where(vanished, x, moved * squared.rsqrt()))
    else:
        torch.mul(moved, squared.rsqrt_(), out=x)


def _check(
    x: Tensor, lr: float | Tensor, prototypes: Tensor | None, clop_weight: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Validate, and return lr and clop_weight as tensors with two trailing singleton dimensions."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be a float32 or float64 tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    if x.ndim < 2 or x.shape[-2] < 2:
        raise ValueError(f"x must have shape (..., k, m) with k >= 2, got {tuple(x.shape)}")
    spread = []
    for name, value in (("lr", lr), ("clop_weight", clop_weight)):
        value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
        try:
            fits = torch.broadcast_shapes(value.shape, x.shape[:-2]) == x.shape[:-2]
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(
                f"{name} must broadcast to the leading dimensions {tuple(x.shape[:-2])}, got {tuple(value.shape)}"
            )
        spread.append(value[..., None, None])
    if prototypes is None:
        if not isinstance(clop_weight, Tensor) and clop_weight != 0:
            raise ValueError(f"clop_weight = {clop_weight} needs prototypes")
        if isinstance(clop_weight, Tensor) and bool((clop_weight != 0).any()):
            raise ValueError("a clop_weight other than 0 needs prototypes")
    else:
        try:
            fits = torch.broadcast_shapes(prototypes.shape, x.shape) == x.shape and prototypes.ndim >= 2
        except RuntimeError:
            fits = False
        if not fits or prototypes.dtype != x.dtype:
            raise ValueError(
                f"prototypes must be {x.dtype} and broadcast to x of shape {tuple(x.shape)}, "
                f"got {prototypes.dtype} of shape {tuple(prototypes.shape)}"
            )
    return spread[0], spread[1]

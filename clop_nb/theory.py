r"""Closed forms for the collapse of class embeddings (Section 3 of the paper, corrected, and with CLOP's pull).

Setting: k unit class embeddings :math:`x_1, \dots, x_k \in \mathbb{R}^m`, one gradient step of rate :math:`\eta`,

.. math::
    x_i \leftarrow \frac{x_i - \eta g_i}{\lVert x_i - \eta g_i \rVert}, \qquad
    g_i = \frac{1}{k-1} \sum_{j \ne i} x_j - \lambda c_i ,

with orthonormal prototypes :math:`c_i` and CLOP weight :math:`\lambda` (``clop_weight``, 0 in the paper's model).
Rates and weights are in the units of this model: a training loss with a temperature, a mean over a batch or a
positive term has others. Notebooks 02 and 04 prove every statement made here; all functions take and return floats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = [
    "Minimiser",
    "TwoCycle",
    "critical_clop_weight",
    "critical_lr",
    "cycle_effective_rank",
    "cycle_singular_values",
    "growth_ratio",
    "minimiser",
    "printed_lr_bound",
    "tangent_critical_lr",
    "two_cycle",
]


class Minimiser(NamedTuple):
    r"""The aligned state :math:`x_i = \alpha e + \beta y_i`, see :func:`minimiser`."""

    nu: float
    """Multiplier: every gradient is :math:`g_i = -\\nu x_i` there."""
    mean_coefficient: float
    r""":math:`\alpha`, along :math:`e = \sum_i c_i / \sqrt{k}`; the norm of the mean embedding."""
    simplex_coefficient: float
    r""":math:`\beta`, along :math:`y_i`, the vertices of the simplex in the prototypes' span."""


class TwoCycle(NamedTuple):
    r"""The two states :math:`x_i = \alpha e + \beta y_i \pm s v`, see :func:`two_cycle`."""

    shift: float
    r""":math:`s`, along a unit vector :math:`v` orthogonal to all prototypes; 0 where nothing oscillates."""
    mean_coefficient: float
    simplex_coefficient: float


def printed_lr_bound(k: int) -> float:
    r"""Theorem 1's learning-rate bound at :math:`\varepsilon = 0`, as the paper's algebra has it (claim T1).

    .. math:: \frac{2k^3 - 5k^2 + 5k - 2}{k^3 - 3k^2 + 4k - 2}

    It is 2.0333 at k = 30, the 2.03 of Section 3.1. Notebook 02 shows where the algebra slips;
    :func:`critical_lr` is the corrected value.

    Args:
        k: number of classes, an integer above 2 (the theorem's assumption).

    Returns:
        The bound, a learning rate.

    Raises:
        ValueError: if k is not an integer above 2.
    """
    _check_k(k, least=3)
    return (2 * k**3 - 5 * k**2 + 5 * k - 2) / (k**3 - 3 * k**2 + 4 * k - 2)


def critical_lr(k: int, clop_weight: float = 0.0, dim: int | None = None) -> float:
    r"""The learning rate at which the spread state loses its stability to complete collapse, exactly.

    Without the pull, and with m >= k dimensions, :math:`\eta^* = 2(k-1)/(k-2)`: zero-mean sets attract below it and
    complete collapse above it, with no overlap (claim T1, corrected). With the pull, and m >= k + 1, it is
    :math:`2/(1-\nu)` with the :math:`\nu(\lambda)` of :func:`minimiser`, and there is none once :math:`\nu \ge 1`.

    Args:
        k: number of classes, an integer of at least 2.
        clop_weight: CLOP's weight :math:`\lambda \ge 0` relative to the model's repulsion.
        dim: dimension m of the embeddings. ``None`` means enough: m >= k without the pull, m >= k + 1 with it.
            Without the pull and with m < k the value is :math:`2(k-1)/(k-2-k/m)`, that of the sets which use all m
            directions evenly (the simplex at m = k - 1); every other zero-mean set loses its stability earlier, and
            complete collapse attracts from :math:`2(k-1)/(k-2)` on, so both can attract in between.
            With the pull and m = k the shift that collapses is along the prototypes' mean,
            and the value is :math:`2/(1-\nu-k\alpha^2/(k-1))`.

    Returns:
        The critical learning rate; ``inf`` where there is none (k = 2 included).

    Raises:
        ValueError: if k, clop_weight or dim is out of range; a pull needs dim >= k.
    """
    _check_k(k)
    _check_weight(clop_weight)
    if dim is not None and (not _is_integer(dim) or dim < 1):
        raise ValueError(f"dim must be None or a positive integer, got {dim!r}")
    if clop_weight == 0:
        evenness = 0.0 if dim is None or dim >= k else k / dim
        return _ratio(2 * (k - 1), k - 2 - evenness)
    if dim is not None and dim < k:
        raise ValueError(f"dim must be at least k = {k} where orthonormal prototypes pull, got {dim}")
    nu, mean_coefficient, _ = minimiser(k, clop_weight)
    held = k * mean_coefficient**2 / (k - 1) if dim == k else 0.0
    return _ratio(2.0, 1 - nu - held)


def tangent_critical_lr(k: int, clop_weight: float = 0.0) -> float:
    r"""The critical rate of the step that training code takes: the gradient through the normalisation.

    There the gradient is projected onto the tangent space before the step. The spread state loses its stability at
    :math:`2/(1+\nu)`, which is :math:`2(k-1)/k` without the pull, and softly: embeddings bounce at high rank, and
    complete collapse repels at every rate. Valid for m >= k, and m >= k + 1 with the pull.

    Args:
        k: number of classes, an integer of at least 2.
        clop_weight: CLOP's weight :math:`\lambda \ge 0` in the model's units.

    Raises:
        ValueError: if k or clop_weight is out of range.
    """
    _check_k(k)
    _check_weight(clop_weight)
    nu = 1 / (k - 1) if clop_weight == 0 else minimiser(k, clop_weight).nu
    return 2 / (1 + nu)


def critical_clop_weight(k: int) -> float:
    r"""The weight beyond which no learning rate collapses the model: :math:`2(k-2)/\sqrt{4k^2-11k+8}`.

    It is :math:`\lambda` at :math:`\nu = 1`, just below 1 for many classes (0.978 at k = 30), 0 at k = 2.

    Raises:
        ValueError: if k is not an integer of at least 2.
    """
    _check_k(k)
    return 2 * (k - 2) / math.sqrt(4 * k**2 - 11 * k + 8)


def growth_ratio(k: int, lr: float) -> float:
    r"""The one number that the paper's step depends on: :math:`r = (\eta - 1)/(1 + \eta/(k-1))`.

    The step is :math:`x_i \leftarrow \mathrm{normalise}(x_i - (1+r)\mu)`. On balanced sets
    :math:`\lvert\mu\rvert/\sqrt{1-\lvert\mu\rvert^2}` is multiplied by :math:`\lvert r \rvert` at each step; at
    complete collapse deviations are multiplied by :math:`-1/r`; :math:`r = 1` exactly at :func:`critical_lr`.

    Raises:
        ValueError: if k is out of range or lr is not a positive finite number.
    """
    _check_k(k)
    _check_lr(lr)
    return (lr - 1) / (1 + lr / (k - 1))


def minimiser(k: int, clop_weight: float) -> Minimiser:
    r"""The unique global minimiser of the class loss plus the pull, for orthonormal prototypes.

    :math:`x_i = \alpha e + \beta y_i` with
    :math:`\alpha = \lambda / (\sqrt{k}(\nu+1))`, :math:`\beta = \lambda\sqrt{(k-1)/k}\,/\,(\nu - 1/(k-1))`,
    and :math:`\nu > 1/(k-1)` the root of :math:`\alpha^2 + \beta^2 = 1`. It does not depend on the learning rate.

    Args:
        k: number of classes, an integer of at least 2.
        clop_weight: :math:`\lambda > 0`. At 0 every zero-mean set is a minimiser and there is nothing to return.

    Raises:
        ValueError: if k is out of range or clop_weight is not positive and finite.
    """
    _check_k(k)
    _check_weight(clop_weight)
    if clop_weight == 0:
        raise ValueError("clop_weight must be positive: at 0 every zero-mean set is a minimiser")
    # Search over the gap nu - 1/(k-1): the two sides of 1/gap^2 - 1/(nu+1)^2 > 0 bracket it to a factor sqrt(1 - 1/k).
    low, high = clop_weight * math.sqrt((k - 1) / k), float(clop_weight)
    for _ in range(200):
        gap = 0.5 * (low + high)
        mean_coefficient, simplex_coefficient = _coefficients(k, clop_weight, gap)
        if gap in (low, high):
            break
        if mean_coefficient**2 + simplex_coefficient**2 > 1:
            low = gap
        else:
            high = gap
    return Minimiser(1 / (k - 1) + gap, mean_coefficient, simplex_coefficient)


def two_cycle(k: int, lr: float, clop_weight: float) -> TwoCycle:
    r"""Where the paper's step with the pull ends: the exact 2-cycle beyond the threshold, the minimiser below it.

    Beyond :func:`critical_lr` (m >= k + 1) the embeddings alternate between
    :math:`x_i = \alpha e + \beta y_i + s v` and the same with :math:`-s`, where :math:`\alpha, \beta` are those of
    :func:`minimiser` with :math:`\nu` replaced by :math:`1 - 2/\eta`, and :math:`s^2 = 1 - \alpha^2 - \beta^2`.
    As :math:`\lambda \to 0` this is complete collapse, :math:`s = 1`.

    Args:
        k: number of classes, an integer of at least 2.
        lr: learning rate :math:`\eta > 0`.
        clop_weight: :math:`\lambda \ge 0`; 0 only above the critical rate.

    Raises:
        ValueError: if an argument is out of range, or clop_weight is 0 at a rate where every zero-mean set is fixed.
    """
    _check_lr(lr)
    if lr <= critical_lr(k, clop_weight):
        return TwoCycle(0.0, *minimiser(k, clop_weight)[1:])
    mean_coefficient, simplex_coefficient = _coefficients(k, clop_weight, 1 - 2 / lr - 1 / (k - 1))
    shift = math.sqrt(max(0.0, 1 - mean_coefficient**2 - simplex_coefficient**2))
    return TwoCycle(shift, mean_coefficient, simplex_coefficient)


def cycle_singular_values(k: int, lr: float, clop_weight: float) -> list[float]:
    r"""Singular values of the embeddings in the state of :func:`two_cycle`, k of them, in descending order.

    :math:`\sqrt{k(s^2+\alpha^2)}` once and :math:`\beta\sqrt{k/(k-1)}` k - 1 times. Raises what two_cycle raises.
    """
    shift, mean_coefficient, simplex_coefficient = two_cycle(k, lr, clop_weight)
    common = math.sqrt(k * (shift**2 + mean_coefficient**2))
    return sorted([common] + [simplex_coefficient * math.sqrt(k / (k - 1))] * (k - 1), reverse=True)


def cycle_effective_rank(k: int, lr: float, clop_weight: float) -> float:
    """Effective rank (:func:`clop_nb.spectra.effective_rank`) of the state of :func:`two_cycle`, in closed form."""
    values = cycle_singular_values(k, lr, clop_weight)
    total = sum(values)
    return math.exp(-sum(v / total * math.log(v / total) for v in values if v > 0))


def _coefficients(k: int, clop_weight: float, gap: float) -> tuple[float, float]:
    """The mean and the simplex coefficient at nu = 1/(k-1) + gap."""
    nu = 1 / (k - 1) + gap
    return clop_weight / (math.sqrt(k) * (nu + 1)), clop_weight * math.sqrt((k - 1) / k) / gap


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.inf


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_k(k: int, least: int = 2) -> None:
    if not _is_integer(k) or k < least:
        raise ValueError(f"k, the number of classes, must be an integer of at least {least}, got {k!r}")


def _check_weight(clop_weight: float) -> None:
    if not (isinstance(clop_weight, int | float) and 0 <= clop_weight < math.inf):
        raise ValueError(f"clop_weight must be a finite number of at least 0, got {clop_weight!r}")


def _check_lr(lr: float) -> None:
    if not (isinstance(lr, int | float) and 0 < lr < math.inf):
        raise ValueError(f"lr must be a positive finite number, got {lr!r}")

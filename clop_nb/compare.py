"""How two methods' runs differ: paired over seeds, pooled over cells, and the least difference that could be seen.

Two runs of one seed share weights, label subset, batches and views (:mod:`clop_nb.train`), so their scores are
subtracted seed by seed. Each function takes a matrix with a row for each seed and a column for each cell (a batch size
at a label fraction, say), from :func:`paired` or :func:`scores`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Difference",
    "Gap",
    "equivalent",
    "everywhere_above",
    "interval",
    "largest_gap",
    "paired",
    "pooled",
    "scores",
]


class Difference(NamedTuple):
    """A mean difference and what it rests on."""

    mean: float
    low: float
    """Lower end of the confidence interval."""
    high: float
    detectable: float
    """The smallest true difference that the test behind the interval finds with the given power."""
    cells: int
    seeds: int

    @property
    def sign(self) -> int:
        """1 if the interval lies above 0, -1 if below, 0 if it holds 0."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def text(self) -> str:
        """Mean and interval in words, for scores in percent: ``+0.50 points (+0.10 to +0.90)``."""
        return f"{self.mean:+.2f} points ({self.low:+.2f} to {self.high:+.2f})"

    @property
    def relation(self) -> str:
        """Where the first method stands towards the second, as the interval says."""
        return {1: "above", 0: "not told apart from", -1: "below"}[self.sign]


class Gap(NamedTuple):
    """The two levels whose means lie farthest apart, see :func:`largest_gap`."""

    first: Any
    second: Any
    difference: Difference
    """Second minus first, its interval simultaneous for all pairs."""


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student's interval.

    Args:
        values: at least two numbers.
        confidence: between 0 and 1.

    Returns:
        Mean, lower and upper end.
    """
    one = pooled(np.asarray(values, dtype=float)[:, None], confidence)
    return one.mean, one.low, one.high


def scores(table: pd.DataFrame, cells: str | Sequence[str], metric: str = "top1") -> pd.DataFrame:
    """One metric as a matrix of seeds and cells.

    Args:
        table: of :func:`clop_nb.grids.table`.
        cells: name or names of the columns that tell the cells apart.
        metric: name of the column of the values.

    Returns:
        A row for each seed, a column for each cell.

    Raises:
        ValueError: if a cell lacks a seed, or has one twice.
    """
    names = [cells] if isinstance(cells, str) else list(cells)
    doubled = table.duplicated(["seed", *names])
    if doubled.any():
        raise ValueError(
            f"cells must tell all runs of a seed apart, got {names} with {int(doubled.sum())} runs too many"
        )
    wide = table.pivot(index="seed", columns=names if len(names) > 1 else names[0], values=metric)
    if not len(wide) or wide.isna().any(axis=None):
        raise ValueError(f"table must have a {metric} for every seed in every cell, got {len(table)} rows")
    return wide


def paired(
    table: pd.DataFrame, first: str, second: str, cells: str | Sequence[str], metric: str = "top1"
) -> pd.DataFrame:
    """One method's score minus another's, seed by seed, in every cell.

    Args:
        table: of :func:`clop_nb.grids.table`.
        first: the method that is looked at.
        second: the method that it is compared with.
        cells: as in :func:`scores`.
        metric: as in :func:`scores`.

    Returns:
        A row for each seed, a column for each cell.

    Raises:
        ValueError: if a cell lacks one of the methods at some seed.
    """
    one, other = (scores(table[table.method == name], cells, metric) for name in (first, second))
    if not one.index.equals(other.index) or not one.columns.equals(other.columns):
        raise ValueError(f"table must have {first} and {second} in the same cells at the same seeds")
    return one - other


def pooled(differences: pd.DataFrame | np.ndarray, confidence: float = 0.95, power: float = 0.8) -> Difference:
    """The mean over cells, with Student's interval over seeds.

    **A seed counts once**, however many cells there are: its runs share weights and label subset over the cells, so
    they are no independent evidence. Each seed's mean over the cells is one observation; the interval is right
    whatever the correlation among cells. It speaks about these cells, not about others.

    Args:
        differences: (seeds, cells), at least two seeds.
        confidence: of the interval, between 0 and 1.
        power: for the smallest detectable difference, between 1 - ``confidence`` and 1.

    Returns:
        The pooled difference.

    Raises:
        ValueError: if there are fewer than two seeds, no cell, or a value is not finite.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 2 or len(values) < 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, at least two seeds by one cell, got shape {values.shape}")
    if not 0 < 1 - confidence < power < 1:
        raise ValueError(
            f"confidence and power must be below 1 and power above 1 - confidence, got {confidence}, {power}"
        )
    seeds, cells = values.shape
    observed = values.mean(1)
    mean, error = float(observed.mean()), float(observed.std(ddof=1)) / math.sqrt(seeds)
    from scipy import stats

    half = float(stats.t.ppf((1 + confidence) / 2, seeds - 1)) * error
    return Difference(mean, mean - half, mean + half, error * _standard_errors(seeds, confidence, power), cells, seeds)


def _standard_errors(seeds: int, confidence: float, power: float) -> float:
    """The true difference, in standard errors, that the two-sided t test finds with this power."""
    from scipy import optimize, stats

    freedom = seeds - 1
    # The noncentral t as a mean over the estimated standard error: scipy's own gives NaN in the far tail.
    errors = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom)
    limits = stats.t.ppf((1 + confidence) / 2, freedom) * errors

    def found(shift: float) -> float:
        return float((stats.norm.cdf(shift - limits) + stats.norm.cdf(-shift - limits)).mean())

    return float(optimize.brentq(lambda shift: found(shift) - power, 0, limits.max() + 10))


def everywhere_above(differences: pd.DataFrame | np.ndarray, confidence: float = 0.95) -> str:
    """Whether a difference is positive in every cell.

    Args:
        differences: (seeds, cells).
        confidence: of the pooled interval, and of the cells' intervals taken together (Bonferroni).

    Returns:
        ``reproduced`` if the pooled interval lies above 0 and so does every cell's mean; ``not reproduced`` if the
        pooled interval, or that of some cell, lies below 0; else ``inconclusive``.
    """
    values = np.asarray(differences, dtype=float)
    whole = pooled(values, confidence)
    if whole.sign > 0 and (values.mean(0) > 0).all():
        return "reproduced"
    strict = 1 - (1 - confidence) / values.shape[1]
    single = [pooled(values[:, [cell]], strict).sign for cell in range(values.shape[1])]
    return "not reproduced" if min(whole.sign, *single) < 0 else "inconclusive"


def largest_gap(values: pd.DataFrame, confidence: float = 0.95) -> Gap:
    """The largest difference between two levels, with an interval that allows for having looked at all pairs.

    Args:
        values: (seeds, levels), at least two levels.
        confidence: of the intervals of all pairs taken together (Bonferroni).

    Returns:
        The pair with the largest absolute mean difference.

    Raises:
        ValueError: if there are fewer than two levels or two seeds.
    """
    pairs = list(itertools.combinations(values.columns, 2))
    if not pairs:
        raise ValueError(f"values must have at least two levels, got {values.shape[1]}")
    strict = 1 - (1 - confidence) / len(pairs)
    gaps = [Gap(a, b, pooled((values[b] - values[a]).to_numpy()[:, None], strict)) for a, b in pairs]
    return max(gaps, key=lambda gap: abs(gap.difference.mean))


def equivalent(difference: Difference, tolerance: float) -> str:
    """Whether a difference is small.

    Args:
        difference: with its interval.
        tolerance: the largest absolute difference that counts as none, above 0.

    Returns:
        ``reproduced`` if the interval lies within the tolerance, ``not reproduced`` if it lies outside, else
        ``inconclusive``.
    """
    if max(abs(difference.low), abs(difference.high)) <= tolerance:
        return "reproduced"
    return "not reproduced" if difference.low > tolerance or difference.high < -tolerance else "inconclusive"

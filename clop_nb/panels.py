"""The image notebooks' pictures and tables: methods along batch sizes, rates or weights, one dot for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clop_nb import compare
from clop_nb.grids import METHODS
from clop_nb.plots import METHOD_COLOURS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["colour", "curves", "forest", "means", "method_name", "not_run", "plus_minus", "share", "ticks"]


def method_name(method: str, fraction: float) -> str:
    """A method of :data:`clop_nb.grids.METHODS` as the reader knows it; the baseline hangs on the share of labels."""
    baseline = "SupCon" if fraction == 1 else "InfoNCE"
    return {"baseline": baseline, "clop": f"{baseline} + CLOP", "labels_only": "labels only"}[method]


def colour(method: str, fraction: float) -> str:
    """The method's colour in this book."""
    return METHOD_COLOURS[{"baseline": "supcon" if fraction == 1 else "infonce"}.get(method, method)]


def share(fraction: float) -> str:
    """A label fraction in words."""
    return f"{100 * fraction:g} % labels"


def curves(axes: Any, table: pd.DataFrame, x: str, metric: str) -> None:
    """Draw the methods of one label fraction: seeds as dots, means with 95 % intervals, joined.

    Args:
        axes: matplotlib's; its x axis becomes logarithmic.
        table: of :func:`clop_nb.grids.table`, one fraction of it.
        x: column along the x axis.
        metric: column along the y axis. Missing values (diverged runs have no rank) are left out.
    """
    (fraction,) = table.fraction.unique()
    for place, method in enumerate(METHODS):
        rows = table[table.method == method].dropna(subset=metric)
        groups = [(value, group[metric].to_numpy()) for value, group in rows.groupby(x) if len(group) > 1]
        look, aside = colour(method, fraction), 1.08 ** (place - 1)
        axes.plot(rows[x] * aside, rows[metric], ".", color=look, alpha=0.45, markersize=5, markeredgewidth=0)
        mean, low, high = np.array([compare.interval(values) for _, values in groups]).T
        where = np.array([value for value, _ in groups]) * aside
        axes.errorbar(
            where, mean, yerr=[mean - low, high - mean], color=look, linewidth=1.4, capsize=2.5, marker="_",
            markersize=7, label=method_name(method, fraction),
        )  # fmt: skip
    axes.set_xscale("log")


def forest(axes: Any, rows: Mapping[str, pd.DataFrame], summary: str | None = None) -> None:
    """Draw paired differences: a faint dot for each cell's mean, and the pooled mean with its 95 % interval over seeds.

    Args:
        axes: matplotlib's.
        rows: what :func:`clop_nb.compare.paired` found, by the row's name, from the top down.
        summary: name of the row that sums the others up; drawn in black.
    """
    for place, (name, differences) in enumerate(rows.items()):
        pooled = compare.pooled(differences)
        look = "black" if name == summary else METHOD_COLOURS["clop"]
        axes.plot(
            differences.mean(), [place] * differences.shape[1], "o", color=look, alpha=0.25, markersize=5,
            markeredgewidth=0,
        )  # fmt: skip
        error = [[pooled.mean - pooled.low], [pooled.high - pooled.mean]]
        axes.errorbar(pooled.mean, place, xerr=error, fmt="|", color=look, capsize=4, markersize=12, linewidth=1.8)
    axes.axvline(0, color="#9aa4b2", linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)


def ticks(axes: Any, values: Any) -> None:
    """Label a logarithmic x axis at the values that were run, and nowhere else."""
    values = list(values)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()


def not_run(axes: Any, title: str, recorded: int, runs: int) -> None:
    """An empty panel that says so, with how much of its grid is recorded."""
    axes.set_title(title)
    axes.set(xticks=[], yticks=[])
    axes.set_facecolor("#f3f4f6")
    axes.text(
        0.5,
        0.5,
        f"not run here\n{recorded} of {runs} runs recorded",
        ha="center",
        va="center",
        transform=axes.transAxes,
    )


def plus_minus(values: Any) -> str:
    """Mean over seeds and half-width of its 95 % interval, as text that a table does not break."""
    mean, low, _ = compare.interval(values)
    return f"{mean:.1f} ± {mean - low:.1f}".replace(" ", "\N{NO-BREAK SPACE}")


def means(table: pd.DataFrame, x: str, metric: str) -> pd.DataFrame:
    """Means over seeds with the half-widths of their 95 % intervals, as text.

    Args:
        table: of :func:`clop_nb.grids.table`.
        x: column whose values become columns.
        metric: what is averaged.

    Returns:
        A row for each label fraction and method, a column for each value of ``x``.
    """
    import pandas as pd

    rows = {}
    for (fraction, method), group in table.groupby(["fraction", "method"]):
        cells = {f"{value:g}": plus_minus(one[metric]) for value, one in group.groupby(x)}
        rows[fraction, METHODS.index(method)] = cells
    ordered = pd.DataFrame.from_dict({key: rows[key] for key in sorted(rows)}, orient="index")
    ordered.index = pd.MultiIndex.from_tuples(
        [(share(fraction), method_name(METHODS[place], fraction)) for fraction, place in sorted(rows)],
        names=["labels", "method"],
    )
    return ordered

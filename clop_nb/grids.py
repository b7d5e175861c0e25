"""The image runs of notebooks 06 to 08: a plan for each data set, a grid for each notebook, its records as a table.

``python -m clop_nb.grids fashion_mnist`` trains all grids of a data set, as far as their records are missing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clop_nb import records, store, sweep
from clop_nb.config import PRINTED, RunConfig

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CLASSES",
    "METHODS",
    "PLANS",
    "SMOKE",
    "Collected",
    "Plan",
    "batch_sizes",
    "clop_weights",
    "collect",
    "every_run",
    "learning_rates",
    "ranks_on_the_way",
    "recorded",
    "steady_rates",
    "table",
]

METHODS = ("baseline", "clop", "labels_only")
"""SupCon with all labels, else InfoNCE; the same with the CLOP term; and the CLOP term without a contrastive loss."""

CLASSES = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run on a data set. Vary it with :func:`dataclasses.replace`."""

    base: RunConfig
    """SupCon with CLOP at the batch size of the notebooks that do not vary it. Each cell changes some fields of it."""
    fractions: tuple[float, ...] = (0.1, 0.5, 1.0)
    """Shares of the training labels that the loss and the classifier see."""
    batch_sizes: tuple[int, ...] = ()
    """Of notebook 06, each at the rate of the rule."""
    rates: tuple[float, ...] = ()
    """Peak learning rates of notebook 07."""
    steady_rates: tuple[float, ...] = ()
    """Rates of notebook 07 that are also kept for the whole run instead of falling, all labels."""
    weights: tuple[float, ...] = ()
    """CLOP weights of notebook 08, beside SupCon with all labels; 0 is the baseline."""
    seeds: int


_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
_WEIGHTS = (0.0, 0.1, 0.5, 1.0, 1.5)
# The printed rule, CIFAR-10's temperature for ten classes, and SGD: LARS moves a weight by a thousandth of its rate a
# step, which is little where a run has 75 steps, and the theory speaks of plain gradient steps.
_DIGITS = RunConfig(dataset="digits", epochs=15, batch_size=256, lr=0.3, lr_rule="linear", clop_weight=1.0)

PLANS: dict[str, Plan] = {
    "digits": Plan(
        base=_DIGITS,
        batch_sizes=(32, 64, 128, 256, 512, 1024),
        rates=_RATES,
        steady_rates=(10.0,),
        weights=_WEIGHTS,
        seeds=5,
    ),
    "fashion_mnist": Plan(
        base=replace(_DIGITS, dataset="fashion_mnist", train_samples=4000, epochs=2, batch_size=128),
        fractions=(1.0,),
        rates=_RATES,
        seeds=3,
    ),
    **{
        name: Plan(
            base=PRINTED[name],
            batch_sizes=(32, 64, 128, 256, 512, 1024, 2048),
            rates=_RATES,
            steady_rates=(10.0,),
            weights=_WEIGHTS,
            seeds=5,
        )
        for name in ("cifar100", "tiny_imagenet")
    },
}
"""By data set. The last two are the paper's scale: its batch sizes, epochs and weights, and five rates of its range,
of which it prints the ends."""

SMOKE = Plan(
    base=replace(_DIGITS, train_samples=300, epochs=1, batch_size=64),
    batch_sizes=(64, 128),
    rates=(0.3, 1.0, 10.0),
    steady_rates=(10.0,),
    weights=(0.0, 0.1, 1.0),
    seeds=2,
)
"""Digits in seconds, to try the notebooks out: too small for conclusions."""


def batch_sizes(plan: Plan) -> list[RunConfig]:
    """Notebook 06: every method at every label fraction and batch size, the rate by the printed rule."""
    return _seeded(
        plan, [cell for size in plan.batch_sizes for cell in _methods(plan, replace(plan.base, batch_size=size))]
    )


def learning_rates(plan: Plan) -> list[RunConfig]:
    """Notebook 07: every method at every label fraction and peak rate, at one batch size.

    A rate is kept as the coefficient of the linear rule, so that a cell which notebook 06 has too is one run.
    """
    return _seeded(plan, [cell for rate in plan.rates for cell in _methods(plan, _at_rate(plan, rate))])


def steady_rates(plan: Plan) -> list[RunConfig]:
    """Notebook 07: the methods with all labels at rates that do not fall, as in the authors' code."""
    whole = replace(plan, fractions=(1.0,))
    bases = [replace(_at_rate(plan, rate), schedule="constant") for rate in plan.steady_rates]
    return _seeded(plan, [cell for base in bases for cell in _methods(whole, base)])


def clop_weights(plan: Plan) -> list[RunConfig]:
    """Notebook 08: SupCon with all labels at every CLOP weight, and labels only at the weight of the base."""
    if not plan.weights:
        return []
    cells = [replace(plan.base, clop_weight=weight) for weight in plan.weights]
    return _seeded(plan, [*cells, replace(plan.base, loss="labels_only")])


def every_run(plan: Plan) -> list[RunConfig]:
    """The runs of all three notebooks, each once."""
    wanted = [*batch_sizes(plan), *learning_rates(plan), *steady_rates(plan), *clop_weights(plan)]
    return list({config.id: config for config in wanted}.values())


def _at_rate(plan: Plan, rate: float) -> RunConfig:
    return replace(plan.base, lr=rate * 256 / plan.base.batch_size, lr_rule="linear")


def _methods(plan: Plan, base: RunConfig) -> list[RunConfig]:
    cells = []
    below = tuple(fraction for fraction in plan.fractions if fraction < 1)
    if below:  # InfoNCE uses no labels: trained once for all fractions
        cells.append(replace(base, loss="info_nce", clop_weight=0.0, probe_fraction=below))
    for fraction in plan.fractions:
        seen = replace(base, label_fraction=fraction, probe_fraction=fraction)
        if fraction == 1:
            cells.append(replace(seen, loss="sup_con", clop_weight=0.0))
        cells.append(replace(seen, loss="sup_con" if fraction == 1 else "info_nce"))
        cells.append(replace(seen, loss="labels_only"))
    return cells


def _seeded(plan: Plan, cells: Iterable[RunConfig]) -> list[RunConfig]:
    return [replace(cell, seed=seed) for cell in cells for seed in range(plan.seeds)]


def recorded(configs: Iterable[RunConfig], folder: str | os.PathLike[str]) -> pd.DataFrame:
    """What a store has of some runs, as :func:`clop_nb.records.frame` shows it; nothing is trained.

    Args:
        configs: the runs.
        folder: the store; it need not exist.

    Returns:
        The frame; empty if nothing is recorded.

    Raises:
        ValueError: if a record in the store is not valid.
    """
    found = (store.read(folder, config) for config in configs)
    return records.frame(record for record in found if record is not None)


def ranks_on_the_way(configs: Iterable[RunConfig], folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Effective rank of the test embeddings at the epochs at which the recorded runs measured it.

    Args:
        configs: the runs; those that the store lacks are passed over.
        folder: the store.

    Returns:
        A row for each run and measurement, with the columns ``id``, ``epoch`` and ``rank``.
    """
    import pandas as pd

    rows = []
    for record in filter(None, (store.read(folder, config) for config in configs)):
        measured = zip(record.curves["rank_epoch"], record.curves["embedding_rank"], strict=True)
        rows += [(record.config.id, epoch, rank) for epoch, rank in measured]
    return pd.DataFrame(rows, columns=["id", "epoch", "rank"])


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The records of a grid as the notebooks compare them.

    Args:
        frame: of :func:`clop_nb.sweep.complete` or :func:`recorded`.

    Returns:
        A copy with a column ``method`` (one of :data:`METHODS`) and ``fraction`` (what the classifier sees, and the
        loss if it uses labels), and with ``top1``, ``top5`` and ``knn`` in percent. **A diverged run counts at
        chance**: to leave it out would favour the method that diverges. Its ranks are missing.

    Raises:
        ValueError: if a run failed; the message has its identity and its error.
    """
    failed = frame[frame.outcome == "failed"]
    if len(failed):
        row = failed.iloc[0]
        raise ValueError(f"frame must have no failed run, got {row['id']}: {row['error']}")
    scores = frame.copy()
    alone, pulled = scores.loss == "labels_only", scores.clop_weight > 0
    scores["method"] = METHODS[0]
    scores.loc[pulled, "method"] = METHODS[1]
    scores.loc[alone, "method"] = METHODS[2]
    scores["fraction"] = scores.probe_fraction
    chance = 100 / scores.dataset.map(CLASSES)
    diverged = scores.outcome == "diverged"
    for name, guesses in (("top1", 1), ("top5", 5), ("knn", 1)):
        # A store whose every run diverged has no column of scores.
        known = 100 * scores[name] if name in scores else guesses * chance
        scores[name] = known.where(~diverged, guesses * chance)
    return scores


class Collected(NamedTuple):
    """What there is of one grid, data set by data set, see :func:`collect`."""

    tables: dict[str, pd.DataFrame]
    """:func:`table` of each grid that is complete; the others are not there."""
    runs: pd.DataFrame
    """A row for each data set: how many runs the grid has, how many are recorded, and what these are."""


def collect(
    grid: Callable[[Plan], list[RunConfig]],
    plans: Mapping[str, Plan],
    folder: str | os.PathLike[str],
    train: Sequence[str] = (),
    n_jobs: int | None = None,
) -> Collected:
    """One notebook's grid on several data sets, from the store, trained where that is wanted.

    Args:
        grid: :func:`batch_sizes`, :func:`learning_rates`, :func:`steady_rates` or :func:`clop_weights`.
        plans: by name of the data set; those without cells in this grid are passed over.
        folder: the store.
        train: names of the data sets whose missing runs are trained first.
        n_jobs: processes side by side, see :func:`clop_nb.sweep.complete`.

    Returns:
        Tables of what is complete, and an account of the runs: ``seconds`` are their sum, ``stale`` counts those that
        other code than the present made, ``device`` names what they ran on.

    Raises:
        ValueError: if ``train`` names a data set without a plan, or a run failed.
    """
    import pandas as pd

    unknown = set(train) - set(plans)
    if unknown:
        raise ValueError(f"train must name data sets among {', '.join(plans)}, got {', '.join(sorted(unknown))}")
    tables, rows = {}, []
    for name, plan in plans.items():
        configs = grid(plan)
        if not configs:
            continue
        frame = sweep.complete(configs, folder, n_jobs=n_jobs) if name in train else recorded(configs, folder)
        once = frame.drop_duplicates("id")
        account = {"dataset": name, "runs": len(configs), "recorded": len(once), "seeds": plan.seeds}
        if len(once):
            account |= {"stale": int(once.stale.sum()), "seconds": float(once.seconds.sum())}
            account |= {name: int((once.outcome == name).sum()) for name in records.OUTCOMES}
            account["device"] = ", ".join(sorted(once.device.unique()))
        rows.append(account)
        if len(once) == len(configs):
            tables[name] = table(frame)
    return Collected(tables, pd.DataFrame(rows).set_index("dataset"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what the store lacks of a data set's grids."""
    parser = argparse.ArgumentParser(
        prog="python -m clop_nb.grids", description="Train what the store lacks of the grids of notebooks 06 to 08."
    )
    parser.add_argument("dataset", choices=PLANS)
    parser.add_argument("--store", type=Path, default=Path("results/images"), help="folder of the records")
    parser.add_argument("--n-jobs", type=int, help="processes side by side (default: one for each core, or one GPU)")
    given = parser.parse_args(arguments)
    configs = every_run(PLANS[given.dataset])
    before = sum(store.read(given.store, config) is None for config in configs)
    frame = sweep.complete(configs, given.store, n_jobs=given.n_jobs)
    outcomes = frame.drop_duplicates("id").outcome.value_counts().to_dict()
    print(f"{before} of {len(configs)} runs trained; {', '.join(f'{n} {name}' for name, n in outcomes.items())}")


if __name__ == "__main__":
    main()

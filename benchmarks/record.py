"""How a benchmark takes its figures, and the one file format in which all of them are kept.

A benchmark is a script ``benchmarks/bench_NAME.py``; ``make bench`` runs every one. Its ``main`` is three steps::

    seconds = interleaved({"two_views": ours, "torchvision": theirs}, rounds=15)          # one case
    rates = {contestant: [images / s for s in taken] for contestant, taken in seconds.items()}
    write("augment", [table("Two views", "images/s", {"batch of 512": rates}, better="higher")])

``write`` prints the tables and writes ``results/benchmarks/NAME.json``, which is committed and which the page
``book/benchmarks.md`` shows with ``{benchmark} NAME``.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clop_nb.provenance import processor
from clop_nb.store import whole_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "benchmarks"
LOAD_BEFORE = os.getloadavg()[0] if hasattr(os, "getloadavg") else None

Figures = Mapping[str, Mapping[str, Sequence[float]]]  # case -> contestant -> one figure a round
Single = Mapping[str, Mapping[str, float]]  # case -> contestant -> one figure


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    least: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time the contestants in turn, over and over, so that what else the machine does meets all of them alike.

    The order is drawn anew in every round. A call shorter than ``least`` is repeated until a round lasts that long.

    Args:
        contestants: What to call, by name. The first is ours; each is called once beforehand to warm up.
        rounds: How many times each contestant is timed.
        least: Seconds that one timing lasts at least, roughly.
        clock: Elapsed time by default. ``time.process_time`` counts the seconds that the process had a core, over all
            its threads: the one to take on cores that are shared, where elapsed time is mostly waiting. Say so in the
            unit. It needs threads that do not spin while they wait, which ``make bench`` asks for.

    Returns:
        Seconds per call, by contestant, one figure a round.
    """

    def timed(call: Callable[[], object], repeats: int) -> float:
        start = clock()
        for _ in range(repeats):
            call()
        return (clock() - start) / repeats

    repeats = {}
    for name, call in contestants.items():
        call()
        repeats[name] = max(1, math.ceil(least / max(timed(call, 1), 1e-6)))
    order, seconds = list(contestants), {name: [] for name in contestants}
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            seconds[name].append(timed(contestants[name], repeats[name]))
    return seconds


def table(
    title: str, unit: str, figures: Figures, *, better: str = "lower", columns: Mapping[str, Single] | None = None
) -> dict[str, Any]:
    """One table of a benchmark.

    Args:
        title: What is compared, e.g. ``"InfoNCE"``.
        unit: Unit of the figures, e.g. ``"ms"`` or ``"images/s"``.
        figures: For each case (``"N = 1024"``) and contestant the figures of all rounds. **The first contestant of a
            case is ours**, the others are compared with it.
        better: ``"lower"`` for times, ``"higher"`` for rates.
        columns: Further single figures by column heading, unit included: ``{"peak memory (MiB)": {case: {...}}}``.

    Returns:
        ``{"title", "unit", "better", "columns": [heading, ...], "rows": [...]}``. A row holds ``case``,
        ``contestant``, ``ours``, ``median`` and ``best`` (of the rounds), ``rounds`` (how many), ``ratio`` (how many
        times as fast ours is, by the medians: 1 for ours, above 1 where ours is faster) and the further columns.

    Raises:
        ValueError: If ``better`` is another word, there are no figures, or a figure is not a finite number above 0.
    """
    if better not in ("lower", "higher"):
        raise ValueError(f"better is {better!r}: expected 'lower' or 'higher'")
    columns = columns or {}
    rows = []
    for case, contestants in figures.items():
        for name, values in contestants.items():
            if not values or not all(math.isfinite(value) and value > 0 for value in values):
                raise ValueError(f"figures of {name!r}, {case!r} are {values!r}: expected finite numbers above 0")
        medians = {name: statistics.median(values) for name, values in contestants.items()}
        ours = next(iter(medians))
        rows += [
            {
                "case": case,
                "contestant": name,
                "ours": name == ours,
                "median": median,
                "best": (min if better == "lower" else max)(contestants[name]),
                "rounds": len(contestants[name]),
                "ratio": median / medians[ours] if better == "lower" else medians[ours] / median,
                **{heading: single[case][name] for heading, single in columns.items()},
            }
            for name, median in medians.items()
        ]
    if not rows:
        raise ValueError(f"figures of the table {title!r} are {dict(figures)!r}: expected at least one case")
    return {"title": title, "unit": unit, "better": better, "columns": list(columns), "rows": rows}


def row(table: Mapping[str, Any], case: str, contestant: str) -> dict[str, Any]:
    """The row of a contestant in a case, for the statement of a target."""
    return next(row for row in table["rows"] if (row["case"], row["contestant"]) == (case, contestant))


def target(statement: str, measured: float, at_least: float | None = None, below: float | None = None) -> dict:
    """Something that a benchmark set out to reach, and whether it did.

    Args:
        statement: The target in words, its unit included: ``"at least 1.9 times as fast as NTXentLoss"``.
        measured: The figure that decides.
        at_least: The target is met from this figure on, or
        below: under this one. Give one of the two.

    Returns:
        ``{"statement", "measured", "met"}``.
    """
    if (at_least is None) == (below is None):
        raise ValueError(f"at_least is {at_least!r} and below {below!r}: expected exactly one of them")
    met = measured >= at_least if at_least is not None else measured < below
    return {"statement": statement, "measured": measured, "met": met}


def write(
    name: str,
    tables: Sequence[Mapping[str, Any]],
    *,
    targets: Sequence[Mapping[str, Any]] = (),
    threads: Sequence[int] = (),
    packages: Iterable[str] = (),
    folder: Path = RESULTS,
) -> Path:
    """Print a benchmark's tables and write them, whole or not at all, to ``FOLDER/NAME.json``.

    The file is one JSON object:

    - ``benchmark``: its name; ``date``: the day, UTC; ``revision``: the git commit, with ``-dirty`` where ``clop_nb``
      or ``benchmarks`` held changes;
    - ``machine``: ``processor``, ``cores``, ``threads`` and ``load_before``, the mean number of processes that wanted
      a core in the minute before the benchmark began;
    - ``versions``: of Python, torch and ``packages``;
    - ``tables``: see :func:`table`; ``targets``: see :func:`target`.

    Args:
        name: That of the script, ``bench_NAME.py``.
        tables: From :func:`table`.
        targets: From :func:`target`.
        threads: The thread counts that were used; by default the one that torch uses now.
        packages: Installed packages, the competitors, whose versions belong to the figures.
        folder: Where to write.

    Returns:
        The file written.
    """
    content = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "revision": revision(),
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": list(threads) or [torch.get_num_threads()],
            "load_before": LOAD_BEFORE,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            **{package: importlib.metadata.version(package) for package in packages},
        },
        "tables": list(tables),
        "targets": list(targets),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    with whole_file(path) as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    print(text(content))
    return path


def text(content: Mapping[str, Any]) -> str:
    """The tables and targets for a terminal."""
    machine = content["machine"]
    threads = " and ".join(map(str, machine["threads"]))
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {threads} thread(s); torch {content['versions']['torch']}"
    ]
    for table in content["tables"]:
        lines += ["", f"{table['title']} ({table['unit']}, {table['better']} is better)"]
        width = max(len(row["contestant"]) for row in table["rows"])
        for row in table["rows"]:
            more = "".join(f", {heading} {row[heading]:.4g}" for heading in table["columns"])
            lines.append(
                f"  {row['case']:24s} {row['contestant']:{width}s}  median {row['median']:12,.5g}  "
                f"best {row['best']:12,.5g}  ours is {row['ratio']:.2f}x as fast{more}"
            )
    lines += [""] if content["targets"] else []
    lines += [
        f"{'met' if target['met'] else 'MISSED'}: {target['statement']} (measured {target['measured']:.3g})"
        for target in content["targets"]
    ]
    return "\n".join(lines)


def revision() -> str:
    """The commit that was measured."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "clop_nb", "benchmarks")
        return git("rev-parse", "--short=10", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

"""The regime map of the synthetic demonstration: where the baselines fail, and what the pull does there.

``python -m clop_nb.regime FILE`` computes it and writes one row a run; the book reads that file. Finished parts are
kept beside it until the whole is written, so a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clop_nb import synthetic
from clop_nb.progress import progress
from clop_nb.provenance import code_hash, versions
from clop_nb.store import whole_file
from clop_nb.synthetic import Outcome, Setting

__all__ = ["FAILING", "MAP_RATES", "STRIPS", "compute", "grid", "load", "methods", "row"]

EPOCHS = 100
ANGLES = (15.0, 25.0, 35.0, 45.0, 60.0, 90.0)
MAP_RATES = {
    "sgd": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    "adam": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
}
FAILING = Setting(optimizer="sgd", lr=0.1, angle=35.0, epochs=EPOCHS)
"""The setting around which one factor at a time is changed: there the InfoNCE baseline fails in part of its runs."""
STRIPS: dict[str, tuple[Any, ...]] = {
    "temperature": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    "amplitude": synthetic.AMPLITUDES,
    "noise": (0.0, 0.05, 0.1, math.sqrt(0.05)),
    "batch_norm": (False, True),
    "epochs": (10, 30, 100, 300),
    "width": (8, 32, 128),
    "batch_size": (25, 50, 100, 250),
    "subspace_dim": (1, 2),
    "clop_weight": (0.1, 0.3, 1.0, 3.0),
}
"""What each factor is set to; ``noise`` sets the noise of samples and views alike, 0.2236 being a variance of 0.05."""
MAP_SEEDS, STRIP_SEEDS = 6, 6
COLUMNS = ("part", "factor", *(f.name for f in fields(Setting)), "seed", "diverged", "accuracy", "accuracy_outputs")
COLUMNS += ("effective_rank", "largest_cosine", "norm")


def methods(setting: Setting, weight: float = 1.0) -> Iterator[Setting]:
    """The nine methods compared at one setting: four losses without and with the CLOP term, and that term alone."""
    for loss in synthetic.LOSSES:
        if loss != "labels_only":
            yield replace(setting, loss=loss, clop_weight=0.0)
        yield replace(setting, loss=loss, clop_weight=weight)


def grid() -> dict[str, list[tuple[str, Setting, int]]]:
    """Every run of the map and of the strips as (factor, setting, seed), in parts that are computed one by one."""
    parts: dict[str, list[tuple[str, Setting, int]]] = {}
    for optimizer, rates in MAP_RATES.items():
        for lr in rates:
            for angle in ANGLES:
                for setting in methods(replace(FAILING, optimizer=optimizer, lr=lr, angle=angle)):
                    name = f"map-{optimizer}-{setting.loss}-{setting.clop_weight:g}"
                    parts.setdefault(name, []).extend(("", setting, seed) for seed in range(MAP_SEEDS))
    for factor, values in STRIPS.items():
        settings = [setting for value in values for setting in _varied(factor, value)]
        once = dict.fromkeys(settings)  # a baseline is the same at every weight
        parts[f"strip-{factor}"] = [(factor, setting, seed) for setting in once for seed in range(STRIP_SEEDS)]
    return parts


def _varied(factor: str, value: Any) -> Iterator[Setting]:
    """The methods at :data:`FAILING` with one factor set to a value."""
    if factor == "clop_weight":
        return methods(FAILING, value)
    names = ("noise", "view_noise") if factor == "noise" else (factor,)
    return methods(replace(FAILING, **dict.fromkeys(names, value)))


def row(part: str, factor: str, outcome: Outcome) -> dict[str, Any]:
    """One run as a row of the file."""
    values = {name: getattr(outcome.setting, name) for name in (f.name for f in fields(Setting))}
    scores = {"accuracy": outcome.accuracy, "accuracy_outputs": outcome.accuracy_outputs}
    scores |= {"effective_rank": outcome.effective_rank, "largest_cosine": max(map(abs, outcome.cosines))}
    scores["norm"] = float(outcome.norms[-1]) if len(outcome.norms) else math.nan
    rounded = {name: "" if math.isnan(value) else f"{value:.5g}" for name, value in scores.items()}
    diverged = "" if outcome.diverged is None else outcome.diverged
    return {"part": part, "factor": factor, **values, "seed": outcome.seed, "diverged": diverged, **rounded}


def compute(
    path: Path | str,
    *,
    jobs: int = 1,
    parts: dict[str, list[tuple[str, Setting, int]]] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Compute the map and write it to ``path`` (CSV), with what made it beside it (``.json``).

    Args:
        path: the file to write; finished parts wait in ``<path>.parts`` and are used again if the code is the same.
        jobs: processes, one thread each.
        parts: as :func:`grid` gives them, or fewer.
        report: called with (runs finished, runs in all).
    """
    path = Path(path)
    parts = grid() if parts is None else parts
    code = code_hash("clop_nb.synthetic")
    waiting = path.with_name(path.name + ".parts")
    waiting.mkdir(parents=True, exist_ok=True)
    total, done, rows, seconds = sum(map(len, parts.values())), 0, [], 0.0
    for name, runs in parts.items():
        kept = waiting / f"{name}-{code}-{_fingerprint(runs)}.json"
        if kept.exists():
            finished = json.loads(kept.read_text())
        else:
            began = time.perf_counter()
            onwards = None if report is None else lambda count, _, done=done: report(done + count, total)
            outcomes = synthetic.train([(setting, seed) for _, setting, seed in runs], jobs=jobs, progress=onwards)
            made = [row(name.split("-")[0], run[0], outcome) for run, outcome in zip(runs, outcomes, strict=True)]
            finished = {"rows": made, "seconds": time.perf_counter() - began}
            _write(kept, json.dumps(finished))
        rows += finished["rows"]
        seconds += finished["seconds"]
        done += len(runs)
        if report is not None:
            report(done, total)
    lines = [",".join(COLUMNS)] + [",".join(str(r[c]) for c in COLUMNS) for r in rows]
    about = {
        "made_by": "make map",
        "runs": total,
        "seconds": round(seconds, 1),
        "processes": jobs,
        "code": code,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    _write(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
    _write(path, "\n".join(lines) + "\n")
    for kept in waiting.iterdir():
        kept.unlink()
    waiting.rmdir()


def load(path: Path | str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read a map: its rows, values as numbers (NaN where a run diverged), and what made it.

    ``about["current"]`` tells whether the trainer's code is still what made the file.

    Raises:
        ValueError: if the file is not there or is no such map.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"no regime map at {path}: `make map` computes it")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    about = json.loads(path.with_suffix(".json").read_text())
    if not rows or tuple(rows[0]) != COLUMNS or len(rows) != about["runs"]:
        raise ValueError(f"{path} is not a whole regime map: `make map` computes it anew")
    about["current"] = about["code"] == code_hash("clop_nb.synthetic")
    return [{name: _value(name, text) for name, text in r.items()} for r in rows], about


def _value(name: str, text: str | None) -> Any:
    if name in {"part", "factor", "loss", "amplitude", "optimizer"}:
        return text
    if name == "batch_norm":
        return text == "True"
    return float(text) if text else math.nan


def _fingerprint(runs: Sequence[tuple[str, Setting, int]]) -> str:
    return hashlib.sha256(repr(runs).encode()).hexdigest()[:12]


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute the regime map of the synthetic demonstration.")
    parser.add_argument("path", type=Path, help="the CSV file to write")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    arguments = parser.parse_args()
    parts = grid()
    show = progress("regime map", sum(map(len, parts.values())), "runs")
    compute(arguments.path, jobs=arguments.jobs, parts=parts, report=lambda done, _: show(done))


if __name__ == "__main__":
    main()

"""The record of one image run: what is kept of it, checked, as JSON and as rows of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from clop_nb.config import RunConfig
from clop_nb.provenance import code_hash

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OUTCOMES", "RunRecord", "frame"]

SCHEMA = 1
OUTCOMES = ("finished", "collapsed", "diverged", "failed")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is kept of one run.

    Raises:
        ValueError: if a value has the wrong type, is not finite, or contradicts another; the message names the field.
    """

    config: RunConfig
    """In canonical form."""
    outcome: str
    """``finished``; ``collapsed``: finished with an effective rank of the test embeddings below 2, metrics included;
    ``diverged``: the loss was not finite, no metrics; ``failed``: an exception, see ``error``."""
    error: str | None = None
    """What went wrong: the epoch of the divergence, or the exception."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Results of the last epoch: ``probes`` (one dictionary per probe fraction) and numbers by name."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Short lists of numbers, by name."""
    seed: int
    threads: int
    versions: dict[str, str]
    device: str
    seconds: float
    """Wall time of the whole run, evaluation included; summed over the parts of a resumed run."""
    images_per_second: float | None = None
    """Training images a second, views and all; each image makes two views."""
    peak_memory_mib: float
    code_hash: str
    date: str
    """UTC, ISO 8601, when the run ended."""

    def __post_init__(self) -> None:
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                accepted = " or ".join(t.__name__ for t in (kind if isinstance(kind, tuple) else (kind,)))
                raise ValueError(f"{name} must be {accepted}, got {value!r}")
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {', '.join(OUTCOMES)}, got {self.outcome!r}")
        object.__setattr__(self, "config", self.config.canonical())
        if self.seed != self.config.seed:
            raise ValueError(f"seed must be that of the configuration ({self.config.seed}), got {self.seed}")
        if self.threads < 1 or self.seconds < 0 or self.peak_memory_mib < 0:
            raise ValueError(
                "threads must be at least 1, seconds and peak_memory_mib at least 0, got "
                f"{self.threads}, {self.seconds} and {self.peak_memory_mib}"
            )
        if (self.error is None) != (self.outcome in ("finished", "collapsed")):
            raise ValueError(f"error must go with the outcomes diverged and failed only, got {self.error!r}")
        for name in ("metrics", "curves", "versions"):
            _check_plain(name, getattr(self, name))

    def to_json(self) -> str:
        """The file's text."""
        values = {name: getattr(self, name) for name in _NAMES}
        return json.dumps({"schema": SCHEMA, "id": self.config.id, **values, "config": self.config.to_dict()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: if the text is not a record of this schema; the message names what is wrong.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None
        expected = {"schema", "id", *_NAMES}
        if not isinstance(values, dict) or set(values) != expected:
            found = set(values) if isinstance(values, dict) else set()
            raise ValueError(f"fields missing: {sorted(expected - found)}, unknown: {sorted(found - expected)}")
        if values.pop("schema") != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}")
        identity = values.pop("id")
        if not isinstance(values["config"], dict):
            raise ValueError(f"config must be an object, got {values['config']!r}")
        record = cls(**{**values, "config": RunConfig.from_dict(values["config"])})
        if record.config.id != identity:
            raise ValueError(f"id is {identity!r}, but the configuration's is {record.config.id!r}")
        return record


_TYPES: dict[str, Any] = {
    "config": RunConfig,
    "outcome": str,
    "error": (str, type(None)),
    "metrics": dict,
    "curves": dict,
    "seed": int,
    "threads": int,
    "versions": dict,
    "device": str,
    "seconds": (int, float),
    "images_per_second": (int, float, type(None)),
    "peak_memory_mib": (int, float),
    "code_hash": str,
    "date": str,
}
_NAMES = tuple(item.name for item in fields(RunRecord))


def _check_plain(name: str, value: Any) -> None:
    """Only what JSON can keep and a reader can trust: strings, whole and finite numbers, and containers of these."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for key, inner in value.items():
            _check_plain(f"{name}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_plain(f"{name}[{index}]", inner)
    elif type(value) not in (str, int, float, bool, type(None)):
        raise ValueError(f"{name} must be plain JSON, got {type(value).__name__}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def frame(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row for each run and probe fraction, one column for each field of the configuration and each result.

    ``probe_fraction``, ``top1``, ``top5`` and ``knn`` are those of the row's fraction. A run without metrics (diverged,
    failed) has one row for each of its fractions too, with missing values. ``stale`` marks records that other code
    than the present made. Rows are in the records' order.
    """
    import pandas as pd

    current = code_hash()
    rows = []
    for record in records:
        scalars = {name: value for name, value in record.metrics.items() if name != "probes"}
        shared = {
            "id": record.config.id,
            **record.config.to_dict(),
            "peak_lr": record.config.peak_lr,
            "outcome": record.outcome,
            "error": record.error,
            **scalars,
            "threads": record.threads,
            "device": record.device,
            "seconds": record.seconds,
            "images_per_second": record.images_per_second,
            "peak_memory_mib": record.peak_memory_mib,
            "date": record.date,
            "code_hash": record.code_hash,
            "stale": record.code_hash != current,
        }
        probes = {probe["probe_fraction"]: probe for probe in record.metrics.get("probes", [])}
        for fraction in record.config.probe_fractions:
            rows.append({**shared, **probes.get(fraction, {}), "probe_fraction": fraction})
    columns = ["id", *(item.name for item in fields(RunConfig)), "outcome", "error", "stale", "code_hash"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)

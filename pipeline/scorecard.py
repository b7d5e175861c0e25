"""The scorecard: what the executed notebooks stated about each claim, as one JSON and one CSV file.

Run as `python -m pipeline.scorecard ROOT EXECUTED OUTPUT PRESET`, in a process of its own because it imports the
project's `clop_nb.paper`.
"""

import csv
import importlib
import io
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import BookError

MIME = "application/vnd.clop-nb.verdict+json"
NOT_COVERED = "not yet covered"
FIELDS = (
    "id",
    "where",
    "statement",
    "paper",
    "ours",
    "low",
    "high",
    "seeds",
    "preset",
    "device",
    "verdict",
    "sentence",
    "notebook",
    "anchor",
)


def stated(notebook: Path) -> list[dict[str, Any]]:
    """The verdict records in an executed notebook's outputs, in order."""
    records = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if MIME in data:
                records.append(data[MIME])
    return records


def rows(claims: dict[str, dict[str, Any]], notebooks: list[Path], preset: str) -> list[dict[str, Any]]:
    """One row for each claim and notebook that states a verdict on it; a claim without one reads "not yet covered".

    Args:
        claims: where, statement and paper of each claim, by id, in the order in which the scorecard shows them.
        notebooks: executed notebooks.
        preset: the preset that they were executed with.

    Raises:
        BookError: for a verdict on an unknown claim, or two on one claim in one notebook.
    """
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for notebook in notebooks:
        seen: set[str] = set()
        for record in stated(notebook):
            claim = record.get("id")
            if claim not in claims:
                raise BookError(
                    f"{notebook.stem}: a verdict on {claim!r}, which is no claim of clop_nb.paper ({', '.join(claims)})"
                )
            if claim in seen:
                raise BookError(f"{notebook.stem}: two verdicts on claim {claim}")
            seen.add(claim)
            verdicts.setdefault(claim, []).append({**record, "id": claim, "notebook": notebook.stem})
    table = []
    for claim, printed in claims.items():
        empty = dict.fromkeys(FIELDS) | {"id": claim, "verdict": NOT_COVERED} | printed
        for record in verdicts.get(claim, [{}]):
            row = empty | {key: value for key, value in record.items() if key in FIELDS and value is not None}
            if record:
                row["preset"] = record.get("preset") or preset
                row["device"] = record.get("device") or "cpu"
            table.append({key: _finite(value) for key, value in row.items()})
    return table


def as_csv(table: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({key: _plain(row[key]) for key in FIELDS})
    return text.getvalue()


def _finite(value: Any) -> Any:
    """JSON knows no infinity: "inf" and "nan" stand as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {number}" for name, number in value.items())
    return "" if value is None else value


def claims_of(root: Path) -> dict[str, dict[str, Any]]:
    if not (root / "clop_nb" / "paper.py").exists():
        return {}
    sys.path.insert(0, str(root))
    paper = importlib.import_module("clop_nb.paper")
    return {
        name: {
            "where": claim.where,
            "statement": claim.statement,
            "paper": dict(claim.printed) or getattr(claim, "text", None),
        }
        for name, claim in paper.CLAIMS.items()
    }


def write(root: Path, executed: Path, output: Path, preset: str) -> None:
    """Write scorecard.json and scorecard.csv into `output`, each whole or not at all."""
    names = [path.stem for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.md"))]
    table = rows(claims_of(root), [executed / f"{name}.ipynb" for name in names], preset)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("scorecard.json", json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
        ("scorecard.csv", as_csv(table)),
    ):
        temporary = output / f".{name}.{os.getpid()}"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, output / name)


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    except BookError as error:
        print(error, file=sys.stderr)
        sys.exit(1)

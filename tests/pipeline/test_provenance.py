"""What a run notes about itself, and what the provenance page reads out of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import provenance

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
try:
    from provenance_table import figures, files_of, memory, record, seconds
finally:
    sys.path.remove(str(ROOT / "book" / "_ext"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of a notebook and a package."""
    (tmp_path / "clop_nb").mkdir()
    (tmp_path / "clop_nb" / "theory.py").write_text("X = 1\n")
    (tmp_path / "notebook.md").write_text("text\n")
    (tmp_path / "README.md").write_text("text\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_the_revision_is_the_commit_and_changes_count_where_they_can_matter(repository):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout
    notebook = repository / "notebook.md"
    noted = provenance.revision(repository, notebook)
    assert head.startswith(noted["revision"])
    assert noted["changed"] is False
    (repository / "README.md").write_text("another text\n")
    assert provenance.revision(repository, notebook)["changed"] is False
    (repository / "clop_nb" / "theory.py").write_text("X = 2\n")
    assert provenance.revision(repository, notebook)["changed"] is True


def test_outside_a_repository_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.revision(tmp_path, tmp_path / "notebook.md") == {"revision": None, "changed": False}


def test_memory_is_that_of_the_largest_child():
    before = provenance.largest_child_mib()
    size = int(before + 64)
    subprocess.run([sys.executable, "-c", f"x = bytearray({size} << 20); x[:] = b'1' * len(x)"], check=True)
    assert size < provenance.largest_child_mib()


def cell(code: str, figure: str | None = None) -> dict:
    metadata = {"mystnb": {"figure": {"name": figure}}} if figure else {}
    return {"cell_type": "code", "source": code, "metadata": metadata, "outputs": []}


def notebook(*cells: dict, **parameters: object) -> dict:
    metadata = {
        "companion": {"parameters": parameters, "memory_mib": 512},
        "papermill": {"duration": 61.2, "end_time": "2026-11-24T12:53:32.366255+00:00"},
    }
    return {"metadata": metadata, "cells": list(cells)}


def test_a_figure_is_drawn_from_records_where_data_flows_from_them_into_its_cell():
    made = notebook(
        cell("map_file = 'results/map.csv'\nseeds = 3"),
        cell("%matplotlib inline\nrows = load(map_file)\nown = train(seeds)"),
        cell("mean = rows.mean()\ndef panel(axes):\n    axes.plot(mean)"),
        cell("panel(axes)", "fig-through-a-function"),
        cell("draw(rows)", "fig-direct"),
        cell("draw(own)", "fig-own"),
        cell("for axes, row in zip(panels(), rows):\n    axes.plot(row)", "fig-in-a-loop"),
        cell("for axes, row in zip(panels(), own):\n    axes.plot(row)", "fig-same-names-other-data"),
        cell("own = own + rows\nkept = {}\nkept['a'] = own"),
        cell("draw(kept)", "fig-into-a-part"),
        cell("rows = train(seeds)"),
        cell("draw(rows)", "fig-name-bound-anew"),
        map_file="results/map.csv",
        seeds=3,
    )
    assert figures(made) == {
        "fig-through-a-function": ["results/map.csv"],
        "fig-direct": ["results/map.csv"],
        "fig-own": [],
        "fig-in-a-loop": ["results/map.csv"],
        "fig-same-names-other-data": [],
        "fig-into-a-part": ["results/map.csv"],
        "fig-name-bound-anew": [],
    }


def test_the_record_has_time_and_date_from_the_run():
    noted = record(notebook())
    assert (noted["seconds"], noted["date"], noted["memory_mib"]) == (61.2, "2026-11-24 12:53 UTC", 512)


def test_records_are_offered_with_what_describes_them_and_a_folder_as_one_archive(tmp_path):
    (tmp_path / "results" / "images").mkdir(parents=True)
    for name in ("map.csv", "map.json", "other.csv"):
        (tmp_path / "results" / name).write_text("")
    assert files_of(tmp_path, "results/map.csv") == ["results/map.csv", "results/map.json"]
    assert files_of(tmp_path, "results/images") == ["results/images.zip"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [(seconds(None), "not recorded"), (seconds(61.2), "61 s"), (seconds(150), "2.5 min"), (memory(2048), "2.0 GiB")],
)
def test_times_and_sizes_are_rounded_for_a_reader(shown, expected):
    assert shown == expected


def test_the_executed_notebooks_of_the_book_carry_a_whole_record(built_site):
    for path in sorted((ROOT / "book" / "_executed").glob("*.ipynb")):
        noted = json.loads(path.read_text(encoding="utf-8"))["metadata"]["companion"]
        assert noted["parameters"]["preset"] == "laptop", path.name
        assert noted["memory_mib"] > 50, path.name
        assert {"python", "torch"} <= set(noted["versions"]), path.name
        assert noted["processor"], path.name

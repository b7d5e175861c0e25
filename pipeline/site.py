"""Render the website from executed notebooks, in a staging copy of the book's sources, and put it in place whole."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from pipeline.errors import BookError

GENERATED = ("_executed", "_generated")
LINKED = ("clop_nb", "notebooks", "pipeline", "results", "benchmarks")  # for literalinclude and downloads
SCORECARD = ("scorecard.json", "scorecard.csv")


def toc_entries(root: Path) -> set[str]:
    """Every file that _toc.yml names, without suffix."""
    path = root / "_toc.yml"
    if not path.exists():
        raise BookError("_toc.yml is missing")
    try:
        toc = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BookError(f"_toc.yml: {error}") from None
    found: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("file", "root") and isinstance(value, str):
                    found.add(re.sub(r"\.(md|ipynb)$", "", value))
                else:
                    walk(value)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(toc)
    return found


def check_toc(root: Path, notebooks: list[str]) -> None:
    """Raise a BookError for a notebook that _toc.yml leaves out, or for an entry that no notebook stands behind."""
    entries = toc_entries(root)
    wrong = [
        f"notebooks/{name}.md is not in _toc.yml; add `file: book/_executed/{name}` where it belongs"
        for name in notebooks
        if f"book/_executed/{name}" not in entries
    ]
    wrong += [
        f"_toc.yml names {entry}, but there is no notebooks/{Path(entry).name}.md"
        for entry in sorted(entries)
        if entry.startswith("book/_executed/") and Path(entry).name not in notebooks
    ]
    if wrong:
        raise BookError("\n".join(wrong))


def book_files(root: Path) -> list[Path]:
    """The files that the site is made from, executed notebooks and the scorecard aside."""
    files = [
        path for path in root.iterdir() if path.suffix in (".md", ".cff", ".yml", ".toml") or path.name == "LICENSE"
    ]
    for path in (root / "book").rglob("*"):
        parts = path.relative_to(root / "book").parts
        if path.is_file() and parts[0] not in GENERATED and "__pycache__" not in parts:
            files.append(path)
    return sorted(files)


def stage(root: Path, folder: Path, executed: list[Path], generated: Path) -> None:
    """Lay out the book's sources with the executed notebooks in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in book_files(root):
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    for name in LINKED:
        if (root / name).is_dir():
            (folder / name).symlink_to(root / name, target_is_directory=True)
    for part, files in (("_executed", executed), ("_generated", sorted(generated.glob("scorecard.*")))):
        target = folder / "book" / part
        target.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copy2(path, target / path.name)


def render(folder: Path, run: Callable[..., tuple[int, str]]) -> Path:
    """Build the staged book and return the folder of its pages.

    Raises:
        BookError: with Sphinx's warnings and errors, paths as in the project. Every warning is an error: a broken
            cross-reference, citation or image must not reach a reader.
    """
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        ".",
        "--path-output",
        ".",
        "--all",
        "-W",
        "-n",
        "--keep-going",
    ]
    path = os.pathsep.join([str(folder / "book" / "_ext"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    code, log = run(command, cwd=folder, env={"PYTHONPATH": path, "NO_COLOR": "1"})
    log = re.sub(r"\x1b\[[0-9;]*m", "", log)
    (folder.parent / "sphinx.log").write_text(log, encoding="utf-8")
    if code:
        raise BookError(
            f"the site does not build:\n{_complaints(log, folder)}\n    whole log: {folder.parent / 'sphinx.log'}"
        )
    return folder / "_build" / "html"


def _complaints(log: str, folder: Path) -> str:
    """The lines of Sphinx's log that say what is wrong; its last lines where none stands out."""
    executed = re.compile(r"book/_executed/(\d\d_\w+)\.ipynb")
    lines = [
        executed.sub(r"notebooks/\1.md (executed)", line.replace(f"{folder}/", ""))
        for line in log.splitlines()
        if re.search(r"\b(WARNING|ERROR|CRITICAL|Error|Exception)\b", line) and "warnings treated as errors" not in line
    ]
    return "\n".join(f"    {line.strip()}" for line in dict.fromkeys(lines or log.splitlines()[-15:]))


def swap(new: Path, place: Path) -> None:
    """Put the folder `new` where `place` is. What was there goes only after; `recover` mends a kill in between."""
    previous = place.with_name(f"{place.name}.previous")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(previous, ignore_errors=True)
    if place.exists():
        os.rename(place, previous)
    os.rename(new, place)
    shutil.rmtree(previous, ignore_errors=True)


def recover(place: Path) -> None:
    """Bring the previous site back if an earlier run was killed between the two renames of `swap`."""
    previous = place.with_name(f"{place.name}.previous")
    if previous.exists() and not place.exists():
        os.rename(previous, place)


def run_logged(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout

"""A tiny project, two notebooks and a package of three modules, that builds in seconds without torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NOTEBOOK = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
---

# {title}

Some text.

```{{code-cell}} ipython3
:tags: [parameters]
preset: str = "laptop"
trials = None
```

```{{code-cell}} ipython3
---
tags: [hide-input]
---
import clop_nb.{module}

if trials is not None and trials < 1:
    raise ValueError(f"trials must be a positive integer, got {{trials}}")
```

```{{code-cell}} ipython3
print(clop_nb.{module}.VALUE, preset, trials)
```
"""

PAPER = """\
from dataclasses import dataclass

@dataclass(frozen=True)
class Claim:
    where: str
    statement: str
    printed: dict

CLAIMS = {
    "T1": Claim("Theorem 1", "a bound", {"k=30": 2.03}),
    "S1": Claim("Table 3", "an accuracy", {}),
}
"""


class Project:
    """Files of a project and the commands that are run on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("clop_nb/__init__.py", "")
        self.write("clop_nb/paper.py", PAPER)
        self.write("clop_nb/inner.py", "VALUE = 1\n")
        self.write("clop_nb/first.py", "from clop_nb.inner import VALUE\n")
        self.write("clop_nb/second.py", "VALUE = 2\n")
        self.write("clop_nb/unused.py", "VALUE = 3\n")
        self.write("notebooks/01_one.md", NOTEBOOK.format(title="One", module="first"))
        self.write("notebooks/02_two.md", NOTEBOOK.format(title="Two", module="second"))
        self.write("book/intro.md", "# Intro\n")
        self.write("book/references.bib", "@misc{known, title={T}, author={A}, year={2024}}\n")
        self.write("_toc.yml", "format: jb-book\nroot: book/intro\nchapters:\n"
                   "  - file: book/_executed/01_one\n  - file: book/_executed/02_two\n")  # fmt: skip
        self.write("_config.yml", "title: Tiny\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
                   "bibtex_bibfiles: [book/references.bib]\n"
                   "sphinx: {config: {bibtex_reference_style: author_year, "
                   "suppress_warnings: [mystnb.unknown_mime_type]}}\n")  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments, "--root", str(self.root)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> "Outcome":
        process = self.start(*arguments)
        out, err = process.communicate(timeout=240)
        return Outcome(process.returncode, out, err)

    def book(self, *arguments: str) -> "Outcome":
        return self.run("book", *arguments)

    def pages(self, folder: str = "_build/html") -> dict[str, bytes]:
        root = self.root / folder
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def executed(self) -> list[str]:
        return sorted(line.split()[0] for line in self.out.splitlines() if " done, " in line and "website" not in line)

    def __repr__(self) -> str:
        return f"status {self.code}\n{self.out}\n{self.err}"


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Project:
    """A project whose book has been built; to be copied, not changed."""
    project = Project(tmp_path_factory.mktemp("built"))
    done = project.book()
    assert done.code == 0, done
    assert done.executed == ["01_one", "02_two"], done
    return project


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A project that has never been built."""
    return Project(tmp_path / "fresh")


@pytest.fixture
def project(built, tmp_path) -> Project:
    """A project of the test's own that has been built at this very place."""
    copy = tmp_path / "project"
    shutil.copytree(built.root, copy, symlinks=True)
    moved = object.__new__(Project)
    moved.root = copy
    state = copy / "_build" / "laptop" / "state.json"
    state.write_text(state.read_text(encoding="utf-8").replace(str(built.root), str(copy)), encoding="utf-8")
    return moved

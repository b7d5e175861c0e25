"""Ruff on the modules, and on the notebooks' code with the line numbers of the notebooks' own sources."""

import json
import subprocess
import sys
from pathlib import Path

from pipeline.source import Source, read, sources

NOT_IN_NOTEBOOKS = (
    "E402,B018,E501,I001,PT018"  # imports may come late, a last expression shows itself, cells are blocks of their own
)


def as_module(source: Source) -> str:
    """A notebook's code as one Python text of the same length: every line stands where it stands in the source."""
    lines = [""] * len(source.path.read_text(encoding="utf-8").splitlines())
    for cell, start in zip(source.notebook.cells, source.cell_lines, strict=True):
        if cell.cell_type == "code":
            for offset, line in enumerate(cell.source.splitlines()):
                indent = line[: len(line) - len(line.lstrip())]
                lines[start - 1 + offset] = f"{indent}pass" if line.lstrip().startswith(("%", "!")) else line
    return "\n".join(lines) + "\n"


def lint_notebook(root: Path, path: Path) -> list[str]:
    """What ruff has to say about one notebook, as `file:line:column: code message`."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--output-format=json",
            f"--extend-ignore={NOT_IN_NOTEBOOKS},W293,W391",
            f"--stdin-filename={path.with_suffix('.py').name}",
            "-",
        ],
        cwd=root,
        input=as_module(read(path)),
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        return [f"{path.relative_to(root)}: {done.stderr.strip()}"]
    found = [(each["location"], each["code"] or "syntax", each["message"]) for each in json.loads(done.stdout)]
    return [
        f"{path.relative_to(root)}:{place['row']}:{place['column']}: {code} {message}" for place, code, message in found
    ]


def lint(root: Path) -> int:
    code = 0
    for arguments in (["check", "."], ["format", "--check", "."]):
        code |= subprocess.run([sys.executable, "-m", "ruff", *arguments], cwd=root).returncode
    complaints = [line for path in sources(root) for line in lint_notebook(root, path)]
    print("\n".join(complaints) if complaints else f"{len(sources(root))} notebooks: no complaint")
    return int(bool(code or complaints))

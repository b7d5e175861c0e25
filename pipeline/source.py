"""From a MyST source to a notebook: the one function that the book, nbmake and `make notebooks` share."""

import ast
import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from jupytext.myst import MystMetadataParsingError, myst_to_notebook

from pipeline.errors import BookError

PRESETS = ("smoke", "laptop", "paper")


@dataclass(frozen=True)
class Source:
    """A notebook read from `path`, with the source line on which each cell's text begins."""

    path: Path
    notebook: nbformat.NotebookNode
    cell_lines: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Names in the parameters cell with their defaults, which must be literals.

        Raises:
            BookError: if there is not exactly one parameters cell, if something else than assignments of literals
                stands in it, or if `preset` is not among the names.
        """
        cells = [cell for cell in self.code_cells() if "parameters" in cell.metadata.get("tags", [])]
        if len(cells) != 1:
            found = "no cell is" if not cells else f"{len(cells)} cells are"
            raise BookError(f"{self.path.name}: {found} tagged `parameters`; exactly one must be")
        line = self.cell_lines[self.notebook.cells.index(cells[0])]
        try:
            statements = ast.parse(cells[0].source).body
        except SyntaxError as error:
            at = line + (error.lineno or 1) - 1
            raise BookError(f"{self.path.name}, line {at}: the parameters cell is not Python: {error.msg}") from None
        defaults: dict[str, Any] = {}
        for statement in statements:
            at = line + statement.lineno - 1
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            value = getattr(statement, "value", None)
            if value is None or len(targets) != 1 or not isinstance(targets[0], ast.Name):
                if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant):
                    continue  # a docstring
                raise BookError(
                    f"{self.path.name}, line {at}: the parameters cell holds assignments `name = literal` only"
                )
            try:
                defaults[targets[0].id] = ast.literal_eval(value)
            except ValueError:
                raise BookError(
                    f"{self.path.name}, line {at}: the default of `{targets[0].id}` is not a literal"
                ) from None
        if "preset" not in defaults:
            raise BookError(f"{self.path.name}: the parameters cell does not set `preset`")
        return defaults

    def code_cells(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def check_parameters(self, given: dict[str, Any]) -> None:
        """Raise a BookError unless every given name is a parameter of this notebook and the preset is a known one."""
        known = self.parameters
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                raise BookError(
                    f"{self.path.name}: unknown parameter `{name}`{hint} (it has {', '.join(f'`{n}`' for n in known)})"
                )
        check_preset(given.get("preset", known["preset"]), self.path.name)


def check_preset(preset: Any, where: str) -> None:
    if preset not in PRESETS:
        raise BookError(f"{where}: unknown preset {preset!r}; the presets are {', '.join(PRESETS)}")


def read(path: Path) -> Source:
    """The notebook that a MyST source stands for, with stable cell ids (the same source gives the same notebook)."""
    try:
        notebook = myst_to_notebook(path.read_text(encoding="utf-8"), add_source_map=True)
    except (MystMetadataParsingError, ValueError) as error:
        raise BookError(f"{path.name}: {error}") from None
    lines = notebook.metadata.pop("source_map")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})
    notebook.metadata["kernelspec"]["language"] = "python"
    notebook.metadata.setdefault("language_info", {"name": "python"})
    text = path.read_text(encoding="utf-8").splitlines()
    return Source(
        path,
        notebook,
        tuple(_first_line(text, cell, line) for cell, line in zip(notebook.cells, lines, strict=True)),
    )


def _first_line(text: list[str], cell: nbformat.NotebookNode, start: int) -> int:
    """The 1-based line on which a cell's text begins, past a code cell's header of options."""
    line = start + 1
    if cell.cell_type == "code" and line <= len(text):
        if text[line - 1].startswith("---"):
            line += 1
            while line <= len(text) and not text[line - 1].startswith("---"):
                line += 1
            line += 1
        else:
            while line <= len(text) and text[line - 1].lstrip().startswith(":"):
                line += 1
    return line


def runnable(path: Path, **given: Any) -> nbformat.NotebookNode:
    """A checked notebook, as `make notebooks` writes it; given parameters are injected as papermill does it."""
    source = read(path)
    source.check_parameters(given)
    changed = {name: value for name, value in given.items() if source.parameters[name] != value}
    if changed:
        from papermill.parameterize import parameterize_notebook

        source.notebook.metadata.setdefault("papermill", {})
        for cell in source.notebook.cells:
            cell.metadata.setdefault("tags", [])
        return parameterize_notebook(source.notebook, changed, kernel_name="python3", language="python")
    return source.notebook


def sources(root: Path) -> list[Path]:
    """The notebook sources of a project, in the order of their numbers."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.md"))

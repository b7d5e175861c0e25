"""How each executed notebook came about, and which committed records stand behind each of its figures."""

from __future__ import annotations

import ast
import json
import shutil
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from docutils import nodes
from late_links import EXECUTED, to_file, to_notebook
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole
from table_nodes import paragraph, row, table

KEY = "companion"  # pipeline/provenance.py writes it into a notebook's metadata
RECORDS = "results/"


def notebooks(srcdir: Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of every executed notebook."""
    return [
        (path.stem, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((srcdir / EXECUTED).glob("*.ipynb"))
    ]


def record(notebook: dict[str, Any]) -> dict[str, Any]:
    """What the run noted, with its seconds and its date; parts that an older pipeline did not note are missing."""
    run = notebook["metadata"].get("papermill", {})
    noted = dict(notebook["metadata"].get(KEY, {}))
    if run.get("duration") is not None:
        noted["seconds"] = run["duration"]
    if run.get("end_time"):
        noted["date"] = datetime.fromisoformat(run["end_time"]).strftime("%Y-%m-%d %H:%M UTC")
    return noted


def figures(notebook: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the notebook's figures, each with the records it is drawn from, which parameters name.

    A statement that reads such a parameter passes a mark on to the names that it binds, and so does one that reads a
    marked name; a figure's cell that reads a marked name draws from the records.
    """
    named = {
        name: value
        for name, value in notebook["metadata"].get(KEY, {}).get("parameters", {}).items()
        if isinstance(value, str) and value.startswith(RECORDS)
    }
    marks: dict[str, set[str]] = {name: {value} for name, value in named.items()}
    found: dict[str, list[str]] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        used: set[str] = set()
        for statement in statements("".join(cell["source"])):
            read, bound = names(statement)
            passed = set().union(*(marks.get(name, set()) for name in read))
            used |= passed
            marks.update((name, passed) for name in bound - set(named))
        figure = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        if figure:
            found[figure] = sorted(used)
    return found


def names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The names that a statement reads and those that it binds; what it binds only for itself is neither.

    In an assignment the targets may be read as well (`x = f(x)`), variables of comprehensions may not; a loop or a
    function reads nothing that it binds itself. Assigning to a part of a thing, `x["a"] = y`, reads and binds it.
    """
    words = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    read = {word.id for word in words if isinstance(word.ctx, ast.Load)}
    stored = {word.id for word in words if isinstance(word.ctx, ast.Store)}
    if isinstance(statement, ast.FunctionDef):
        arguments = {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
        return read - stored - arguments, {statement.name}
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        assigned = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        return read - (stored - assigned), assigned
    return read - stored, stored


def statements(code: str) -> Iterator[ast.stmt]:
    """The statements of a cell, lines for IPython left out."""
    kept = "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines())
    yield from ast.parse(kept).body


def files_of(srcdir: Path, named: str) -> list[str]:
    """Downloads that stand for a parameter's value: the file and what describes it, or a folder as one archive."""
    path = srcdir / named
    if path.is_dir():
        return [f"{named.rstrip('/')}.zip"]
    beside = (file for file in path.parent.glob(f"{path.stem}.*") if file.suffix in (path.suffix, ".json"))
    return sorted(f"{Path(named).parent}/{file.name}" for file in beside)


def seconds(value: float | None) -> str:
    if value is None:
        return "not recorded"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"


def memory(value: float | None) -> str:
    return "not recorded" if value is None else f"{value:.0f} MiB" if value < 1000 else f"{value / 1024:.1f} GiB"


def origin(noted: dict[str, Any]) -> str:
    if not noted.get("revision"):
        return "not recorded"
    return noted["revision"] + (", with changes" if noted.get("changed") else "")


def machine(noted: dict[str, Any]) -> str:
    if not noted.get("processor"):
        return "not recorded"
    threads = noted.get("threads")
    allowed = "threads not limited" if threads is None else f"{threads} thread{'s' * (threads != 1)}"
    return f"{noted['processor']}, {noted['cores']} cores, {allowed}"


class RunsDirective(SphinxDirective):
    """`{provenance-runs}`: time, memory, date and revision of each notebook, and their sum."""

    def run(self) -> list[nodes.Node]:
        runs = [(name, record(content)) for name, content in notebooks(Path(self.env.srcdir))]
        body = [
            row(
                [
                    to_notebook(name, "provenance"),
                    seconds(noted.get("seconds")),
                    memory(noted.get("memory_mib")),
                    noted.get("date", "not recorded"),
                    origin(noted),
                ]
            )
            for name, noted in runs
        ]
        spent = [noted["seconds"] for _, noted in runs if "seconds" in noted]
        largest = [noted["memory_mib"] for _, noted in runs if "memory_mib" in noted]
        if spent:
            total = [nodes.strong("", "All"), seconds(sum(spent)), memory(max(largest, default=None)), "", ""]
            body.append(row(total, ["total"]))
        return [table(("Chapter", "Time", "Largest process", "Executed", "Revision"), body, ["provenance"])]


class NotebookDirective(SphinxDirective):
    """`{provenance-notebooks}`: of each notebook its parameters, machine and versions, and its figures' records."""

    def run(self) -> list[nodes.Node]:
        made: list[nodes.Node] = []
        for name, content in notebooks(Path(self.env.srcdir)):
            made += self.notebook(name, content)
        return made

    def notebook(self, name: str, content: dict[str, Any]) -> list[nodes.Node]:
        noted = record(content)
        title = paragraph(nodes.strong("", "", to_notebook(name, "provenance")), classes=["provenance-title"])
        parameters = ", ".join(f"{key} = {value!r}" for key, value in noted.get("parameters", {}).items())
        versions = ", ".join(f"{key} {value}" for key, value in noted.get("versions", {}).items())
        facts = nodes.field_list(classes=["provenance-facts"])
        download: list[nodes.Node | str] = [to_file(f"_sources/{EXECUTED}/{name}.ipynb", f"{name}.ipynb")]
        for word, parts in (
            ("Parameters", [parameters or "not recorded"]),
            ("Machine", [machine(noted)]),
            ("Versions", [versions or "not recorded"]),
            ("Executed notebook", download),
        ):
            facts += nodes.field("", nodes.field_name("", word), nodes.field_body("", paragraph(*parts)))
        body = []
        for figure, named in figures(content).items():
            links: list[nodes.Node | str] = []
            for file in (file for value in named for file in files_of(Path(self.env.srcdir), value)):
                links += [", "] * bool(links) + [to_file(file, Path(file).name)]
            behind = paragraph(*links) if links else "computed in the notebook"
            body.append(row([to_notebook(name, "provenance", figure, number=True), figure, behind]))
        shown = [table(("Figure", "Name", "Records behind it"), body, ["provenance"])] if body else []
        return [nodes.container("", title, facts, *shown, classes=["provenance-notebook"])]


class SummaryRole(SphinxRole):
    """`{provenance}` with `time`, `memory` or `machine`: of all chapters of this site together."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        runs = [record(content) for _, content in notebooks(Path(self.env.srcdir))]
        spent = [noted["seconds"] for noted in runs if "seconds" in noted]
        largest = [noted["memory_mib"] for noted in runs if "memory_mib" in noted]
        machines = sorted({machine(noted) for noted in runs if noted.get("processor")})
        texts = {
            "time": seconds(sum(spent) if spent else None),
            "memory": memory(max(largest, default=None)),
            "machine": "; ".join(machines) or "not recorded",
        }
        if self.text not in texts:
            raise ExtensionError(f"provenance: {self.text!r} is none of {', '.join(texts)}")
        return [nodes.Text(texts[self.text])], []


def copy_records(app: Sphinx, exception: Exception | None) -> None:
    """Put what the executed notebooks name into the site: files as they are, a folder's records as one archive."""
    if exception is not None or app.builder.format != "html":
        return
    srcdir, outdir = Path(app.srcdir), Path(app.outdir)
    named = {value for _, content in notebooks(srcdir) for values in figures(content).values() for value in values}
    for value in sorted(named):
        for file in files_of(srcdir, value):
            target = outdir / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if (srcdir / value).is_dir():
                with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                    for path in sorted((srcdir / value).rglob("*.json")):
                        if not path.name.startswith("."):
                            archive.write(path, path.relative_to(srcdir))
            else:
                shutil.copyfile(srcdir / file, target)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("provenance-runs", RunsDirective)
    app.add_directive("provenance-notebooks", NotebookDirective)
    app.add_role("provenance", SummaryRole())
    app.connect("build-finished", copy_records)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""Tables that an extension makes: docutils nodes from rows of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes

Cell = str | nodes.Node | Sequence[nodes.Node]


def paragraph(*parts: str | nodes.Node, classes: Sequence[str] = ()) -> nodes.paragraph:
    children = [nodes.Text(part) if isinstance(part, str) else part for part in parts]
    return nodes.paragraph("", "", *children, classes=list(classes))


def entry(cell: Cell) -> nodes.entry:
    """A cell: a text or an inline node becomes its paragraph, a list of blocks its content."""
    if isinstance(cell, nodes.entry):
        return cell
    if isinstance(cell, str | nodes.Node):
        return nodes.entry("", cell if isinstance(cell, nodes.paragraph) else paragraph(cell))
    return nodes.entry("", *cell)


def row(cells: Iterable[Cell], classes: Sequence[str] = (), row_id: str | None = None) -> nodes.row:
    made = nodes.row("", *map(entry, cells), classes=list(classes))
    if row_id:
        made["ids"] = [row_id]
    return made


def table(
    headings: Sequence[str], rows: Iterable[nodes.row], classes: Sequence[str], widths: Sequence[int] | None = None
) -> nodes.container:
    """A table in a box that scrolls by itself, so that it never widens the page."""
    group = nodes.tgroup(cols=len(headings))
    group += [nodes.colspec(colwidth=width) for width in widths or [1] * len(headings)]
    group += nodes.thead("", row(headings))
    group += nodes.tbody("", *rows)
    given = ["colwidths-given"] if widths else ["colwidths-auto"]
    return nodes.container("", nodes.table("", group, classes=[*classes, *given]), classes=["table-box"])

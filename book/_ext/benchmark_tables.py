"""The directive `{benchmark} NAME`: the tables of results/benchmarks/NAME.json (format: benchmarks/record.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

RESULTS = Path("results", "benchmarks")


def figure(value: float) -> str:
    """Three significant digits, thousands apart; a count as it is."""
    if isinstance(value, int):
        return str(value)
    rounded = float(f"{value:.3g}")
    if rounded >= 1000:
        return f"{rounded:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{rounded:#.3g}".rstrip(".")


def ratio(value: float) -> str:
    """How many times as fast ours is."""
    return f"{value:.0f}×" if value >= 20 else f"{value:.1f}×" if value >= 10 else f"{value:.2f}×"


def cell(text: str, *classes: str) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", text), classes=list(classes))


def table_node(table: dict[str, Any]) -> nodes.table:
    """Case, form, ratio, median, best round, further columns; the fastest of each case stands out."""
    headings = (
        "",
        "Form",
        "Ours is faster by",
        "Median",
        "Best",
        *(heading[0].upper() + heading[1:] for heading in table["columns"]),
    )
    group = nodes.tgroup(cols=len(headings))
    group += [nodes.colspec(colwidth=1) for _ in headings]
    group += nodes.thead(
        "", nodes.row("", *(cell(text, "numeric") if i > 1 else cell(text) for i, text in enumerate(headings)))
    )
    body, fastest = nodes.tbody(), min if table["better"] == "lower" else max
    for case in dict.fromkeys(row["case"] for row in table["rows"]):
        rows = [row for row in table["rows"] if row["case"] == case]
        best = fastest(row["median"] for row in rows)
        for row in rows:
            form = nodes.paragraph(
                "", "", nodes.strong("", row["contestant"]) if row["ours"] else nodes.Text(row["contestant"])
            )
            if row["median"] == best:
                form += [nodes.Text(" "), nodes.inline("", "fastest", classes=["benchmark-fastest"])]
            made = nodes.row(
                "",
                cell(case if row is rows[0] else "", "benchmark-case"),
                nodes.entry("", form),
                cell("ours" if row["ours"] else ratio(row["ratio"]), "numeric"),
                cell(figure(row["median"]), "numeric"),
                cell(figure(row["best"]), "numeric"),
                *(cell(figure(row[heading]), "numeric") for heading in table["columns"]),
                classes=["benchmark-first"] if row is rows[0] else [],
            )
            body += made
    group += body
    return nodes.table("", group, classes=["benchmark"])


def provenance(content: dict[str, Any], table: dict[str, Any]) -> nodes.paragraph:
    """Rounds, machine, versions and date, for under a table."""
    machine = content["machine"]
    threads = " and ".join(map(str, machine["threads"])) + (" thread" if machine["threads"] == [1] else " threads")
    rounds = sorted({row["rounds"] for row in table["rows"]})
    parts = [
        f"{' to '.join(map(str, rounds[:1] + rounds[1:][-1:]))} interleaved rounds",
        f"{machine['processor']}, {machine['cores']} cores, {threads}",
        ", ".join(f"{name} {version}" for name, version in content["versions"].items()),
        f"{content['date']}, revision {content['revision']}",
    ]
    if machine["load_before"] is not None:
        parts.append(f"load of the machine just before: {machine['load_before']:.1f}")
    return nodes.paragraph("", "; ".join(parts) + ".", classes=["benchmark-provenance"])


def target_list(targets: list[dict[str, Any]]) -> nodes.bullet_list:
    """Every target, whether it was met, and the figure that decided."""
    items = nodes.bullet_list(classes=["benchmark-targets"])
    for target in targets:
        word, colour = ("met", "reproduced") if target["met"] else ("missed", "not-reproduced")
        chip = nodes.inline("", word, classes=["verdict-chip", f"verdict-{colour}"])
        text = f" {target['statement']}: {figure(float(target['measured']))}"
        items += nodes.list_item("", nodes.paragraph("", "", chip, nodes.Text(text)))
    return items


class BenchmarkDirective(SphinxDirective):
    """`{benchmark} NAME`: all tables of a benchmark, each with its machine and date, then its targets."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        file = RESULTS / f"{name}.json"
        path = Path(self.env.srcdir) / file
        self.env.note_dependency(str(file))
        if not path.is_file():
            self.complain(f"{file} is missing; `make bench BENCH={name}` writes it")
            return []
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            made: list[nodes.Node] = []
            for table in content["tables"]:
                caption = nodes.paragraph("", f"{table['title']} ({table['unit']})", classes=["benchmark-title"])
                box = nodes.container("", table_node(table), classes=["table-box"])
                made.append(nodes.container("", caption, box, provenance(content, table), classes=["benchmark-block"]))
            return made + ([target_list(content["targets"])] if content["targets"] else [])
        except json.JSONDecodeError as error:
            self.complain(f"{file} is not JSON: {error}")
        except KeyError as error:
            self.complain(f"{file} lacks {error}, which benchmarks/record.py writes")
        except (TypeError, ValueError, AttributeError) as error:
            self.complain(f"{file} is not as benchmarks/record.py writes it: {error}")
        return []

    def complain(self, message: str) -> None:
        """A warning, which is an error in the build."""
        logger.warning("benchmark: %s", message, location=self.get_location())


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("benchmark", BenchmarkDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""The scorecard, from what the executed notebooks stated: in full, at a glance, and single findings in a text."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from late_links import late_link, to_file, to_notebook, to_page
from site_files import DOWNLOADS, GENERATED
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole
from table_nodes import paragraph, row, table

PAGE = "book/scorecard"
NOT_COVERED = "not yet covered"
# In the order in which the introduction counts them. The class in companion.css is the verdict with hyphens.
VERDICTS = (
    "reproduced",
    "reproduced, corrected",
    "illustrated",
    "not reproduced",
    "inconclusive",
    "not run at this scale",
    NOT_COVERED,
)


def claims(srcdir: Path) -> dict[str, Any]:
    """The paper's claims. The module is loaded by itself: the package would load torch."""
    spec = importlib.util.spec_from_file_location("companion_paper", srcdir / "clop_nb" / "paper.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.CLAIMS


def scorecard(srcdir: Path) -> list[dict[str, Any]]:
    """The rows that the pipeline wrote, or every claim of the paper as not yet covered."""
    known = claims(srcdir)
    made = srcdir / GENERATED / "scorecard.json"
    if made.exists():
        rows = json.loads(made.read_text(encoding="utf-8"))
    else:
        rows = [
            {"id": claim.id, "where": claim.where, "statement": claim.statement, "verdict": NOT_COVERED}
            for claim in known.values()
        ]
    for entry in rows:
        if entry["verdict"] not in VERDICTS:
            raise ExtensionError(
                f"claim {entry['id']}: unknown verdict {entry['verdict']!r}; known: {', '.join(VERDICTS)}"
            )
        entry["printed"] = known[entry["id"]].text
    return rows


def number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.4f}".rstrip("0").rstrip(".") if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"


def measured(stated: dict[str, Any]) -> list[str]:
    """Our value and its interval."""
    if stated.get("ours") in (None, ""):
        return []
    lines = [number(stated["ours"])]
    if stated.get("low") is not None and stated.get("high") is not None:
        lines.append(f"{number(stated['low'])} to {number(stated['high'])}")
    return lines


def slug(verdict: str) -> str:
    return verdict.replace(",", "").replace(" ", "-")


def chip(verdict: str) -> nodes.inline:
    return nodes.inline("", verdict, classes=["verdict-chip", f"verdict-{slug(verdict)}"])


def only(verdict: str) -> str:
    """The id of the first row with a verdict; in an address it makes the page's script show these rows only."""
    return f"only-{slug(verdict)}"


def row_ids(rows: list[dict[str, Any]]) -> list[str]:
    """An id for each row; a claim on which several notebooks have a verdict gets numbered ones."""
    seen: dict[str, int] = {}
    ids = []
    for stated in rows:
        seen[stated["id"]] = seen.get(stated["id"], 0) + 1
        ids.append(f"claim-{stated['id']}" + (f"-{seen[stated['id']]}" if seen[stated["id"]] > 1 else ""))
    return ids


def lines(texts: list[str]) -> list[nodes.paragraph]:
    return [paragraph(text, classes=["score-value" if i == 0 else "score-detail"]) for i, text in enumerate(texts)]


class FromScorecard(SphinxDirective):
    """What the directives share: the rows, and a sentence with its maths."""

    def rows(self) -> list[dict[str, Any]]:
        self.env.note_dependency(str(GENERATED / "scorecard.json"))
        return scorecard(Path(self.env.srcdir))

    def text(self, text: str) -> nodes.paragraph:
        """Inline MyST, so that a sentence may hold maths."""
        parsed, messages = self.state.inline_text(text, self.lineno)
        return paragraph(*parsed, *messages)


class ScorecardDirective(FromScorecard):
    """`{scorecard}`: every claim of the paper, one row for each verdict stated on it."""

    headings = ("Claim", "What the paper says", "The paper", "This companion", "Seeds, device", "Verdict")
    widths = (7, 25, 15, 15, 10, 35)

    def run(self) -> list[nodes.Node]:
        rows = self.rows()
        body = [self.row(stated, row_id) for stated, row_id in zip(rows, row_ids(rows), strict=True)]
        for made in reversed(body):
            mark = next(made.findall(lambda node: "verdict-chip" in getattr(node, "attributes", {}).get("classes", [])))
            mark["ids"] = [only(mark.astext())]
        box = table(self.headings, body, ["scorecard", "sortable"], self.widths)
        box["classes"] = ["scorecard-box"]
        return [nodes.raw("", controls(rows), format="html"), box]

    def row(self, stated: dict[str, Any], row_id: str) -> nodes.row:
        found = [paragraph(chip(stated["verdict"]))]
        if stated.get("sentence"):
            found.append(self.text(stated["sentence"]))
        if stated.get("notebook"):
            link = to_notebook(stated["notebook"], f"claim {stated['id']}", stated.get("anchor"))
            found.append(paragraph(link))
        seeds = [number(stated["seeds"])] if stated.get("seeds") else ["–"] if stated.get("device") else []
        cells = [
            nodes.strong("", stated["id"]),
            [self.text(stated["statement"]), paragraph(stated["where"], classes=["claim-where"])],
            lines([stated["printed"]]),
            lines(measured(stated)),
            lines(seeds + [stated["device"]] * bool(stated.get("device"))),
            found,
        ]
        return row(cells, ["claim", f"row-{slug(stated['verdict'])}"], row_id)


def controls(rows: list[dict[str, Any]]) -> str:
    """The filter, hidden until the script that works it has come; the verdicts in their order, with their counts."""
    counts = {verdict: sum(stated["verdict"] == verdict for stated in rows) for verdict in VERDICTS}
    buttons = "".join(
        f'<button type="button" class="verdict-chip verdict-{slug(verdict)}" aria-pressed="false" '
        f'data-verdict="{slug(verdict)}">{verdict} <span class="filter-count">{count}</span></button>'
        for verdict, count in counts.items()
        if count
    )
    return (
        '<form class="table-filter" role="search" aria-label="Filter the scorecard" hidden>'
        '<label for="filter-text">Find</label>'
        '<input type="search" id="filter-text" autocomplete="off" placeholder="threshold, Fig. 3, seeds …">'
        f'<div class="filter-verdicts" role="group" aria-label="Show only these verdicts">{buttons}</div>'
        '<p class="filter-status"><span role="status"></span> <button type="reset" hidden>Show all</button></p></form>'
    )


class ScorecardSummaryDirective(FromScorecard):
    """`{scorecard-summary}`: how many claims stand where, and each claim's verdict as a link to its row."""

    def run(self) -> list[nodes.Node]:
        rows = self.rows()
        summary = nodes.container(classes=["scorecard-summary"])
        by_verdict: dict[str, list[tuple[dict[str, Any], str]]] = {verdict: [] for verdict in VERDICTS}
        for stated, row_id in zip(rows, row_ids(rows), strict=True):
            by_verdict[stated["verdict"]].append((stated, row_id))
        for verdict, group in by_verdict.items():
            if not group:
                continue
            all_of_them = to_page(PAGE, verdict, only(verdict))
            all_of_them["classes"] = ["verdict-chip", f"verdict-{slug(verdict)}"]
            line: list[str | nodes.Node] = [nodes.inline("", str(len(group)), classes=["summary-count"]), " "]
            line += [all_of_them, " "]
            for stated, row_id in group:
                line += [to_page(PAGE, stated["id"], row_id), " "]
            summary += paragraph(*line, classes=["summary-line"])
        return [summary]


class FindingDirective(FromScorecard):
    """`{finding} ID [NOTEBOOK]`: what a notebook found about a claim, in its own sentence, with the verdict."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        rows = self.rows()
        wanted = [
            (stated, row_id)
            for stated, row_id in zip(rows, row_ids(rows), strict=True)
            if stated["id"] == self.arguments[0] and self.arguments[1:] in ([], [stated.get("notebook")])
        ]
        if not wanted:
            raise self.error(f"finding: the scorecard has no row {' '.join(self.arguments)}")
        made = nodes.container(classes=["finding"])
        for stated, row_id in wanted:
            text = self.text(stated.get("sentence") or stated["statement"])
            made += paragraph(to_page(PAGE, stated["id"], row_id), " ", chip(stated["verdict"]), " ", *text.children)
        return [made]


class DownloadRole(SphinxRole):
    """`{download-scorecard}`: a link to a file that the extension puts at the root of the site."""

    def run(self) -> tuple[list[late_link], list[nodes.system_message]]:
        if self.text not in DOWNLOADS:
            raise ExtensionError(f"download-scorecard: {self.text!r} is none of {', '.join(DOWNLOADS)}")
        return [to_file(self.text)], []


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("scorecard", ScorecardDirective)
    app.add_directive("scorecard-summary", ScorecardSummaryDirective)
    app.add_directive("finding", FindingDirective)
    app.add_role("download-scorecard", DownloadRole())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

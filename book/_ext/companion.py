"""The site's own Sphinx extension.

It does four things that the stock theme and MyST-NB do not:

- serves MathJax and plotly.js from the site, so that no page asks another host for anything;
- renders a plotly figure as its static picture, with the figure's JSON beside it for `companion.js` to draw;
- keeps verdict records, which the pipeline reads, out of the rendered pages;
- renders the scorecard, in full and at a glance, from what the executed notebooks stated.

Tables of benchmarks are in `benchmark_tables.py`.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core import render as nb_render
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)

PLOTLY_MIME = "application/vnd.plotly.v1+json"
VERDICT_MIME = "application/vnd.clop-nb.verdict+json"
GENERATED = Path("book", "_generated")
EXECUTED = "book/_executed"
DOWNLOADS = ("scorecard.json", "scorecard.csv")
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


# Outputs of notebooks ------------------------------------------------------------------------------------------------


class MimeRenderer:
    """Plotly figures, and the verdict records (which have an HTML twin in the same output)."""

    mime_priority_overrides = (("html", PLOTLY_MIME, 1),)

    @staticmethod
    def handle_mime(
        renderer: nb_render.NbElementRenderer, data: nb_render.MimeData, inline: bool
    ) -> list[nodes.Node] | None:
        if data.mime_type == VERDICT_MIME:
            return []
        if data.mime_type != PLOTLY_MIME or inline:
            return None
        return [plotly_node(renderer, data)]


def plotly_node(renderer: nb_render.NbElementRenderer, data: nb_render.MimeData) -> nodes.container:
    """The static picture of the same output, then the figure as JSON in a script that no browser runs."""
    output = renderer.renderer.nb_client.code_cell_outputs(data.cell_index)[1][data.output_index]
    picture = output["data"].get("image/svg+xml")
    if picture is None:
        renderer.logger.warning(
            "a plotly figure without a static picture beside it (clop_nb.plots.show makes both)", line=data.line
        )
    figure = data.content if isinstance(data.content, dict) else json.loads(data.content)
    kept = {"data": figure["data"], "layout": figure.get("layout", {})}
    if figure.get("frames"):
        kept["frames"] = figure["frames"]
    container = nodes.container(classes=["plotly-figure"])
    if picture is not None:
        static = nb_render.MimeData(
            "image/svg+xml",
            picture if isinstance(picture, str) else "".join(picture),
            cell_metadata=data.cell_metadata,
            output_metadata=data.output_metadata,
            cell_index=data.cell_index,
            output_index=data.output_index,
            line=data.line,
        )
        container += renderer.render_image(static)
    # "<" would let a text in the figure close the script
    text = json.dumps(kept, separators=(",", ":")).replace("<", "\\u003c")
    container += nodes.raw("", f'<script type="application/json" class="plotly-json">{text}</script>', format="html")
    return container


def register_mime_renderer() -> None:
    """MyST-NB finds renderers by entry point; a site's own extension has none, so it is put in front of those found."""
    found = nb_render.load_mime_renders.__wrapped__()
    nb_render.load_mime_renders = lambda: [MimeRenderer, *found]


def drop_bare_preset(app: Sphinx, doctree: nodes.document) -> None:
    """Take out the cell that papermill adds where it sets nothing but the preset, which the scorecard shows."""
    for cell in list(doctree.findall(nodes.container)):
        if "tag_injected-parameters" in cell["classes"]:
            lines = [line for line in cell.astext().splitlines() if line.strip() and not line.startswith("#")]
            if len(lines) == 1 and lines[0].startswith("preset ="):
                cell.parent.remove(cell)


# Files served by the site --------------------------------------------------------------------------------------------


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ExtensionError(
            f"the package {name!r} is not installed; `make .venv` installs everything that the book needs"
        )
    return Path(spec.origin).parent


def copy_mathjax(outdir: Path) -> None:
    """Of MathJax's 24 MB, what TeX input and HTML output can ask for."""
    source = package_folder("sphinx-mathjax-offline") / "static" / "mathjax"
    target = outdir / "_static" / "mathjax"
    for name in (
        "tex-chtml.js",
        "input/tex/extensions",
        "output/chtml/fonts",
        "a11y",
        "sre/mathmaps/base.json",
        "sre/mathmaps/en.json",
    ):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / name, target / name)


def copy_files(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    outdir = Path(app.outdir)
    copy_mathjax(outdir)
    if any('class="plotly-json"' in page.read_text(encoding="utf-8") for page in outdir.rglob("*.html")):
        shutil.copyfile(
            package_folder("plotly") / "package_data" / "plotly.min.js", outdir / "_static" / "plotly.min.js"
        )
    for name in DOWNLOADS:
        made = Path(app.srcdir) / GENERATED / name
        if made.exists():
            shutil.copyfile(made, outdir / name)


# The scorecard -------------------------------------------------------------------------------------------------------


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
    for row in rows:
        if row["verdict"] not in VERDICTS:
            raise ExtensionError(f"claim {row['id']}: unknown verdict {row['verdict']!r}; known: {', '.join(VERDICTS)}")
        row["printed"] = known[row["id"]].text
    return rows


def number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.4f}".rstrip("0").rstrip(".") if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"


def measured(row: dict[str, Any]) -> list[str]:
    """Our value, its spread, and what stands behind it."""
    if row.get("ours") in (None, ""):
        return []
    lines = [number(row["ours"])]
    if row.get("low") is not None and row.get("high") is not None:
        lines.append(f"{number(row['low'])} to {number(row['high'])}")
    if row.get("seeds"):
        lines.append(f"{number(row['seeds'])} seeds" if row["seeds"] != 1 else "1 seed")
    return lines


class companion_link(nodes.inline):
    """A link to a notebook, or to a label in it; becomes a reference when all pages are known."""


def slug(verdict: str) -> str:
    return verdict.replace(",", "").replace(" ", "-")


def chip(verdict: str) -> nodes.inline:
    return nodes.inline("", verdict, classes=["verdict-chip", f"verdict-{slug(verdict)}"])


def row_ids(rows: list[dict[str, Any]]) -> list[str]:
    seen: dict[str, int] = {}
    ids = []
    for row in rows:
        seen[row["id"]] = seen.get(row["id"], 0) + 1
        ids.append(f"claim-{row['id']}" + (f"-{seen[row['id']]}" if seen[row["id"]] > 1 else ""))
    return ids


class ScorecardDirective(SphinxDirective):
    """`{scorecard}`: every claim of the paper, one row for each verdict stated on it."""

    headings = ("Claim", "What the paper says", "The paper", "This companion", "Verdict")
    widths = (7, 27, 16, 15, 35)

    def run(self) -> list[nodes.Node]:
        rows = scorecard(Path(self.env.srcdir))
        self.env.note_dependency(str(GENERATED / "scorecard.json"))
        group = nodes.tgroup(cols=len(self.headings))
        group += [nodes.colspec(colwidth=width) for width in self.widths]
        head = nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in self.headings))
        group += nodes.thead("", head)
        body = nodes.tbody()
        for row, row_id in zip(rows, row_ids(rows), strict=True):
            body += self.row(row, row_id)
        group += body
        table = nodes.table("", group, classes=["scorecard", "colwidths-given"])
        return [nodes.container("", table, classes=["scorecard-box"])]

    def row(self, row: dict[str, Any], row_id: str) -> nodes.row:
        name = nodes.entry("", nodes.paragraph("", "", nodes.strong("", row["id"])))
        says = nodes.entry("", self.text(row["statement"]), nodes.paragraph("", row["where"], classes=["claim-where"]))
        paper = nodes.entry("", *self.lines([row["printed"]]))
        ours = nodes.entry("", *self.lines(measured(row)))
        verdict = nodes.entry("", nodes.paragraph("", "", chip(row["verdict"])))
        if row.get("sentence"):
            verdict += self.text(row["sentence"])
        if row.get("notebook"):
            verdict += nodes.paragraph(
                "", "", companion_link("", "", notebook=row["notebook"], anchor=row.get("anchor"), claim=row["id"])
            )
        made = nodes.row("", name, says, paper, ours, verdict, classes=["claim", f"row-{slug(row['verdict'])}"])
        made["ids"] = [row_id]
        return made

    def text(self, text: str) -> nodes.paragraph:
        """Inline MyST, so that a sentence may hold maths."""
        parsed, messages = self.state.inline_text(text, self.lineno)
        return nodes.paragraph("", "", *parsed, *messages)

    def lines(self, lines: list[str]) -> list[nodes.paragraph]:
        return [
            nodes.paragraph("", line, classes=["score-value" if i == 0 else "score-detail"])
            for i, line in enumerate(lines)
        ]


class ScorecardSummaryDirective(SphinxDirective):
    """`{scorecard-summary}`: how many claims stand where, and each claim's verdict as a link to its row."""

    def run(self) -> list[nodes.Node]:
        rows = scorecard(Path(self.env.srcdir))
        self.env.note_dependency(str(GENERATED / "scorecard.json"))
        summary = nodes.container(classes=["scorecard-summary"])
        by_verdict: dict[str, list[tuple[str, str]]] = {verdict: [] for verdict in VERDICTS}
        for row, row_id in zip(rows, row_ids(rows), strict=True):
            by_verdict[row["verdict"]].append((row["id"], row_id))
        for verdict, claims in by_verdict.items():
            if not claims:
                continue
            line = nodes.paragraph("", "", classes=["summary-line"])
            line += [
                nodes.inline("", str(len(claims)), classes=["summary-count"]),
                nodes.Text(" "),
                chip(verdict),
                nodes.Text(" "),
            ]
            for name, row_id in claims:
                line += [companion_link("", name, page="book/scorecard", target=row_id), nodes.Text(" ")]
            summary += line
        return [summary]


class DownloadRole(SphinxRole):
    """`{download-scorecard}`: a link to a file that the extension puts at the root of the site."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if self.text not in DOWNLOADS:
            raise ExtensionError(f"download-scorecard: {self.text!r} is none of {', '.join(DOWNLOADS)}")
        return [companion_link("", self.text, download=self.text)], []


def label_of(app: Sphinx, docname: str, anchor: str) -> str | None:
    """The HTML id of a label on a page: sections, figures and tables, then equations, then theorems."""
    env = app.env
    found = env.get_domain("std").data["anonlabels"].get(anchor.lower())
    if found and found[0] == docname:
        return found[1]
    equation = env.get_domain("math").data["objects"].get(anchor)
    if equation and equation[0] == docname:
        return f"equation-{nodes.make_id(anchor)}"
    proof = getattr(env, "proof_list", {}).get(anchor)
    return proof["ids"][0] if proof and proof["docname"] == docname else None


def resolve_links(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for link in list(doctree.findall(companion_link)):
        if link.get("download"):
            uri = "../" * docname.count("/") + link["download"]
            link.replace_self(nodes.reference("", link["download"], internal=True, refuri=uri))
            continue
        if link.get("page"):
            page, target, text = link["page"], link["target"], link.astext()
        else:
            page, anchor = f"{EXECUTED}/{link['notebook']}", link.get("anchor")
            if page not in app.env.found_docs:
                logger.warning(
                    "claim %s: the scorecard names the notebook %r, which is no page",
                    link["claim"],
                    link["notebook"],
                    location=docname,
                )
                link.replace_self(nodes.Text(link["notebook"]))
                continue
            target = label_of(app, page, anchor) if anchor else None
            if anchor and target is None:
                logger.warning("claim %s: no label %r in %s", link["claim"], anchor, page, location=docname)
            text = app.env.titles[page].astext()
        uri = app.builder.get_relative_uri(docname, page) + (f"#{target}" if target else "")
        link.replace_self(nodes.reference("", text, internal=True, refuri=uri))


# The pages -----------------------------------------------------------------------------------------------------------


def page_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    app.add_js_file("companion.js", defer="defer")
    if pagename == "book/playground":
        app.add_js_file("playground.js", defer="defer")
        app.add_css_file("playground.css")


def setup(app: Sphinx) -> dict[str, Any]:
    register_mime_renderer()
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    # No explorer and no renderer switch: both would fetch what the site does not carry.
    app.config.mathjax3_config = {
        "options": {"menuOptions": {"settings": {"assistiveMml": True, "collapsible": False, "explorer": False}}},
        "tex": {"macros": {"norm": ["\\lVert #1 \\rVert", 1], "abs": ["\\lvert #1 \\rvert", 1], "R": "\\mathbb{R}"}},
    }
    # Jupyter Book sets it; sphinx_comments, which reads it, is not loaded.
    app.add_config_value("comments_config", {}, "html")
    app.add_node(companion_link)
    app.setup_extension("benchmark_tables")
    app.add_directive("scorecard", ScorecardDirective)
    app.add_directive("scorecard-summary", ScorecardSummaryDirective)
    app.add_role("download-scorecard", DownloadRole())
    app.connect("doctree-read", drop_bare_preset)
    app.connect("doctree-resolved", resolve_links)
    app.connect("html-page-context", page_scripts)
    app.connect("build-finished", copy_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""The site's own Sphinx extension: it loads its parts, each of which does one thing that the stock theme does not.

- `site_files`: MathJax, plotly.js and data served from the site, so that no page asks another host for anything;
- `notebook_outputs`: plotly figures with a static picture; records for the pipeline kept out of the pages;
- `scorecard_table`: the scorecard, in full and at a glance;
- `provenance_table`: how each notebook came about, and the records behind its figures;
- `chapter_list`, `opening_picture`, `citing`: parts of the landing page;
- `benchmark_tables`: tables of benchmarks;
- `late_links`, `table_nodes`: what the others share.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PARTS = (
    "late_links",
    "site_files",
    "notebook_outputs",
    "scorecard_table",
    "provenance_table",
    "chapter_list",
    "opening_picture",
    "citing",
    "benchmark_tables",
    "grid_costs",
)


def page_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    app.add_js_file("companion.js", defer="defer")
    if pagename == "book/playground":
        app.add_js_file("playground.js", defer="defer")
        app.add_css_file("playground.css")
    if doctree is not None and any("sortable" in table["classes"] for table in doctree.findall(nodes.table)):
        app.add_js_file("tables.js", defer="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    # No explorer and no renderer switch: both would fetch what the site does not carry.
    app.config.mathjax3_config = {
        "options": {"menuOptions": {"settings": {"assistiveMml": True, "collapsible": False, "explorer": False}}},
        "tex": {"macros": {"norm": ["\\lVert #1 \\rVert", 1], "abs": ["\\lvert #1 \\rvert", 1], "R": "\\mathbb{R}"}},
    }
    # Jupyter Book sets it; sphinx_comments, which reads it, is not loaded.
    app.add_config_value("comments_config", {}, "html")
    for part in PARTS:
        app.setup_extension(part)
    app.connect("html-page-context", page_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

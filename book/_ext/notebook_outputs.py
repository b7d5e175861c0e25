"""Outputs of executed notebooks: plotly figures with a static twin; records for the pipeline kept out of sight."""

from __future__ import annotations

import json
from typing import Any

from docutils import nodes
from myst_nb.core import render as nb_render
from sphinx.application import Sphinx

PLOTLY_MIME = "application/vnd.plotly.v1+json"
VERDICT_MIME = "application/vnd.clop-nb.verdict+json"


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


def setup(app: Sphinx) -> dict[str, Any]:
    register_mime_renderer()
    app.connect("doctree-read", drop_bare_preset)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""The directive `{grid-costs}`: runs, work and GPU-hours of the image grids at the paper's scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from table_nodes import paragraph, row, table

from clop_nb import cost, grids, store

RESULTS = Path("results", "images")
GRIDS = {
    "batch size": grids.batch_sizes,
    "learning rate": grids.learning_rates,
    "learning rate, the highest kept": grids.steady_rates,
    "lambda": grids.clop_weights,
    "all of them, each run once": grids.every_run,
}
NAMES = {"cifar100": "CIFAR-100", "tiny_imagenet": "Tiny-ImageNet"}


def rounded(value: float) -> str:
    """Two significant digits: an estimate has no more."""
    text = f"{float(f'{value:.2g}'):,.3f}".rstrip("0").rstrip(".")
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}")


def hours(found: cost.Cost) -> list[nodes.paragraph]:
    """A line for each GPU, with the word that says where its figure is from."""
    lines = []
    for gpu, (least, most) in found.hours.items():
        span = rounded(least) if found.measured else f"{rounded(least)} to {rounded(most)}"
        lines.append(paragraph(f"{gpu}: {span} ({'measured' if found.measured else 'estimate'})"))
    return lines


class GridCostsDirective(SphinxDirective):
    """A row for each data set and notebook, then what the figures are computed from."""

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir) / RESULTS
        records = store.read_all(folder) if folder.is_dir() else []
        rows, per_run = [], []
        for name, title in NAMES.items():
            plan = grids.PLANS[name]
            for what, grid in GRIDS.items():
                found = cost.cost(grid(plan), records)
                cells = [title, what, str(found.runs), f"{rounded(found.samples / 1e9)} × 10⁹"]
                rows.append(row([*cells, f"{rounded(found.flops / 1e18)} × 10¹⁸", hours(found)]))
            config = plan.base
            one = cost.cost([config], records)
            _, channels, side = cost.SHAPES[name]
            forward = cost.forward_flops(config.encoder, config.dim, channels, side)
            per_run.append(
                nodes.list_item(
                    "",
                    paragraph(
                        f"{title}: {rounded(forward / 1e9)} × 10⁹ operations for one view of {side} by {side} pixels, "
                        f"forward; {config.epochs} epochs; {plan.seeds} seeds. One run: "
                        + "; ".join(line.astext() for line in hours(one))
                        + " hours."
                    ),
                )
            )
        peaks = ", ".join(f"{gpu} {rounded(peak / 1e12)} TFLOP/s" for gpu, peak in cost.GPUS.items())
        low, high = (f"{share:.0%}".replace("%", " %") for share in cost.SHARES)
        assumed = paragraph(
            "An estimate divides the operations (two views of each sample, the backward pass at twice the forward one) "
            f"by an assumed {low} to {high} of the GPU's peak rate for dense bfloat16 products ({peaks}). No run was "
            "timed for it, batches of 32 may stay below that share, and the evaluation is not counted. A figure is "
            "measured, and says so, once the records have the throughput of that GPU."
        )
        headings = ("Data set", "Grid", "Runs", "Samples trained on", "Operations", "GPU-hours")
        return [table(headings, rows, ["grid-costs"]), assumed, nodes.bullet_list("", *per_run)]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("grid-costs", GridCostsDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

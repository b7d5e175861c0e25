"""The landing page's picture: one start, three fates, drawn from a run of the paper's model when the site is built."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

K = 3  # classes, and dimensions: as many as can be drawn
STEPS = 400
SEED = 5
WEIGHT = 1.0  # the paper's weight of the pull
COLOURS = ("#0072b2", "#e69f00", "#009e73")
ELEVATION, AZIMUTH = math.radians(24), math.radians(38)


class Fate(NamedTuple):
    """One run: its rate and weight, positions at every second step (the mean changes sides in each), |mean| at last."""

    lr: float
    weight: float
    paths: list[list[tuple[float, float, float]]]
    mean_norm: float


def fates() -> tuple[float, list[Fate]]:
    """The exact threshold, and runs below it, above it, and above it with the pull, all from one random start."""
    import torch

    from clop_nb import dynamics, prototypes, theory

    generator = torch.Generator().manual_seed(SEED)
    start = dynamics.random_embeddings(K, K, generator=generator, dtype=torch.float64)
    targets = prototypes.orthonormal(K, K, generator).double()
    threshold = theory.critical_lr(K)
    made = []
    for factor, weight in ((0.75, 0.0), (1.125, 0.0), (1.125, WEIGHT)):
        lr = factor * threshold
        run = dynamics.simulate(start, lr, STEPS, targets, weight, every=2)
        paths = run.x.transpose(0, 1).tolist()
        made.append(Fate(lr, weight, paths, float(run.mean_norm[-1])))
    return threshold, made


def seen(point: tuple[float, float, float]) -> tuple[float, float]:
    """A point of space as the picture shows it, y downwards."""
    x, y, z = point
    along = -x * math.sin(AZIMUTH) + y * math.cos(AZIMUTH)
    towards = x * math.cos(AZIMUTH) + y * math.sin(AZIMUTH)
    return 100 * along, -100 * (z * math.cos(ELEVATION) - towards * math.sin(ELEVATION))


def line(points: list[tuple[float, float, float]]) -> str:
    """The path, without points that would not be seen apart from the one before."""
    kept = [seen(points[0])]
    for x, y in map(seen, points[1:]):
        if math.hypot(x - kept[-1][0], y - kept[-1][1]) > 1:
            kept.append((x, y))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in kept)


def globe() -> str:
    """Outline, equator and two meridians of the unit sphere."""
    turn = [2 * math.pi * i / 72 for i in range(73)]
    circles = [[(math.cos(t), math.sin(t), 0.0) for t in turn]]
    circles += [
        [(math.cos(t) * math.cos(a), math.cos(t) * math.sin(a), math.sin(t)) for t in turn] for a in (0.0, math.pi / 2)
    ]
    drawn = "".join(f'<polyline points="{line(circle)}"/>' for circle in circles)
    return f'<g class="globe"><circle r="100"/>{drawn}</g>'


def svg(fate: Fate, label: str) -> str:
    """One sphere: rings where the classes start, lines along their way, dots where they end; dots that meet nest."""
    parts = [globe()]
    placed: list[tuple[float, float]] = []
    for colour, path in zip(COLOURS, fate.paths, strict=True):
        (x0, y0), (x1, y1) = seen(path[0]), seen(path[-1])
        radius = 9.0 - 3.0 * sum(math.hypot(x1 - x, y1 - y) < 2 for x, y in placed)
        placed.append((x1, y1))
        parts.append(
            f'<g style="color:{colour}"><polyline class="way" points="{line(path)}"/>'
            f'<circle class="start" cx="{x0:.1f}" cy="{y0:.1f}" r="6"/></g>'
        )
        parts.append(f'<circle class="end" cx="{x1:.1f}" cy="{y1:.1f}" r="{radius:g}" fill="{colour}"/>')
    return f'<svg viewBox="-112 -112 224 224" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def html() -> str:
    threshold, made = fates()
    below, above, pulled = made
    for fate, collapses in ((below, False), (above, True), (pulled, False)):
        if (fate.mean_norm > 0.9) != collapses:
            raise RuntimeError(f"the picture's caption does not describe its run at rate {fate.lr:g}: {fate.mean_norm}")
    captions = (
        (f"Rate {below.lr:g}", "spread", "the three classes end apart"),
        (f"Rate {above.lr:g}", "collapsed", "the three classes end in one point"),
        (f"Rate {pulled.lr:g} with CLOP", "apart", "the three classes end apart, each drawn to its prototype"),
    )
    figures = ""
    for fate, (title, end, alt) in zip(made, captions, strict=True):
        text = f"{title}: from the same start, after {STEPS} steps, {alt}"
        note = f"mean of length {fate.mean_norm:.2f}"
        figures += f"<li>{svg(fate, text)}<b>{title}</b><span>{end}, {note}</span></li>"
    return (
        f'<figure class="opening-picture"><ul>{figures}</ul><figcaption>Three classes in the paper’s model, from the '
        f"rings to the dots in {STEPS} steps. For three classes the threshold is {threshold:g}.</figcaption></figure>"
    )


class OpeningPictureDirective(SphinxDirective):
    """`{opening-picture}`."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", html(), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("opening-picture", OpeningPictureDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

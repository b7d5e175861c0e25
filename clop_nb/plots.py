"""The one visual language of the book: colours by method, the paper's values, spheres, static and rotatable figures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

__all__ = [
    "EXACT_LINE",
    "METHOD_COLOURS",
    "PAPER_MARK",
    "PRINTED_LINE",
    "epoch_colours",
    "plotly_layout",
    "plotly_sphere",
    "show",
    "sphere",
    "use_style",
]

INK = "#1b1f24"
# Okabe and Ito's palette: told apart under the common colour-vision deficiencies.
METHOD_COLOURS = {
    "infonce": "#0072B2",
    "dcl": "#56B4E9",
    "supcon": "#009E73",
    "vicreg": "#CC79A7",
    "barlow_twins": "#E69F00",
    "clop": "#D55E00",
    "labels_only": "#6b6b6b",
    "exact": "#1b1f24",
    "printed": "#a0522d",
}
PAPER_MARK = {"marker": "D", "color": "#a0522d", "markersize": 7, "markeredgecolor": "white", "linestyle": "none"}
EXACT_LINE = {"color": METHOD_COLOURS["exact"], "linewidth": 1.6}
PRINTED_LINE = {"color": METHOD_COLOURS["printed"], "linewidth": 1.6, "linestyle": (0, (5, 2))}


def use_style() -> None:
    """Set matplotlib up for the book: opaque background, SVG output in notebooks, legible sizes, the palette above."""
    import matplotlib as mpl
    import seaborn as sns

    sns.set_theme(context="notebook", style="ticks", palette=list(METHOD_COLOURS.values())[:6])
    mpl.rcParams.update(
        {
            "figure.figsize": (7.2, 4.0),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "savefig.facecolor": "white",
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 11,
            "legend.frameon": False,
            "legend.fontsize": 10,
            "text.color": INK,
            "figure.dpi": 120,  # of what is rasterised
            "svg.fonttype": "path",
            "svg.hashsalt": "clop-nb",
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # a plain script
        return
    set_matplotlib_formats("svg")


def epoch_colours(count: int) -> list[tuple[float, float, float, float]]:
    """``count`` colours from blue (early) to red (late), as in the paper's Fig. 3."""
    import matplotlib as mpl

    return [mpl.colormaps["coolwarm"](value) for value in np.linspace(0.0, 1.0, count)]


def sphere(axes: Any) -> None:
    """Draw a faint unit sphere into a 3-D matplotlib axes and take its box away."""
    u, v = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    axes.plot_wireframe(
        np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v), color="#c9ced6", linewidth=0.4, rasterized=True
    )
    axes.set_box_aspect((1, 1, 1))
    axes.set_axis_off()


def plotly_sphere() -> Any:
    """A translucent unit sphere as a plotly trace."""
    import plotly.graph_objects as go

    u, v = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    x, y, z = np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)
    return go.Surface(
        x=x.round(4), y=y.round(4), z=z.round(4), opacity=0.12, showscale=False, hoverinfo="skip",
        colorscale=[[0, "#9aa4b2"], [1, "#9aa4b2"]],
    )  # fmt: skip


def plotly_layout(figure: Any, height: int = 420) -> Any:
    """Give a plotly figure the book's fonts, margins and opaque background; returns it."""
    hidden = {"visible": False}
    figure.update_layout(
        height=height, margin={"l": 0, "r": 0, "t": 30, "b": 0}, paper_bgcolor="white", plot_bgcolor="white"
    )
    figure.update_layout(font={"color": INK, "size": 13}, legend={"orientation": "h", "y": -0.02})
    figure.update_scenes(xaxis=hidden, yaxis=hidden, zaxis=hidden, aspectmode="cube")
    return figure


def show(interactive: Any, static: Any) -> None:
    """Display one figure in two forms: plotly for the screen, matplotlib for print and where scripts do not run.

    Args:
        interactive: a plotly figure.
        static: the matplotlib figure of the same content; it is closed.
    """
    import json

    import matplotlib.pyplot as plt
    from IPython.display import display

    picture = io.StringIO()
    static.savefig(picture, format="svg", metadata={"Date": None})
    plt.close(static)
    bundle = {
        "application/vnd.plotly.v1+json": json.loads(interactive.to_json()),
        "image/svg+xml": picture.getvalue(),
        "text/plain": "rotatable figure",
    }
    display(bundle, raw=True)

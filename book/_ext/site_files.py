"""Files that the site serves itself: MathJax, plotly.js where a page needs it, the scorecard as data; no ballast."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

GENERATED = Path("book", "_generated")
DOWNLOADS = ("scorecard.json", "scorecard.csv")


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


PICTURES = ("image/svg+xml", "image/png", "application/vnd.plotly.v1+json")


def shed(outdir: Path) -> None:
    """Take out what no reader's browser asks for; of the notebooks to download, white space and pictures.

    The page beside a notebook shows its pictures, and running it draws them again; here they would be a second copy.
    """
    for pattern in ("*.map", "*.ttf"):  # of the theme: maps for its developers; every browser takes the woff2 instead
        for path in (outdir / "_static").rglob(pattern):
            path.unlink()
    shutil.rmtree(outdir / "_static" / "locales", ignore_errors=True)
    for path in (outdir / "_sources").rglob("*.ipynb"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for output in (output for cell in content["cells"] for output in cell.get("outputs", [])):
            for kind in PICTURES:
                output.get("data", {}).pop(kind, None)
        path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def copy_files(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    outdir = Path(app.outdir)
    shed(outdir)
    copy_mathjax(outdir)
    if any('class="plotly-json"' in page.read_text(encoding="utf-8") for page in outdir.rglob("*.html")):
        shutil.copyfile(
            package_folder("plotly") / "package_data" / "plotly.min.js", outdir / "_static" / "plotly.min.js"
        )
    for name in DOWNLOADS:
        made = Path(app.srcdir) / GENERATED / name
        if made.exists():
            shutil.copyfile(made, outdir / name)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", copy_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

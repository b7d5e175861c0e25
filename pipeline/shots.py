"""Pictures of every page of the built book, in both themes and two widths, and one contact sheet of them.

python -m pipeline.shots [SITE [OUTPUT]]        default: _build/html, _build/shots
"""

import functools
import http.server
import os
import shutil
import sys
import threading
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"wide": 1280, "narrow": 390}
THEMES = ("light", "dark")
SKIPPED = ("genindex.html", "search.html", "index.html")
LONGEST = 16_000  # pixels; Chromium draws no taller picture in one piece


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def take(site: Path, output: Path, chromium: str) -> list[Path]:
    """Write OUTPUT/PAGE_WIDTH_THEME.png for every page and return the files."""
    from playwright.sync_api import sync_playwright

    output.mkdir(parents=True, exist_ok=True)
    pages = sorted(
        path.relative_to(site)
        for path in site.rglob("*.html")
        if "_static" not in path.parts and path.name not in SKIPPED
    )
    made = []
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for width_name, width in WIDTHS.items():
            for theme in THEMES:
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
                for name in pages:
                    page = context.new_page()
                    page.goto(f"http://127.0.0.1:{server.server_port}/{name}")
                    page.evaluate("() => window.MathJax && MathJax.startup && MathJax.startup.promise")
                    height = min(page.evaluate("() => document.body.scrollHeight") + 200, LONGEST)
                    page.set_viewport_size(
                        {"width": width, "height": height}
                    )  # everything in view, so every figure is drawn
                    page.wait_for_function(
                        "() => [...document.querySelectorAll('.plotly-figure')]"
                        ".every((n) => ['yes', 'failed'].includes(n.dataset.drawn))"
                    )
                    page.wait_for_timeout(300)
                    file = output / f"{name.stem}_{width_name}_{theme}.png"
                    page.screenshot(path=file)
                    page.close()
                    made.append(file)
                context.close()
        browser.close()
        server.shutdown()
    return made


def contact_sheet(pictures: list[Path], file: Path, width: int = 300, height: int = 480) -> None:
    """The top of every picture, four to a row."""
    from PIL import Image

    columns = len(WIDTHS) * len(THEMES)
    pictures = sorted(pictures)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "grey")
    for index, path in enumerate(pictures):
        with Image.open(path) as picture:
            scaled = picture.convert("RGB").resize((width - 8, round(picture.height * (width - 8) / picture.width)))
        sheet.paste(
            scaled.crop((0, 0, width - 8, min(scaled.height, height - 8))),
            (index % columns * width + 4, index // columns * height + 4),
        )
    sheet.save(file)


def main() -> None:
    site = Path(sys.argv[1] if len(sys.argv) > 1 else "_build/html")
    output = Path(sys.argv[2] if len(sys.argv) > 2 else "_build/shots")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not (site / "book" / "intro.html").exists():
        sys.exit(
            "no Chromium found (set CHROMIUM to its path)"
            if chromium is None
            else f"{site} holds no built book; run `make book` first"
        )
    pictures = take(site, output, chromium)
    contact_sheet(pictures, output / "contact_sheet.png")
    print(f"{len(pictures)} pictures and a contact sheet in {output}")


if __name__ == "__main__":
    main()

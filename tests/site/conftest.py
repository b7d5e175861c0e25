"""Every page of the built book, visited once in each width and theme; the tests judge what was seen."""

import functools
import http.server
import importlib.util
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pipeline.shots import FLAGS

WIDTHS = (1280, 360)
PATIENCE = 180_000  # ms; a page drawn in software on two shared cores is not late after Playwright's 30 s
THEMES = ("light", "dark")
expect.set_options(timeout=60_000)

SEEN = """() => {
  const colour = (node) => getComputedStyle(node).backgroundColor;
  const shown = (node) => node.getBoundingClientRect().width > 0;
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    math_errors: [...document.querySelectorAll('mjx-merror, mjx-container [data-mjx-error]')].map((n) => n.textContent),
    math_wanted: document.querySelectorAll('article .math').length,
    math_drawn: document.querySelectorAll('article .math mjx-container').length,
    plotly_wanted: document.querySelectorAll('script.plotly-json').length,
    plotly_drawn: document.querySelectorAll('.plotly-plot .main-svg').length ? document.querySelectorAll('.plotly-figure[data-drawn=yes]').length : 0,
    plotly_paper: [...document.querySelectorAll('.plotly-plot .main-svg')].map((n) => n.style.background || colour(n)),
    plotly_wide: [...document.querySelectorAll('.plotly-plot')].some((n) => n.scrollWidth > n.parentNode.clientWidth + 1),
    plotly_loaded: typeof window.Plotly !== 'undefined',
    clear_figures: [...document.querySelectorAll('article figure img, article .cell_output img')].filter((n) => shown(n) && colour(n) !== 'rgb(255, 255, 255)').length,
    broken_images: [...document.images].filter((n) => !n.complete || (shown(n) && n.naturalWidth === 0)).map((n) => n.src),
    without_alt: [...document.querySelectorAll('article figure img')].filter((n) => !n.alt || n.alt.startsWith('../') || n.alt.endsWith('.svg')).map((n) => n.src),
    theme: document.documentElement.dataset.theme,
    headings: [...(document.querySelector('article') ?? document.querySelector('.bd-search-container'))  // the theme's search page has no article
      .querySelectorAll('h1, h2, h3, h4, h5, h6')].map((h) => +h.tagName[1]),
  };
}"""

AXE = """async () => (await axe.run({preload: false})).violations  // what it would load is not the reader's
  .filter((rule) => ['serious', 'critical'].includes(rule.impact))
  .flatMap((rule) => rule.nodes.map((node) => [rule.id, node.target.join(' '), node.html.slice(0, 120)]))"""


@dataclass
class Visit:
    page: str
    width: int
    theme: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seen: dict = field(default_factory=dict)
    axe: list | None = None

    @property
    def where(self) -> str:
        return f"{self.page} ({self.width} px, {self.theme})"


def see(page: Page, visit: Visit, url: str) -> None:
    """Open a page as a reader does: wait for the maths, scroll to the end, wait for the figures."""
    page.set_default_timeout(PATIENCE)
    page.on("request", lambda request: visit.requests.append(request.url))
    # Warnings of the graphics driver are Chromium's; MathJax warns of what it does not understand.
    page.on(
        "console",
        lambda message: (
            visit.errors.append(message.text) if message.type == "error" or "MathJax" in message.text else None
        ),
    )
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("requestfailed", lambda request: visit.errors.append(f"failed: {request.url}"))
    page.on(
        "response",
        lambda answer: visit.errors.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None,
    )
    page.goto(url, wait_until="load")
    page.evaluate("() => window.MathJax && MathJax.startup && MathJax.startup.promise")
    page.evaluate(
        """async () => { for (let y = 0; y < document.body.scrollHeight; y += innerHeight / 2) {
             scrollTo(0, y); await new Promise((done) => setTimeout(done, 20)); } }"""
    )
    for figure in page.locator(".plotly-figure").all():  # one after the other: a busy machine misses one scrolled past
        figure.scroll_into_view_if_needed()
        page.wait_for_function(
            "(figure) => ['yes', 'failed'].includes(figure.dataset.drawn)", arg=figure.element_handle(), timeout=240_000
        )
    visit.seen = page.evaluate(SEEN)


@pytest.fixture(scope="session")
def server(built_site: Path) -> Iterator[str]:
    """A plain static server on the built site."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    class Patient(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # a browser opens more connections at once than the default of 5 lets wait

    with Patient(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built_site))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def pages(built_site: Path) -> list[str]:
    """Every page of the book, search and index included; not the redirect at the root."""
    found = sorted(
        str(path.relative_to(built_site)) for path in built_site.rglob("*.html") if "_static" not in path.parts
    )
    found.remove("index.html")
    assert "book/intro.html" in found
    return found


@pytest.fixture(scope="session")
def visits(browser: Browser, server: str, pages: list[str]) -> list[Visit]:
    axe = importlib.util.find_spec("axe_playwright_python")  # the package that brings the script
    made = []
    for width in WIDTHS:
        for theme in THEMES:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
            for name in pages:
                page = context.new_page()
                visit = Visit(name, width, theme)
                see(page, visit, f"{server}/{name}")
                if axe is not None and width == max(WIDTHS):
                    page.add_script_tag(path=Path(axe.origin).parent / "axe.min.js")
                    visit.axe = page.evaluate(AXE)
                page.close()
                made.append(visit)
            context.close()
    return made


@pytest.fixture
def look(browser: Browser) -> Callable[[str], Visit]:
    """Visit one address at 1280 px, light."""

    def visited(url: str) -> Visit:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        visit = Visit(url, 1280, "light")
        see(page, visit, url)
        page.close()
        return visit

    return visited

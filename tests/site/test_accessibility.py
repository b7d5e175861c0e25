"""axe-core on every page, in both themes: nothing serious that is ours."""

import importlib.util
import itertools
from pathlib import Path

import pytest

# One worker visits the pages: two browsers drawing in software on two cores run into time-outs.
pytestmark = pytest.mark.xdist_group("site")

NOT_OURS = {
    ".citation-list": "docutils gives a list of citations children that ARIA does not allow",
    ".sidebar-primary-items__start": "the theme's logo stands outside of its landmarks",
}

PATIENCE = 180_000  # ms; see conftest.py

RUN = """async () => (await axe.run()).violations
  .filter((rule) => ['serious', 'critical'].includes(rule.impact))
  .flatMap((rule) => rule.nodes.map((node) => [rule.id, node.target.join(' '), node.html.slice(0, 120)]))"""

# The theme's search page has no article.
HEADINGS = """() => [...(document.querySelector('article') ?? document.querySelector('.bd-search-container'))
  .querySelectorAll('h1, h2, h3, h4, h5, h6')].map((h) => +h.tagName[1])"""


@pytest.fixture(scope="module")
def axe() -> Path:
    """The script that the package axe-playwright-python brings."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None:
        pytest.skip("axe-playwright-python is not installed (extra `test`)")
    return Path(spec.origin).parent / "axe.min.js"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_that_is_ours(browser, server, pages, axe, theme):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    found = {}
    for name in pages:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{server}/{name}")
        page.evaluate("() => window.MathJax && MathJax.startup && MathJax.startup.promise")
        page.add_script_tag(path=axe)
        ours = [entry for entry in page.evaluate(RUN) if not any(known in entry[1] for known in NOT_OURS)]
        if ours:
            found[name] = ours
        page.close()
    context.close()
    assert found == {}


def test_headings_never_skip_a_level(browser, server, pages):
    skipped = {}
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    for name in pages:
        page.goto(f"{server}/{name}")
        levels = page.evaluate(HEADINGS)
        if any(after > before + 1 for before, after in itertools.pairwise(levels)) or levels[:1] != [1]:
            skipped[name] = levels
    page.close()
    assert skipped == {}

"""What a reader does on the pages that are not chapters: look, search, cite, download."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

# One worker visits the pages: two browsers drawing in software on two cores run into time-outs.
pytestmark = pytest.mark.xdist_group("site")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(180_000)  # see conftest.py
    yield opened
    opened.close()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_claims_picture_and_ways_on_are_in_the_landing_page_s_first_screen(page, server):
    page.goto(f"{server}/book/intro.html")
    for part in (".opening-lead", ".opening-picture", ".opening-claims", ".opening-links"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= 800, part


@pytest.mark.parametrize("target", ["playground", "scorecard", "should_i_use_clop"])
def test_the_landing_page_leads_on(page, server, target):
    page.goto(f"{server}/book/intro.html")
    page.locator(f'.opening-links a[href="{target}.html"]').click()
    page.wait_for_url(f"**/book/{target}.html")


def test_the_opening_picture_shows_what_its_captions_say(built_site):
    picture = re.search(
        r'<figure class="opening-picture">.*?</figure>', text_of(built_site / "book" / "intro.html"), re.S
    )
    spheres = re.findall(r"<svg.*?</svg>", picture.group(), re.S)
    ends = [re.findall(r'class="end" cx="([-\d.]+)" cy="([-\d.]+)"', sphere) for sphere in spheres]
    assert [len(set(points)) for points in ends] == [3, 1, 3], "spread, in one point, spread"
    starts = [re.findall(r'class="start" cx="([-\d.]+)" cy="([-\d.]+)"', sphere) for sphere in spheres]
    assert starts[0] == starts[1] == starts[2], "one start"


def test_every_page_of_the_contents_is_listed_on_the_landing_page(built_site):
    toc = yaml.safe_load(text_of(ROOT / "_toc.yml"))
    listed = re.search(r'class="chapter-list.*?</section>', text_of(built_site / "book" / "intro.html"), re.S).group()
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            assert f'href="{chapter["file"].removeprefix("book/")}.html"' in listed


def test_search_finds_the_threshold(page, server):
    page.goto(f"{server}/search.html?q=threshold")
    found = page.locator("#search-results li a")
    expect(found.first).to_be_visible(timeout=20_000)
    expect(page.locator("#search-results li a", has_text="The learning-rate threshold").first).to_be_visible()


def test_the_companion_s_bibtex_has_what_citation_cff_says(built_site):
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    text = re.sub(r"<[^>]+>", "", text_of(built_site / "book" / "references.html"))
    entry = re.search(r"@software\{.*?\n\}", text, re.S).group()
    assert citation["title"] in entry.replace("&quot;", '"')
    assert str(citation["version"]) in entry


def test_the_provenance_page_has_every_chapter_with_its_time_and_its_notebook(built_site, page, server):
    text = text_of(built_site / "book" / "provenance.html")
    notebooks = sorted((built_site / "_sources" / "book" / "_executed").glob("*.ipynb"))
    assert notebooks
    page.goto(f"{server}/book/provenance.html")
    for path in notebooks:
        assert f'href="../_sources/book/_executed/{path.name}"' in text
        row = page.locator("table.provenance").first.locator(
            "tr", has=page.locator(f'a[href="_executed/{path.stem}.html"]')
        )
        assert re.fullmatch(r"\d+ s|[\d.]+ min", row.locator("td").nth(1).inner_text()), path.name


def test_a_notebook_s_download_opens_as_a_notebook_with_outputs(page, server):
    page.goto(f"{server}/book/provenance.html")
    address = page.get_by_role("link", name="02_learning_rate_threshold.ipynb").evaluate("link => link.href")
    content = json.loads(page.request.get(address).body())
    assert content["nbformat"] == 4
    assert any(cell.get("outputs") for cell in content["cells"])


def test_records_named_on_the_provenance_page_are_the_committed_ones(built_site):
    links = set(re.findall(r'href="\.\./(results/[^"]+)"', text_of(built_site / "book" / "provenance.html")))
    for link in links:
        if link.endswith(".zip"):
            with zipfile.ZipFile(built_site / link) as archive:
                assert archive.namelist()
                for name in archive.namelist():
                    assert archive.read(name) == (ROOT / name).read_bytes(), name
        else:
            assert (built_site / link).read_bytes() == (ROOT / link).read_bytes(), link
    named = {
        value
        for path in (built_site / "_sources" / "book" / "_executed").glob("*.ipynb")
        for value in json.loads(text_of(path))["metadata"]["companion"]["parameters"].values()
        if isinstance(value, str) and value.startswith("results/")
    }
    assert bool(links) == bool(named)


def test_the_repository_s_address_stands_in_one_place():
    url = yaml.safe_load(text_of(ROOT / "_config.yml"))["repository"]["url"]
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "book").glob("*.md")]
    assert not url or [path.name for path in pages if url in text_of(path)] == []


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([\w.]+):", text_of(ROOT / "Makefile"), re.M))
    named = {
        (path.name, target)
        for path in (ROOT / "book").glob("*.md")
        for target in re.findall(r"(?:^|[`\n])make ([a-z]+)", text_of(path))
    }
    assert named
    assert {(page, target) for page, target in named if target not in targets} == set()

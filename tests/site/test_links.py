"""Links, downloads and size of the built site; no browser needed."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from clop_nb.paper import CLAIMS

# One worker visits the pages: two browsers drawing in software on two cores run into time-outs.
pytestmark = pytest.mark.xdist_group("site")


class Links(HTMLParser):
    """The ids of a page, and the addresses that it links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        for key in ("id", "name"):
            if given.get(key):
                self.ids.add(given[key])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and given.get("href") and given.get("rel") != "canonical":
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def parsed(built_site: Path) -> dict[Path, Links]:
    return {
        path: Links(path.read_text(encoding="utf-8"))
        for path in built_site.rglob("*.html")
        if "_static" not in path.parts
    }


def test_every_internal_link_and_anchor_resolves(parsed, built_site):
    broken = []
    for page, content in parsed.items():
        for link in content.links + content.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in ("#", ""):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
            if not target.is_file():
                broken.append(f"{page.relative_to(built_site)}: {link}")
            elif parts.fragment and target.suffix == ".html":
                ids = next(other.ids for path, other in parsed.items() if path.resolve() == target)
                if unquote(parts.fragment) not in ids:
                    broken.append(f"{page.relative_to(built_site)}: {link} (no such anchor)")
    assert broken == []


def test_nothing_is_loaded_from_another_host(parsed, built_site):
    outside = [
        (str(page.relative_to(built_site)), link)
        for page, content in parsed.items()
        for link in content.loaded
        if urlsplit(link).netloc
    ]
    assert outside == []


def test_stylesheets_load_nothing_from_another_host(built_site):
    remote = re.compile(r"url\(\s*['\"]?(https?:)?//|@import\s+['\"](https?:)?//")
    assert [str(path) for path in built_site.rglob("*.css") if remote.search(path.read_text(encoding="utf-8"))] == []


def table_rows(built_site: Path) -> list[tuple[str, str]]:
    """Claim id and verdict of every row of the scorecard page."""
    text = (built_site / "book" / "scorecard.html").read_text(encoding="utf-8")
    rows = re.findall(r'<tr class="claim [^"]*" id="claim-[^"]+">(.*?)</tr>', text, re.DOTALL)
    return [
        (re.search(r"<strong>([^<]+)</strong>", row).group(1), re.search(r"verdict-chip[^>]*>([^<]+)<", row).group(1))
        for row in rows
    ]


def test_the_scorecard_has_a_row_for_every_claim_in_order(built_site):
    assert list(dict.fromkeys(claim for claim, _ in table_rows(built_site))) == list(CLAIMS)


def test_downloads_equal_the_table(built_site):
    rows = json.loads((built_site / "scorecard.json").read_text(encoding="utf-8"))
    with (built_site / "scorecard.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    shown = table_rows(built_site)
    assert [(row["id"], row["verdict"]) for row in rows] == shown
    assert [(row["id"], row["verdict"]) for row in table] == shown
    assert [row["sentence"] for row in table] == [row["sentence"] or "" for row in rows]


def test_a_claim_with_a_verdict_links_to_where_it_is_shown(built_site):
    text = (built_site / "book" / "scorecard.html").read_text(encoding="utf-8")
    for row in json.loads((built_site / "scorecard.json").read_text(encoding="utf-8")):
        if row.get("notebook"):
            assert re.search(rf'href="_executed/{row["notebook"]}\.html' + ("#" if row.get("anchor") else '"'), text), (
                row["id"]
            )


def test_the_introduction_counts_every_claim(built_site):
    text = (built_site / "book" / "intro.html").read_text(encoding="utf-8")
    counts = [int(count) for count in re.findall(r'summary-count">(\d+)<', text)]
    assert sum(counts) == len(table_rows(built_site))


def test_the_site_is_small(built_site):
    size = sum(path.stat().st_size for path in built_site.rglob("*") if path.is_file())
    assert size < 20e6, f"{size / 1e6:.1f} MB"

"""axe-core on every page, in both themes: nothing serious that is ours. Headings in order."""

import itertools

import pytest

# One worker visits the pages: two browsers drawing in software on two cores run into time-outs.
pytestmark = pytest.mark.xdist_group("site")

NOT_OURS = {
    ".citation-list": "docutils gives a list of citations children that ARIA does not allow",
    ".sidebar-primary-items__start": "the theme's logo stands outside of its landmarks",
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_that_is_ours(visits, theme):
    judged = [visit for visit in visits if visit.theme == theme and visit.axe is not None]
    if not judged:
        pytest.skip("axe-playwright-python is not installed (extra `test`)")
    ours = {
        visit.page: [found for found in visit.axe if not any(known in found[1] for known in NOT_OURS)]
        for visit in judged
    }
    assert {page: found for page, found in ours.items() if found} == {}


def test_headings_never_skip_a_level(visits):
    levels = {visit.page: visit.seen["headings"] for visit in visits}
    wrong = {
        page: found
        for page, found in levels.items()
        if found[:1] != [1] or any(after > before + 1 for before, after in itertools.pairwise(found))
    }
    assert wrong == {}

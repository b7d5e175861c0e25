"""The scorecard as a reader uses it: filter, sort, keyboard, address, downloads."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

# One worker visits the pages: two browsers drawing in software on two cores run into time-outs.
pytestmark = pytest.mark.xdist_group("site")

ROWS = "table.scorecard tbody tr"


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(180_000)  # see conftest.py
    opened.goto(f"{server}/book/scorecard.html")
    expect(opened.locator(".table-filter")).to_be_visible()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def stated(built_site) -> list[dict]:
    return json.loads((built_site / "scorecard.json").read_text(encoding="utf-8"))


def shown(page: Page) -> list[str]:
    """Ids of the claims in the rows that can be seen, in the order in which they stand."""
    return page.eval_on_selector_all(
        ROWS, "rows => rows.filter(r => !r.hidden).map(r => r.cells[0].textContent.trim())"
    )


def verdicts(page: Page) -> list[str]:
    return page.eval_on_selector_all(
        ROWS, "rows => rows.filter(r => !r.hidden).map(r => r.querySelector('.verdict-chip').textContent)"
    )


def sort_by(page: Page, heading: str) -> None:
    page.get_by_role("columnheader", name=heading).get_by_role("button").click()


def test_a_verdict_pressed_shows_its_rows_and_no_others(page, stated):
    verdict = "reproduced, corrected"
    expected = [row["id"] for row in stated if row["verdict"] == verdict]
    assert 0 < len(expected) < len(stated)
    button = page.locator(".filter-verdicts button", has_text=verdict)
    button.click()
    assert shown(page) == expected
    assert button.get_attribute("aria-pressed") == "true"
    expect(page.locator(".table-filter [role=status]")).to_have_text(f"{len(expected)} of {len(stated)} rows")
    button.click()
    assert shown(page) == [row["id"] for row in stated]


def test_two_verdicts_add_up_and_each_button_tells_its_count(page, stated):
    buttons = page.locator(".filter-verdicts button").all()[:2]
    counts = [int(button.locator(".filter-count").inner_text()) for button in buttons]
    for button in buttons:
        button.click()
    assert len(shown(page)) == sum(counts) > max(counts)


def test_text_finds_words_anywhere_in_a_row_and_all_words_must_be_there(page, stated):
    page.get_by_label("Find").fill("theorem THRESHOLD")
    assert "T1" in shown(page)
    assert len(shown(page)) < len(stated)
    page.get_by_label("Find").fill("no such words")
    assert shown(page) == []
    page.get_by_role("button", name="Show all").click()
    assert shown(page) == [row["id"] for row in stated]


def test_sorting_by_verdict_groups_them_and_a_third_press_restores_the_paper_s_order(page, stated):
    head = page.get_by_role("columnheader", name="Verdict")
    order = [button.get_attribute("data-verdict") for button in page.locator(".filter-verdicts button").all()]
    sort_by(page, "Verdict")
    assert head.get_attribute("aria-sort") == "ascending"
    places = [order.index(verdict.replace(",", "").replace(" ", "-")) for verdict in verdicts(page)]
    assert places == sorted(places) != list(reversed(places))
    sort_by(page, "Verdict")
    assert head.get_attribute("aria-sort") == "descending"
    sort_by(page, "Verdict")
    assert head.get_attribute("aria-sort") is None
    assert shown(page) == [row["id"] for row in stated]


def test_sorting_by_seeds_is_by_number_with_rows_that_have_none_last(page, stated):
    sort_by(page, "Seeds, device")
    sort_by(page, "Seeds, device")
    seeds = {(row["id"], row["notebook"]): row["seeds"] or 0 for row in stated}
    expected = sorted(seeds.values(), reverse=True)
    found = page.eval_on_selector_all(ROWS, "rows => rows.map(r => parseFloat(r.cells[4].textContent) || 0)")
    assert found == expected
    assert expected[0] >= 10 > expected[-1], "numbers of one length would not tell numbers from text"


def test_the_keyboard_alone_filters_and_sorts(page, stated):
    page.get_by_label("Find").focus()
    page.keyboard.press("Tab")
    pressed = page.evaluate("() => document.activeElement.dataset.verdict")
    page.keyboard.press("Space")
    assert {verdict.replace(",", "").replace(" ", "-") for verdict in verdicts(page)} == {pressed}
    page.get_by_role("columnheader", name="Claim").get_by_role("button").focus()
    before = shown(page)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert shown(page) == before[::-1]


def test_the_address_brings_the_same_rows_back(page, browser):
    page.locator(".filter-verdicts button").first.click()
    page.get_by_label("Find").fill("rate")
    sort_by(page, "Claim")
    sort_by(page, "Claim")
    kept, address = shown(page), page.url
    assert kept
    again = browser.new_page()
    again.goto(address)
    expect(again.locator(".table-filter")).to_be_visible()
    assert shown(again) == kept
    assert again.get_by_label("Find").input_value() == "rate"
    again.close()


def test_the_summary_of_the_introduction_leads_to_one_verdict_and_to_one_row(browser, server, stated):
    page = browser.new_page()
    page.goto(f"{server}/book/intro.html")
    page.locator(".scorecard-summary a.verdict-chip", has_text="illustrated").click()
    expect(page.locator(".table-filter")).to_be_visible()
    assert set(verdicts(page)) == {"illustrated"}
    page.goto(f"{server}/book/intro.html")
    page.locator(".scorecard-summary").get_by_role("link", name="T1", exact=True).click()
    expect(page.locator("#claim-T1")).to_be_in_viewport()
    assert shown(page) == [row["id"] for row in stated]
    page.close()


@pytest.mark.parametrize("name", ["scorecard.csv", "scorecard.json"])
def test_the_downloads_are_served(page, name, built_site):
    response = page.request.get(page.get_by_role("link", name=name).evaluate("link => link.href"))
    assert response.ok
    assert response.body() == (built_site / name).read_bytes()


def test_without_javascript_it_is_a_plain_table_and_no_dead_control(browser, server, stated):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server}/book/scorecard.html")
    assert page.locator(ROWS).count() == len(stated)
    assert not page.locator(".table-filter").is_visible()
    assert page.locator("table.scorecard button").count() == 0
    context.close()


def test_on_a_phone_a_filtered_row_is_gone_too(browser, server):
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(f"{server}/book/scorecard.html#text=theorem")
    expect(page.locator("#claim-T1")).to_be_visible()
    assert not page.locator("#claim-F4b").is_visible()
    page.close()


def test_the_table_of_related_losses_sorts_by_accuracy(browser, server):
    page = browser.new_page()
    page.goto(f"{server}/book/_executed/10_related_losses.html")
    table = page.locator("table.related-losses")
    head = table.get_by_role("columnheader", name="Top-1")
    head.get_by_role("button").click()
    head.get_by_role("button").click()
    column = table.locator("tbody tr td:nth-child(6)").all_inner_texts()
    numbers = [float(text) for text in column if text != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert column[len(numbers) :] == ["–"] * (len(column) - len(numbers))
    page.close()

"""What a reader's browser sees on every page, in two widths and both themes."""

import re

import pytest

# One worker visits the pages: two browsers drawing in software on two cores run into time-outs.
pytestmark = pytest.mark.xdist_group("site")


def offenders(visits, what) -> dict:
    return {visit.where: found for visit in visits if (found := what(visit))}


def test_no_page_asks_another_host_for_anything(visits, server):
    assert (
        offenders(
            visits, lambda visit: [url for url in visit.requests if not url.startswith((server, "data:", "blob:"))]
        )
        == {}
    )


def test_no_page_writes_errors_to_the_console(visits):
    assert offenders(visits, lambda visit: visit.errors) == {}


def test_the_root_leads_to_the_introduction(browser, server):
    page = browser.new_page()
    page.goto(f"{server}/")
    page.wait_for_url("**/book/intro.html")
    page.close()


def test_the_theme_asked_for_is_the_theme_shown(visits):
    assert offenders(visits, lambda visit: visit.seen["theme"] != visit.theme) == {}


def test_mathjax_reads_all_maths(visits):
    assert offenders(visits, lambda visit: visit.seen["math_errors"]) == {}
    assert offenders(visits, lambda visit: visit.seen["math_wanted"] > visit.seen["math_drawn"]) == {}
    assert any(visit.seen["math_drawn"] for visit in visits)


def test_no_page_scrolls_sideways(visits):
    assert offenders(visits, lambda visit: visit.seen["overflow"] if visit.seen["overflow"] > 0 else None) == {}


def test_plotly_draws_every_figure_and_stays_in_its_column(visits):
    assert any(visit.seen["plotly_wanted"] for visit in visits), "no page has a rotatable figure"
    assert offenders(visits, lambda visit: visit.seen["plotly_wanted"] != visit.seen["plotly_drawn"]) == {}
    assert offenders(visits, lambda visit: visit.seen["plotly_wide"]) == {}


def test_pages_without_plotly_figures_do_not_load_plotly(visits):
    without = [visit for visit in visits if not visit.seen["plotly_wanted"]]
    assert without
    assert (
        offenders(without, lambda visit: visit.seen["plotly_loaded"] or any("plotly" in url for url in visit.requests))
        == {}
    )


def test_figures_have_an_opaque_ground_in_both_themes(visits):
    assert offenders(visits, lambda visit: visit.seen["clear_figures"]) == {}
    for visit in visits:
        for colour in visit.seen["plotly_paper"]:
            if re.search(r"rgba\([^)]*,\s*0\)|transparent", colour):
                continue  # plotly's upper layers; the lowest one carries the ground
            channels = [int(part) for part in re.findall(r"\d+", colour)[:3]]
            assert (sum(channels) < 200) == (visit.theme == "dark"), f"{visit.where}: plotly draws on {colour}"


def test_every_image_loads_and_every_figure_has_a_text_alternative(visits):
    assert offenders(visits, lambda visit: visit.seen["broken_images"]) == {}
    assert offenders(visits, lambda visit: visit.seen["without_alt"]) == {}


def test_switching_the_theme_redraws_plotly_and_keeps_the_figure(browser, server, visits):
    name = next(visit.page for visit in visits if visit.seen["plotly_wanted"])
    page = browser.new_page(color_scheme="light")
    page.goto(f"{server}/{name}")
    page.locator(".plotly-figure").first.scroll_into_view_if_needed()
    page.wait_for_selector(".plotly-figure[data-drawn=yes]")
    ground = "() => document.querySelector('.plotly-plot').layout.paper_bgcolor"
    light = page.evaluate(ground)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.wait_for_function(f"() => ({ground})() !== {light!r}")
    assert page.evaluate("() => document.querySelector('.plotly-plot').data.length") > 0
    page.close()


def test_printing_shows_the_static_picture_in_place_of_the_rotatable_one(browser, server, visits):
    name = next(visit.page for visit in visits if visit.seen["plotly_wanted"])
    page = browser.new_page()
    page.goto(f"{server}/{name}")
    page.locator(".plotly-figure").first.scroll_into_view_if_needed()
    page.wait_for_selector(".plotly-figure[data-drawn=yes]")
    assert page.locator(".plotly-figure .plotly-plot").first.is_visible()
    assert not page.locator(".plotly-figure img").first.is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".plotly-figure .plotly-plot").first.is_visible()
    assert page.locator(".plotly-figure img").first.is_visible()
    page.close()


def test_without_javascript_the_static_picture_is_there(browser, server, visits):
    name = next(visit.page for visit in visits if visit.seen["plotly_wanted"])
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server}/{name}")
    assert page.locator(".plotly-figure img").first.is_visible()
    context.close()


def test_the_book_reads_from_a_folder_without_a_server(look, built_site, visits):
    name = next(visit.page for visit in visits if visit.seen["plotly_wanted"])
    visit = look((built_site / name).as_uri())
    assert visit.errors == []
    assert all(url.startswith(("file://", "data:", "blob:")) for url in visit.requests)
    assert visit.seen["plotly_drawn"] == visit.seen["plotly_wanted"]
    assert visit.seen["math_drawn"] >= visit.seen["math_wanted"] > 0

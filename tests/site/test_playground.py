"""The playground: its model against clop_nb in a real browser, and the page driven as a reader drives it."""

import math
import re

import pytest
import torch

from clop_nb import dynamics, prototypes, spectra, theory

pytestmark = pytest.mark.xdist_group("site")

PAGE = "book/playground.html"
MODEL = "clopPlayground.model"


@pytest.fixture
def opened(browser, server):
    """Open the playground; the page fails the test on any console error, exception or outside request."""
    contexts, wrong = [], []

    def open_page(state="", scheme="light", motion="no-preference", width=1280, scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            reduced_motion=motion,
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(server) else wrong.append(asked.url))
        page.goto(f"{server}/{PAGE}{state}")
        if scripts:
            page.wait_for_function("() => window.clopPlayground")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def still(opened):
    """The playground at rest, as under reduced motion."""
    return opened(motion="reduce")


@pytest.fixture(scope="module")
def model(browser, server):
    """One page at rest for all tests that ask the model only."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{server}/{PAGE}")
    page.wait_for_function("() => window.clopPlayground")
    yield page
    context.close()


def state(page) -> dict:
    return page.evaluate("clopPlayground.state()")


def message(page) -> str:
    return page.locator("#pg-message").text_content()


def listen(page) -> None:
    """Keep every text that the live region takes from now on."""
    page.evaluate(
        """() => { window.heard = [];
          new MutationObserver(() => heard.push(document.getElementById("pg-message").textContent))
            .observe(document.getElementById("pg-message"), { childList: true, characterData: true, subtree: true }); }"""
    )


def set_slider(page, name: str, value: float) -> None:
    page.locator(f"#pg-{name}").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


# The model -----------------------------------------------------------------------------------------------------------


def js_steps(page, x, lr, targets, weight, tangent, steps):
    return page.evaluate(
        f"""([rows, k, m, lr, targets, weight, tangent, steps]) => {{
          const x = Float64Array.from(rows);
          const c = targets && Float64Array.from(targets);
          for (let i = 0; i < steps; i++) {MODEL}.step(x, k, m, lr, c, weight, tangent);
          return Array.from(x); }}""",
        [x.flatten().tolist(), *x.shape, lr, targets if targets is None else targets.flatten().tolist(), weight, tangent, steps],
    )  # fmt: skip


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("k", "m", "lr"), [(2, 2, 0.5), (3, 3, 4.5), (5, 8, 2.7), (10, 10, 1.2), (30, 100, 2.1)])
def test_steps_equal_those_of_the_package(model, k, m, lr, weight, tangent):
    generator = torch.Generator().manual_seed(k * m)
    x = dynamics.random_embeddings(k, m, generator=generator, dtype=torch.float64)
    targets = prototypes.orthonormal(k, m, generator).double() if weight else None
    expected = x
    for _ in range(5):
        expected = dynamics.step(expected, lr, targets, weight, tangent)
    found = torch.tensor(js_steps(model, x, lr, targets, weight, tangent, 5), dtype=torch.float64).view(k, m)
    assert not torch.allclose(found, x, atol=1e-3), "nothing moved"
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_steps_equal_those_of_the_package_with_fewer_dimensions_than_classes(model):
    x = dynamics.random_embeddings(12, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for tangent in (False, True):
        expected = dynamics.step(x, 1.7, tangent=tangent)
        found = torch.tensor(js_steps(model, x, 1.7, None, 0.0, tangent, 1), dtype=torch.float64).view(12, 3)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_row_that_would_become_the_zero_vector_keeps_its_old_value(model):
    # Two equal vectors at rate 1: x - (other) = 0.
    x = torch.tensor([[0.6, 0.8], [0.6, 0.8]], dtype=torch.float64)
    found = torch.tensor(js_steps(model, x, 1.0, None, 0.0, False, 1), dtype=torch.float64).view(2, 2)
    torch.testing.assert_close(dynamics.step(x, 1.0), x, rtol=0, atol=0)
    torch.testing.assert_close(found, x, rtol=0, atol=0)


@pytest.mark.parametrize(("k", "m"), [(2, 2), (3, 3), (12, 3), (7, 7), (30, 100), (50, 20)])
def test_the_spectrum_equals_that_of_the_package(model, k, m):
    x = dynamics.random_embeddings(k, m, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    for rows in (x, torch.nn.functional.normalize(x + 3 * x[:1], dim=-1)):
        values, rank, gram = model.evaluate(
            f"""([rows, k, m]) => {{ const found = {MODEL}.spectrum(Float64Array.from(rows), k, m);
              const inner = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
              return [Array.from(found.values), {MODEL}.effectiveRank(found.values),
                      found.directions.map((a) => found.directions.map((b) => inner(a, b)))]; }}""",
            [rows.flatten().tolist(), k, m],
        )
        expected = spectra.singular_values(rows)
        torch.testing.assert_close(torch.tensor(values, dtype=torch.float64), expected, rtol=0, atol=1e-7)
        assert rank == pytest.approx(spectra.effective_rank(rows).item(), abs=1e-6)
        torch.testing.assert_close(torch.tensor(gram), torch.eye(min(k, m, 3)), rtol=0, atol=1e-6)


def test_the_spectrum_of_a_single_direction(model):
    values, rank = model.evaluate(
        f"""() => {{ const found = {MODEL}.spectrum(Float64Array.from([1, 0, 0, 0, -1, 0, 0, 0, 1, 0, 0, 0]), 3, 4).values;
          return [Array.from(found), {MODEL}.effectiveRank(found)]; }}"""
    )
    assert values == pytest.approx([math.sqrt(3), 0, 0], abs=1e-12)
    assert rank == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("k", [2, 3, 4, 10, 30])
def test_thresholds_equal_those_of_the_package(model, k):
    cases = [(weight, m) for weight in (0.0, 0.05, 0.5, 0.9, 1.0, 1.5) for m in (k, k + 1, 3 * k)]
    cases += [(0.0, m) for m in range(1, k)]
    found = model.evaluate(
        f"([k, cases]) => cases.map(([w, m]) => [String({MODEL}.criticalLr(k, w, m)), {MODEL}.tangentCriticalLr(k, w)])",
        [k, cases],
    )
    for (weight, m), (critical, tangent) in zip(cases, found, strict=True):
        assert float(critical.replace("Infinity", "inf")) == pytest.approx(theory.critical_lr(k, weight, m), rel=1e-9)
        assert tangent == pytest.approx(theory.tangent_critical_lr(k, weight), rel=1e-9)
    assert k != 2 or found[0][0] == "Infinity"


def test_the_random_start_is_uniform_on_the_sphere_and_repeats(model):
    draw = f"([k, m, seed]) => Array.from({MODEL}.randomEmbeddings(k, m, seed))"
    rows = torch.tensor(model.evaluate(draw, [2000, 5, 3]), dtype=torch.float64).view(2000, 5)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2000, dtype=torch.float64))
    # Mean 0 and covariance I / m, within five standard errors.
    assert rows.mean(0).abs().max() < 5 / math.sqrt(2000 * 5)
    assert ((rows.T @ rows) / 2000 - torch.eye(5) / 5).abs().max() < 5 * 0.3 / math.sqrt(2000)
    assert model.evaluate(draw, [4, 5, 3]) == model.evaluate(draw, [4, 5, 3])
    assert model.evaluate(draw, [4, 5, 3]) != model.evaluate(draw, [4, 5, 4])


def test_prototypes_are_orthonormal(model):
    rows = torch.tensor(model.evaluate(f"() => Array.from({MODEL}.orthonormal(30, 100, 1))"), dtype=torch.float64)
    rows = rows.view(30, 100)
    torch.testing.assert_close(rows @ rows.T, torch.eye(30, dtype=torch.float64), rtol=0, atol=1e-12)


# The page ------------------------------------------------------------------------------------------------------------


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_crossing_the_threshold_collapses_the_embeddings_and_clop_prevents_it(still):
    ends = {}
    for name in ("lr 2.0", "lr 2.1", "2.1 with CLOP"):
        press(still, name)
        assert (state(still)["k"], state(still)["m"], state(still)["at"]) == (30, 100, 0)
        for _ in range(5):
            press(still, "100 steps")
        ends[name] = state(still)
        assert ends[name]["at"] == 500
    assert ends["lr 2.0"]["threshold"] == pytest.approx(theory.critical_lr(30))
    assert ends["lr 2.0"]["mean"] < 0.01
    assert ends["lr 2.0"]["rank"] > 25
    assert ends["lr 2.1"]["mean"] > 0.99
    assert ends["lr 2.1"]["rank"] < 1.5
    assert ends["2.1 with CLOP"]["mean"] == pytest.approx(theory.minimiser(30, 1.0).mean_coefficient, abs=1e-9)
    assert ends["2.1 with CLOP"]["rank"] > 29
    assert "norm of the mean 0.09" in still.locator("#pg-readout").text_content()


def test_the_tangent_step_bounces_above_its_threshold_and_does_not_collapse(still):
    press(still, "lr 2.1")
    still.get_by_label("tangent, as in training code").check()
    assert state(still)["threshold"] == pytest.approx(theory.tangent_critical_lr(30))
    for _ in range(10):
        press(still, "100 steps")
        assert 0.05 < state(still)["mean"] < 0.9
        assert state(still)["rank"] > 3


@pytest.mark.parametrize(
    ("k", "m", "weight", "step", "value"),
    [
        (30, 100, 0.0, "theorem", theory.critical_lr(30)),
        (30, 100, 0.5, "theorem", theory.critical_lr(30, 0.5)),
        (10, 10, 0.5, "theorem", theory.critical_lr(10, 0.5, 10)),
        (10, 3, 0.0, "theorem", theory.critical_lr(10, 0.0, 3)),
        (10, 3, 0.5, "theorem", theory.critical_lr(10, 0.0, 3)),  # no room for prototypes: no pull
        (30, 100, 0.3, "tangent", theory.tangent_critical_lr(30, 0.3)),
        (2, 5, 0.0, "tangent", theory.tangent_critical_lr(2)),
    ],
)
def test_the_mark_stands_where_the_thumb_stands_at_the_threshold(opened, k, m, weight, step, value):
    page = opened(f"#k={k}&m={m}&lr={value}&lambda={weight}&step={step}&seed=1&at=0")
    mark, slider = page.locator("#pg-mark").bounding_box(), page.locator("#pg-lr").bounding_box()
    least, most = (float(page.locator("#pg-lr").get_attribute(name)) for name in ("min", "max"))
    thumb = 18
    expected = slider["x"] + thumb / 2 + (value - least) / (most - least) * (slider["width"] - thumb)
    assert mark["x"] + mark["width"] / 2 == pytest.approx(expected, abs=1)
    assert f"{value:.4f}" in page.locator("#pg-threshold").text_content()
    low = page.locator("#pg-mark-low")
    assert low.is_visible() == (m < k)


@pytest.mark.parametrize(
    ("state_", "words"),
    [
        ("#k=2&m=2&lr=5&lambda=0", "No threshold"),
        ("#k=30&m=100&lr=2.1&lambda=1", "No threshold"),
        ("#k=30&m=100&lr=2.1&lambda=0.8", "beyond the slider"),
        ("#k=10&m=3&lr=1.5&lambda=0&step=tangent", "No mark"),
        ("#k=10&m=10&lr=1.5&lambda=0.3&step=tangent", "No mark"),
    ],
)
def test_without_a_threshold_on_the_slider_there_is_no_mark_and_the_words_say_so(opened, state_, words):
    page = opened(state_)
    assert not page.locator("#pg-mark").is_visible()
    assert words in page.locator("#pg-threshold").text_content()
    assert words in page.locator("#pg-lr").get_attribute("aria-valuetext")


def test_a_slider_is_dragged_with_the_mouse_across_the_threshold(still):
    press(still, "lr 2.0")
    listen(still)
    still.locator("#pg-lr").scroll_into_view_if_needed()
    box = still.locator("#pg-lr").bounding_box()
    middle = box["y"] + box["height"] / 2
    still.mouse.move(box["x"] + box["width"] * (2.0 - 0.05) / 5.95, middle)
    still.mouse.down()
    still.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=8)
    still.mouse.up()
    assert state(still)["lr"] > 3
    heard = still.evaluate("heard")
    assert len(heard) == 1
    assert re.match(r"Threshold 2\.0714\. The rate is above it", heard[0])


def test_everything_works_from_the_keyboard(still):
    still.locator("#pg-lr").focus()
    still.keyboard.press("ArrowLeft")
    assert state(still)["lr"] == pytest.approx(2.09)
    still.keyboard.press("Tab")
    still.keyboard.press("ArrowRight")
    assert state(still)["lambda"] == pytest.approx(0.01)
    still.keyboard.press("Tab")
    still.keyboard.press("ArrowLeft")
    assert state(still)["k"] == 29
    still.keyboard.press("Tab")
    still.keyboard.press("ArrowRight")
    assert state(still)["m"] == 101
    still.keyboard.press("Tab")
    still.keyboard.press("ArrowDown")
    assert state(still)["step"] == "tangent"
    still.get_by_role("button", name="1 step", exact=True).focus()
    still.keyboard.press("Enter")
    assert state(still)["at"] == 1
    still.locator("#pg-sphere").focus()
    before = state(still)["view"]
    still.keyboard.press("ArrowRight")
    still.keyboard.press("ArrowUp")
    turned = state(still)["view"]
    assert turned["yaw"] > before["yaw"]
    assert turned["pitch"] < before["pitch"]
    still.keyboard.press("Home")
    assert state(still)["view"] == before


def picture(page, name: str) -> str:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(f"#pg-{name}").evaluate("(canvas) => canvas.toDataURL()")


def test_the_pointer_turns_the_sphere(still):
    sphere = still.locator("#pg-sphere")
    sphere.scroll_into_view_if_needed()
    before, view, box = picture(still, "sphere"), state(still)["view"], sphere.bounding_box()
    still.mouse.move(box["x"] + 100, box["y"] + 100)
    still.mouse.down()
    still.mouse.move(box["x"] + 180, box["y"] + 140, steps=4)
    still.mouse.up()
    still.mouse.move(box["x"] + 20, box["y"] + 20)
    turned = state(still)["view"]
    assert turned["yaw"] - view["yaw"] == pytest.approx(0.8)
    assert turned["pitch"] - view["pitch"] == pytest.approx(0.4)
    assert picture(still, "sphere") != before


def test_it_plays_by_itself_and_pauses_where_told(opened):
    page = opened()
    page.wait_for_function("() => clopPlayground.state().at > 5")
    listen(page)
    press(page, "Pause")
    at = state(page)["at"]
    assert page.evaluate("heard") == [message(page)]
    assert message(page).startswith(f"Paused: step {at}, norm of the mean ")
    page.wait_for_timeout(300)
    assert state(page)["at"] == at
    press(page, "Play")
    page.wait_for_function(f"() => clopPlayground.state().at > {at}")
    assert len(page.evaluate("heard")) == 1, "something else than the pause was announced"


def test_the_run_takes_the_steps_a_second_that_were_asked_for(opened):
    page = opened()
    page.get_by_label("Steps a second").select_option("2")
    at = state(page)["at"]
    page.wait_for_timeout(1600)
    assert 1 <= state(page)["at"] - at <= 5


def test_under_reduced_motion_nothing_moves_until_asked(still):
    still.wait_for_timeout(400)
    assert (state(still)["at"], state(still)["playing"]) == (0, False)
    press(still, "lr 2.1")
    still.wait_for_timeout(300)
    assert state(still)["at"] == 0
    press(still, "1 step")
    assert state(still)["at"] == 1
    press(still, "Play")
    still.wait_for_function("() => clopPlayground.state().at > 3")


def test_reset_and_a_new_seed_are_announced_and_start_again(still):
    first = state(still)["x"]
    press(still, "100 steps")
    assert state(still)["x"] != first
    listen(still)
    press(still, "Reset")
    assert (state(still)["x"], state(still)["at"]) == (first, 0)
    press(still, "New seed")
    other = state(still)
    assert other["x"] != first
    heard = still.evaluate("heard")
    assert len(heard) == 2
    assert heard[0].startswith("Reset: k = 30, m = 100, learning rate 2.10. Threshold 2.0714.")
    assert heard[1].startswith(f"Reset with seed {other['seed']}: ")


def test_steps_and_changes_on_one_side_of_the_threshold_announce_nothing(still):
    listen(still)
    press(still, "1 step")
    press(still, "Nudge")
    set_slider(still, "lr", 2.5)
    set_slider(still, "lr", 2.3)
    assert still.evaluate("heard") == []
    set_slider(still, "lambda", 1)
    assert still.evaluate("heard") == ["No threshold: the spread state is stable at every rate."]


def test_a_nudge_is_small_and_grows_only_above_the_threshold(still):
    press(still, "lr 2.0")
    for _ in range(5):
        press(still, "100 steps")
    settled = torch.tensor(state(still)["x"]).view(30, 100)
    press(still, "Nudge")
    nudged = torch.tensor(state(still)["x"]).view(30, 100)
    moved = (nudged - settled).norm(dim=-1)
    assert 0 < moved.min() <= moved.max() <= 0.0101
    small = state(still)["mean"]
    press(still, "100 steps")
    assert state(still)["mean"] < small
    set_slider(still, "lr", 3)
    press(still, "Nudge")
    press(still, "100 steps")
    assert state(still)["mean"] > 0.9


def test_a_link_restores_the_state_with_what_was_done_on_the_way(still, opened):
    set_slider(still, "k", 12)
    set_slider(still, "m", 20)
    set_slider(still, "lr", 2.4)
    press(still, "New seed")
    press(still, "100 steps")
    set_slider(still, "lambda", 0.4)
    set_slider(still, "lr", 1.7)
    press(still, "1 step")
    press(still, "Nudge")
    still.get_by_label("tangent, as in training code").check()
    press(still, "100 steps")
    press(still, "Copy link")
    still.wait_for_function("() => location.hash.length > 1")
    link = still.evaluate("location.hash")
    here, there = state(still), state(opened(link))
    assert here["at"] == there["at"] == 201
    assert (there["playing"], there["lr"], there["lambda"], there["step"]) == (False, 1.7, 0.4, "tangent")
    assert {**there, "view": None, "playing": None} == {**here, "view": None, "playing": None}


def test_a_link_to_a_long_run_restores_the_same_history(still, opened):
    set_slider(still, "k", 5)
    set_slider(still, "m", 6)
    for _ in range(12):
        press(still, "100 steps")
    link = "#" + still.evaluate("clopPlayground.address()").split("#")[1]
    other = opened(link, motion="reduce")
    assert state(other)["at"] == 1200
    assert state(other)["x"] == state(still)["x"]
    assert picture(other, "mean") == picture(still, "mean")


@pytest.mark.parametrize(
    "bad", ["#k=abc&m=&lr=1e99&at=-3&then=x~y", "#k=9999&m=-1&lr=NaN&lambda=-2&step=none&seed=0&at=7.4&then=3~lr~zz"]
)
def test_a_damaged_link_is_brought_into_range(opened, bad):
    found = state(opened(bad))
    assert 2 <= found["k"] <= 50
    assert 2 <= found["m"] <= 150
    assert 0.05 <= found["lr"] <= 6
    assert found["lambda"] >= 0
    assert found["step"] == "theorem"
    assert all(math.isfinite(value) for value in found["x"])


def test_a_run_ends_and_says_so(opened):
    page = opened("#k=2&m=2&lr=0.1&lambda=0&seed=1&at=9999")
    press(page, "Play")
    page.wait_for_function("() => !clopPlayground.state().playing")
    assert state(page)["at"] == 10000
    assert message(page).startswith("The run ends here. Paused: step 10000")
    assert "The run ends here" in page.locator("#pg-readout").text_content()


def test_more_than_three_dimensions_are_drawn_in_a_projection_that_says_so(opened):
    page = opened("#k=30&m=100&lr=2.1&lambda=0&at=0")
    words = page.locator("#pg-projection")
    share = re.search(r"A projection: of m = 100 dimensions .* which hold (\d+) %", words.text_content())
    values = state(page)["singular"]
    # The frame may lag the top three directions by a thousandth of what they hold.
    assert int(share.group(1)) == pytest.approx(100 * sum(value**2 for value in values[:3]) / 30, abs=0.6)
    set_slider(page, "m", 3)
    page.wait_for_function(
        "() => document.getElementById('pg-projection').textContent.startsWith('All of the space: with m = 3')"
    )
    set_slider(page, "m", 2)
    page.wait_for_function("() => document.getElementById('pg-projection').textContent.includes('circle')")


def test_the_frame_holds_the_top_directions_through_a_collapse_and_does_not_tumble(model):
    found = model.evaluate(
        f"""() => {{ const m = 40, k = 15, kept = [], turns = [];
          const x = {MODEL}.randomEmbeddings(k, m, 2);
          const inner = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
          let axes = null;
          for (let i = 0; i < 400; i++) {{
            {MODEL}.step(x, k, m, 2.4, null, 0, false);
            const now = {MODEL}.spectrum(x, k, m);
            const next = {MODEL}.frame(x, k, m, now, axes);
            let held = 0;
            for (const axis of next) for (let j = 0; j < k; j++) held += inner(axis, x.subarray(j * m, (j + 1) * m)) ** 2;
            const best = now.values.slice(0, 3).reduce((sum, value) => sum + value * value, 0);
            kept.push(held / best);
            for (const a of next) for (const b of next) kept.push(a === b ? 1 + Math.abs(inner(a, b) - 1) : 1 + Math.abs(inner(a, b)));
            if (axes) turns.push(Math.min(...next.map((axis, l) => inner(axis, axes[l]))));
            axes = next;
          }}
          return [Math.min(...kept), Math.max(...kept), Math.min(...turns), {MODEL}.meanNorm(x, k, m)]; }}"""
    )
    least, most, turn, mean = found
    assert mean > 0.99
    assert least > 0.998
    assert most < 1 + 1e-9
    assert turn > 0.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_frame_throws_while_everything_is_changed_during_play(opened, scheme):
    page = opened(scheme=scheme)
    for k, m in ((2, 2), (50, 2), (50, 150), (3, 3), (30, 4), (4, 100)):
        set_slider(page, "k", k)
        set_slider(page, "m", m)
        for lr, weight in ((0.05, 0), (6, 1.5), (2.1, 0.02)):
            set_slider(page, "lr", lr)
            set_slider(page, "lambda", weight)
            page.get_by_label("tangent, as in training code" if lr > 3 else "the theorem's").check()
            at = state(page)["at"]
            page.wait_for_function(f"() => clopPlayground.state().at > {at}")
    drawn = page.locator("#pg-sphere").evaluate(
        "(canvas) => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
    )
    assert drawn > 10, "the sphere is blank"


def test_canvases_follow_the_theme_and_the_density_of_the_screen(browser, server):
    context = browser.new_context(color_scheme="light", reduced_motion="reduce", device_scale_factor=2)
    page = context.new_page()
    page.goto(f"{server}/{PAGE}")
    page.wait_for_function("() => window.clopPlayground")
    light = picture(page, "spectrum")
    size = page.locator("#pg-spectrum").evaluate("(canvas) => [canvas.width, canvas.getBoundingClientRect().width]")
    assert size[0] == pytest.approx(2 * size[1], abs=1)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    assert picture(page, "spectrum") != light
    context.close()


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_fits_its_width(opened, width):
    page = opened(width=width, motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    wide = page.evaluate(
        """() => [...document.querySelectorAll('.playground *')].filter((node) => node.id !== 'pg-message'
             && node.getBoundingClientRect().right > document.documentElement.clientWidth).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert wide == []


def test_every_control_has_a_name(still):
    nameless = still.evaluate(
        """() => [...document.querySelectorAll('.playground :is(button, input, select, canvas)')].filter((node) =>
             !(node.labels && node.labels.length) && !node.textContent.trim() && !node.getAttribute('aria-label'))
             .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    assert "norm of the mean" in still.locator("#pg-sphere").get_attribute("aria-label")


def test_without_javascript_the_page_describes_what_would_be_there(opened):
    page = opened(scripts=False)
    assert page.locator(".pg-noscript").is_visible()
    assert "Effective rank" in page.locator(".pg-charts").inner_text()
    assert not page.locator("#pg-play").is_visible()
    assert not page.locator("#pg-sphere").is_visible()


def test_other_pages_do_not_load_the_playground(built_site):
    loading = {
        str(path.relative_to(built_site))
        for path in built_site.rglob("*.html")
        if "_static" not in path.parts and re.search(r"playground\.(js|css)", path.read_text(encoding="utf-8"))
    }
    assert loading == {PAGE}


def test_it_works_from_a_folder_without_a_server(browser, built_site):
    context = browser.new_context(reduced_motion="reduce")
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    page.goto((built_site / PAGE).as_uri())
    press(page, "100 steps")
    assert state(page)["at"] == 100
    press(page, "Copy link")
    page.wait_for_function("() => location.hash.includes('at=100')")
    context.close()
    assert wrong == []

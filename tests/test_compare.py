"""Paired differences: against scipy's own t test, a simulation of the power, and tables that lack something."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clop_nb import compare

RANDOM = np.random.default_rng(3)


def runs(offset=0.0, seeds=4, cells=(32, 64), methods=("baseline", "clop")):
    """A table in which CLOP scores ``offset`` more than the baseline at every seed and cell."""
    rows = [
        {"seed": seed, "batch_size": cell, "method": method, "top1": 90 + 3 * seed + cell / 100 + offset * (method == "clop")}
        for seed in range(seeds) for cell in cells for method in methods
    ]  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def test_pooling_is_the_paired_t_test_on_the_means_over_cells():
    clop, baseline = RANDOM.normal(size=(2, 6, 3))
    found = compare.pooled(clop - baseline, 0.9)
    theirs = stats.ttest_rel(clop.mean(1), baseline.mean(1)).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.mean == pytest.approx(float((clop - baseline).mean()))
    assert (found.seeds, found.cells) == (6, 3)


def test_more_cells_of_the_same_seeds_are_no_evidence():
    once = RANDOM.normal(size=(5, 1))
    assert compare.pooled(np.repeat(once, 50, axis=1))[:4] == pytest.approx(compare.pooled(once)[:4])


def test_the_smallest_detectable_difference_is_found_four_times_in_five():
    seeds, draws = 5, 40_000
    sample = np.random.default_rng(0).normal(size=(draws, seeds))
    # In units of the true standard error: the function's factor does not depend on the sample.
    one = compare.pooled(sample[:1].T)
    factor = one.detectable / (sample[0].std(ddof=1) / np.sqrt(seeds))
    shifted = sample + factor / np.sqrt(seeds)
    found = (stats.ttest_1samp(shifted, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.01)


def test_differences_are_paired_by_seed_and_cell_whatever_the_order_of_the_rows():
    differences = compare.paired(runs(offset=1.5), "clop", "baseline", "batch_size")
    assert differences.shape == (4, 2)
    assert np.allclose(differences, 1.5)
    assert compare.pooled(differences).sign == 1
    assert compare.pooled(-differences).sign == -1


def test_a_difference_in_words_says_what_its_interval_says():
    words = [compare.Difference(low + 0.5, low, low + 1, 1.0, 1, 5) for low in (0.1, -0.5, -1.25)]
    assert [one.relation for one in words] == ["above", "not told apart from", "below"]
    assert [one.text for one in words] == ["+0.60 points (+0.10 to +1.10)", "+0.00 points (-0.50 to +0.50)", "-0.75 points (-1.25 to -0.25)"]  # fmt: skip


def test_a_table_that_lacks_a_run_or_has_one_twice_is_refused():
    whole = runs()
    for broken, said in (
        (whole[(whole.seed != 2) | (whole.method != "clop")], "same cells at the same seeds"),
        (whole[(whole.seed != 2) | (whole.method != "clop") | (whole.batch_size != 32)], "every seed in every cell"),
        (pd.concat([whole, whole.head(1)]), "1 runs too many"),
        (whole[whole.method == "baseline"], "every seed in every cell"),
    ):
        with pytest.raises(ValueError, match=said):
            compare.paired(broken, "clop", "baseline", "batch_size")


def test_a_difference_that_is_not_finite_or_rests_on_one_seed_is_refused():
    for wrong in (np.array([[1.0], [np.nan]]), np.ones((1, 3)), np.ones((3, 0)), np.ones(3)):
        with pytest.raises(ValueError, match="at least two seeds"):
            compare.pooled(wrong)
    with pytest.raises(ValueError, match="power above"):
        compare.pooled(np.ones((3, 1)), power=0.01)


def test_above_everywhere_needs_every_cell_and_the_pool():
    noise = 0.1 * RANDOM.normal(size=(5, 3))
    assert compare.everywhere_above(2 + noise) == "reproduced"
    assert compare.everywhere_above(noise - 2) == "not reproduced"
    assert compare.everywhere_above(noise - noise.mean()) == "inconclusive"
    # One cell clearly below: the pool's gain does not outweigh it.
    assert compare.everywhere_above(np.array([3.0, 3.0, -1.0]) + noise) == "not reproduced"
    # One cell below by less than its spread over seeds.
    assert compare.everywhere_above(np.array([3.0, 3.0, -0.01]) + noise - noise.mean(0)) == "inconclusive"


def test_the_largest_gap_is_that_of_the_outermost_levels_and_allows_for_the_search():
    noise = RANDOM.normal(size=(6, 4))
    levels = pd.DataFrame(noise + np.array([0.0, 5.0, 1.0, -4.0]), columns=[0.1, 0.5, 1.0, 1.5])
    gap = compare.largest_gap(levels)
    assert {gap.first, gap.second} == {0.5, 1.5}
    plain = compare.pooled((levels[gap.second] - levels[gap.first]).to_numpy()[:, None])
    bonferroni = stats.ttest_rel(levels[gap.second], levels[gap.first]).confidence_interval(1 - 0.05 / 6)
    assert gap.difference.mean == pytest.approx(plain.mean)
    assert (gap.difference.low, gap.difference.high) == pytest.approx((bonferroni.low, bonferroni.high))
    with pytest.raises(ValueError, match="two levels"):
        compare.largest_gap(levels[[0.1]])


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [(-1, 1.9, "reproduced"), (-2.1, 1, "inconclusive"), (2.1, 3, "not reproduced"), (-9, -2.5, "not reproduced"), (-9, 9, "inconclusive")],
)  # fmt: skip
def test_equivalence_is_shown_by_an_interval_within_the_tolerance_not_by_one_that_holds_zero(low, high, answer):
    assert compare.equivalent(compare.Difference((low + high) / 2, low, high, 1.0, 1, 5), 2.0) == answer

"""The grids of notebooks 06 to 08: what is run, what is shared between them, and the table that they are compared in."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from clop_nb import compare, data, grids, records, store, train
from clop_nb.config import RunConfig

GRIDS = (grids.batch_sizes, grids.learning_rates, grids.clop_weights)


def record(config, **changes):
    probes = [{"probe_fraction": f, "top1": 0.5 + f / 10, "top5": 0.9, "knn": 0.5} for f in config.probe_fractions]
    values = dict(
        config=config,
        outcome="finished",
        metrics={"probes": probes, "embedding_rank": 7.5},
        seed=config.seed,
        threads=1,
        versions={},
        device="cpu",
        seconds=1.5,
        peak_memory_mib=300.0,
        code_hash="a" * 16,
        date="2026-01-01T00:00:00+00:00",
    )
    return records.RunRecord(**{**values, **changes})


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", grids.PLANS)
def test_every_method_has_every_cell_at_every_seed(name, grid):
    plan = grids.PLANS[name]
    configs = grid(plan)
    table = grids.table(records.frame(map(record, configs))) if configs else pd.DataFrame()
    ids = [config.id for config in configs]
    assert len(set(ids)) == len(ids)
    if grid is grids.clop_weights:
        expected = (len(plan.weights) + 1) * plan.seeds if plan.weights else 0
        assert len(table) == expected
        return
    cells = len(plan.batch_sizes if grid is grids.batch_sizes else plan.rates)
    if not cells:
        assert not configs
        return
    assert Counter(table.method) == dict.fromkeys(grids.METHODS, cells * len(plan.fractions) * plan.seeds)
    column = "batch_size" if grid is grids.batch_sizes else "peak_lr"
    assert compare.paired(table, "clop", "labels_only", ["fraction", column]).shape == (
        plan.seeds,
        cells * len(plan.fractions),
    )


def test_steady_rates_differ_from_the_falling_ones_in_their_schedule_only():
    plan = grids.PLANS["digits"]
    falling = {replace(config, schedule="constant") for config in grids.learning_rates(plan)}
    steady = grids.steady_rates(plan)
    assert set(steady) < falling
    assert len(set(steady)) == 3 * len(plan.steady_rates) * plan.seeds
    assert {config.peak_lr for config in steady} == set(plan.steady_rates) == {10.0}


def test_labels_are_seen_by_loss_and_classifier_alike_and_info_nce_is_trained_once_for_all_fractions():
    for config in grids.batch_sizes(grids.PLANS["digits"]):
        if config.uses_labels:
            assert config.label_fraction == config.probe_fraction
        else:
            assert config.probe_fractions == (0.1, 0.5)
        assert (config.loss == "info_nce") == (config.probe_fractions[0] < 1 and config.loss != "labels_only")


def test_the_printed_ranges_are_covered():
    for name in ("cifar100", "tiny_imagenet"):
        plan = grids.PLANS[name]
        by_rule = {config.batch_size: config.peak_lr for config in grids.batch_sizes(plan)}
        assert by_rule == {size: pytest.approx(0.3 * size / 256) for size in (32, 64, 128, 256, 512, 1024, 2048)}
        rates = {config.peak_lr for config in grids.learning_rates(plan)}
        assert (min(rates), max(rates)) == pytest.approx((0.1, 10))
        assert {config.batch_size for config in grids.learning_rates(plan)} == {1024}
        assert {c.clop_weight for c in grids.clop_weights(plan) if c.loss == "sup_con"} == {0, 0.1, 0.5, 1, 1.5}


def test_cells_that_two_notebooks_share_are_one_run():
    plan = grids.PLANS["digits"]
    together = sum(len(grid(plan)) for grid in (*GRIDS, grids.steady_rates))
    shared_cell, shared_weights = 8 * plan.seeds, 3 * plan.seeds  # eight trainings; lambda 0, 1 and labels only
    assert len(grids.every_run(plan)) == together - shared_cell - shared_weights


@pytest.mark.parametrize("plan", [grids.PLANS["digits"], grids.SMOKE], ids=["digits", "smoke"])
def test_every_run_suits_the_data(plan):
    images = data.load("digits")
    for config in grids.every_run(plan):
        train.check(config, images)


def test_number_of_classes_is_that_of_the_data():
    images = data.load("digits")
    assert grids.CLASSES["digits"] == len(images.class_names)
    assert set(grids.PLANS) <= set(grids.CLASSES)


def test_methods_are_told_apart_and_scores_are_in_percent():
    base = RunConfig(clop_weight=1.0)
    given = {
        "baseline": replace(base, clop_weight=0.0),
        "clop": base,
        "labels_only": replace(base, loss="labels_only"),
    }
    table = grids.table(records.frame(map(record, given.values())))
    assert list(table.method) == list(given)
    assert table.top1.tolist() == pytest.approx([60.0] * 3)
    assert table.fraction.tolist() == [1.0] * 3


def test_a_diverged_run_counts_at_chance():
    lost = record(RunConfig(seed=1), outcome="diverged", error="the loss was not finite in epoch 1", metrics={})
    for given in ([record(RunConfig()), lost], [lost]):
        row = grids.table(records.frame(given)).set_index("seed").loc[1]
        assert (row.top1, row.top5, row.knn) == pytest.approx((10, 50, 10))


def test_a_failed_run_is_not_compared():
    failed = record(RunConfig(), outcome="failed", error="RuntimeError: out of memory", metrics={})
    with pytest.raises(ValueError, match="out of memory"):
        grids.table(records.frame([failed]))


def test_recorded_shows_what_is_there_and_trains_nothing(tmp_path):
    there, absent = RunConfig(seed=0), RunConfig(seed=1)
    assert grids.recorded([there, absent], tmp_path / "nowhere").empty
    assert not (tmp_path / "nowhere").exists()
    store.write(tmp_path, record(there))
    assert grids.recorded([there, absent], tmp_path).id.tolist() == [there.id]


def test_ranks_on_the_way_are_those_of_the_records(tmp_path):
    long, short, absent = RunConfig(seed=0), RunConfig(seed=1), RunConfig(seed=2)
    for config, curves in (
        (long, {"rank_epoch": [2, 4], "embedding_rank": [1.5, 6.0]}),
        (short, {"rank_epoch": [1], "embedding_rank": [3.0]}),
    ):
        store.write(tmp_path, record(config, curves=curves))
    ranks = grids.ranks_on_the_way([long, short, absent], tmp_path)
    assert ranks.values.tolist() == [[long.id, 2, 1.5], [long.id, 4, 6.0], [short.id, 1, 3.0]]
    assert grids.ranks_on_the_way([absent], tmp_path).columns.tolist() == ["id", "epoch", "rank"]


def test_collect_gives_tables_of_complete_grids_only_and_counts_the_rest(tmp_path):
    plan = replace(grids.SMOKE, fractions=(1.0,), seeds=1)
    other = replace(plan, base=replace(plan.base, epochs=2))
    plans = {"digits": plan, "fashion_mnist": other, "cifar100": replace(plan, batch_sizes=())}
    for config in grids.batch_sizes(plan):
        store.write(tmp_path, record(config))
    store.write(tmp_path, record(grids.batch_sizes(other)[0], outcome="diverged", error="epoch 1", metrics={}))
    found = grids.collect(grids.batch_sizes, plans, tmp_path)
    assert list(found.tables) == ["digits"]
    assert found.runs.recorded.to_dict() == {"digits": 6, "fashion_mnist": 1}
    assert found.runs.loc["fashion_mnist", ["runs", "stale", "diverged", "finished"]].tolist() == [6, 1, 1, 0]
    assert found.runs.seconds["digits"] == pytest.approx(6 * 1.5)
    with pytest.raises(ValueError, match=r"digits, fashion_mnist, cifar100, got cifar10$"):
        grids.collect(grids.batch_sizes, plans, tmp_path, train=("cifar10",))


def test_collect_trains_what_is_asked_for(tmp_path):
    plan = replace(grids.SMOKE, fractions=(1.0,), weights=(0.0,), seeds=1)
    found = grids.collect(grids.clop_weights, {"digits": plan}, tmp_path, train=("digits",), n_jobs=1)
    assert set(found.tables["digits"].method) == {"baseline", "labels_only"}
    assert found.runs.recorded["digits"] == len(store.read_all(tmp_path)) == 2


def test_the_command_trains_what_is_missing_and_says_what_it_did(tmp_path, capsys, monkeypatch):
    small = replace(grids.SMOKE, batch_sizes=(64,), rates=(), steady_rates=(), weights=(), fractions=(1.0,), seeds=1)
    monkeypatch.setitem(grids.PLANS, "digits", small)
    for trained in (3, 0):
        grids.main(["digits", "--store", str(tmp_path), "--n-jobs", "1"])
        assert capsys.readouterr().out == f"{trained} of 3 runs trained; 3 finished\n"
    assert len(store.read_all(tmp_path)) == 3

"""The regime map: what it holds, that a killed computation goes on, and that nothing partial is read."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from clop_nb import presets, regime, synthetic
from clop_nb.synthetic import Setting

SMALL = Setting(samples=60, batch_size=30, width=4, epochs=1, labelled=0.2)
PARTS = {
    "map-sgd-vicreg-0": [("", replace(SMALL, loss="vicreg", optimizer="sgd", lr=lr), 0) for lr in (1e-3, 1e9)],
    "strip-width": [
        ("width", replace(SMALL, width=width, clop_weight=1.0), seed) for width in (4, 8) for seed in (0, 1)
    ],
}


def test_a_map_reads_back_as_it_was_run(tmp_path):
    seen = []
    regime.compute(tmp_path / "map.csv", parts=PARTS, report=lambda done, total: seen.append((done, total)))
    rows, about = regime.load(tmp_path / "map.csv")
    runs = [run for part in PARTS.values() for run in part]
    assert [(r["factor"], r["lr"], r["width"], r["seed"]) for r in rows] == [(f, s.lr, s.width, n) for f, s, n in runs]
    assert [r["part"] for r in rows] == ["map", "map", "strip", "strip", "strip", "strip"]
    (again,) = synthetic.train([(PARTS["strip-width"][0][1], 0)])
    assert rows[2]["accuracy"] == pytest.approx(again.accuracy, rel=1e-4)
    assert rows[1]["diverged"] == 1
    assert math.isnan(rows[1]["accuracy"])
    assert math.isnan(rows[0]["diverged"])
    assert about["runs"] == 6
    assert about["current"]
    assert seen[-1] == (6, 6)
    assert {file.name for file in tmp_path.iterdir()} == {"map.csv", "map.json"}


def test_a_killed_computation_goes_on_where_it_stopped(tmp_path, monkeypatch):
    trained = Counter()
    real = synthetic.train

    def dies_in_the_second_part(runs, **options):
        trained[len(runs)] += 1
        if len(runs) == 4 and trained[4] == 1:
            raise KeyboardInterrupt
        return real(runs, **options)

    monkeypatch.setattr(synthetic, "train", dies_in_the_second_part)
    with pytest.raises(KeyboardInterrupt):
        regime.compute(tmp_path / "map.csv", parts=PARTS)
    assert not (tmp_path / "map.csv").exists()
    regime.compute(tmp_path / "map.csv", parts=PARTS)
    assert trained == {2: 1, 4: 2}
    assert len(regime.load(tmp_path / "map.csv")[0]) == 6


def test_a_map_that_is_missing_or_cut_off_is_refused(tmp_path):
    with pytest.raises(ValueError, match="make map"):
        regime.load(tmp_path / "map.csv")
    regime.compute(tmp_path / "map.csv", parts=PARTS)
    lines = (tmp_path / "map.csv").read_text().splitlines(keepends=True)
    (tmp_path / "map.csv").write_text("".join(lines[:-1]))
    with pytest.raises(ValueError, match="not a whole regime map"):
        regime.load(tmp_path / "map.csv")


def test_the_grid_compares_every_method_on_the_same_seeds_in_every_cell():
    cells = {}
    for name, runs in regime.grid().items():
        for factor, setting, seed in runs:
            cell = (factor, replace(setting, loss="info_nce", clop_weight=0.0))
            if name.startswith("map"):
                cells.setdefault(cell, Counter())[setting.loss, setting.clop_weight] += 1
                assert seed < regime.MAP_SEEDS
    assert len(cells) == sum(map(len, regime.MAP_RATES.values())) * len(regime.ANGLES)
    assert all(len(methods) == 9 and set(methods.values()) == {regime.MAP_SEEDS} for methods in cells.values())


def test_the_committed_map_is_whole():
    rows, about = regime.load(presets.project_file("results/synthetic_map.csv"))
    assert len(rows) == sum(map(len, regime.grid().values())) == about["runs"]

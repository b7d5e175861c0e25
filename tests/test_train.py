"""Runs repeat, resume and end in the outcome that they had; what cannot work is refused before any work."""

import dataclasses
import math
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from clop_nb import augment, data, recipe, train
from clop_nb.checkpoint import resume
from clop_nb.config import RunConfig

TINY = RunConfig(train_samples=200, epochs=2, batch_size=50, dim=16, clop_weight=1.0, label_fraction=0.5)


def variant(**changes):
    return dataclasses.replace(TINY, **changes)


def test_a_run_repeats_and_records_what_it_was():
    seen = []
    first, second = (train.run(TINY, progress=lambda *state: seen.append(state)) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.curves == second.curves
    assert first.config == TINY
    assert first.outcome == "finished"
    assert (first.threads, first.seed, first.device[:3]) == (1, 0, "cpu")
    assert [state[:2] for state in seen] == [(1, 2), (2, 2)] * 2
    assert len(first.curves["loss"]) == 2
    assert first.curves["rank_epoch"] == [1, 2]
    assert first.curves["embedding_rank"][-1] == first.metrics["embedding_rank"]
    assert first.images_per_second > 0
    assert train.run(variant(seed=1)).metrics != first.metrics


def test_the_threads_of_the_caller_are_given_back(capsys):
    before = torch.get_num_threads()
    deterministic = torch.backends.cudnn.deterministic
    with pytest.raises(ZeroDivisionError):
        train.run(TINY, threads=before + 1, progress=lambda *state: 1 / 0)
    assert torch.get_num_threads() == before
    assert torch.backends.cudnn.deterministic == deterministic
    assert capsys.readouterr() == ("", "")


def test_a_run_learns():
    trained = train.run(RunConfig(epochs=3, batch_size=128, probe_fraction=(0.1, 1.0)))
    probes = trained.metrics["probes"]
    assert [probe["probe_fraction"] for probe in probes] == [0.1, 1.0]
    assert probes[1]["top1"] > 0.9
    assert probes[1]["top5"] > 0.98
    assert probes[1]["top1"] > probes[0]["top1"]
    assert trained.curves["loss"][-1] < trained.curves["loss"][0] - 0.2


@pytest.mark.parametrize(
    "changes",
    [
        dict(loss="info_nce", clop_weight=0.0),
        dict(loss="info_nce", optimizer="lars", lr_rule="linear"),
        dict(loss="dcl", schedule="constant", warmup_epochs=1),
        dict(loss="vicreg", normalise_features=True, lr=0.01),
        dict(loss="barlow_twins", lr=0.01),
        dict(loss="labels_only", label_subset="redrawn"),
        dict(loss="sup_con", prototypes="simplex_etf", dim=9, clop_weight=2),
        dict(loss="sup_con", clop_weight=0.0, precision="bf16", batch_size=10, train_samples=30),
        dict(probe="authors"),
    ],
)
def test_every_choice_trains(changes):
    done = train.run(variant(epochs=1, **changes))
    assert done.outcome == "finished"
    assert math.isfinite(done.curves["loss"][0])
    assert ("prototype_alignment" in done.metrics) == done.config.uses_prototypes


def test_compile_goes_through_torch_compile(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    train.run(variant(epochs=1, compile=True))
    train.run(variant(epochs=1))
    assert len(compiled) == 1


def test_divergence_is_an_outcome():
    done = train.run(variant(loss="vicreg", clop_weight=0.0, lr=1e6))
    assert done.outcome == "diverged"
    assert "not finite" in done.error
    assert done.metrics == {}


def test_collapse_is_an_outcome_with_its_metrics():
    done = train.run(variant(loss="info_nce", clop_weight=0.0, dim=1))  # a line: no embedding has a rank above 1
    assert done.outcome == "collapsed"
    assert done.metrics["embedding_rank"] == pytest.approx(1, abs=1e-3)
    assert done.metrics["probes"][0]["top1"] > 0.2


KILLED = """
    import os, signal, sys
    from clop_nb import train
    from clop_nb.config import RunConfig
    def kill(epoch, epochs, loss):
        if epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    config = RunConfig.from_dict({config!r})
    train.run(config, checkpoint={file!r}, checkpoint_every=0, progress=kill)
"""


@pytest.mark.parametrize("changes", [dict(label_subset="redrawn"), dict(optimizer="lars", loss="info_nce")])
def test_a_killed_run_ends_in_the_same_metrics(tmp_path, changes):
    config, file = variant(epochs=5, warmup_epochs=1, **changes), tmp_path / "checkpoint"
    code = textwrap.dedent(KILLED).format(config=config.to_dict(), file=str(file))
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    epochs = []
    resumed = train.run(config, checkpoint=file, progress=lambda epoch, *rest: epochs.append(epoch))
    assert epochs == [4, 5]  # killed in the fourth, before its checkpoint
    whole = train.run(config)
    assert resumed.metrics == whole.metrics
    assert resumed.curves == whole.curves


def test_a_checkpoint_of_something_else_is_not_used(tmp_path):
    file, epochs = tmp_path / "checkpoint", []
    start = time.monotonic()
    train.run(TINY, checkpoint=file)
    assert time.monotonic() - start > train.CHECKPOINT_EVERY or not file.exists()  # shorter than a minute: none
    train.run(TINY, checkpoint=file, checkpoint_every=0)
    train.run(variant(lr=0.1), checkpoint=file, progress=lambda epoch, *rest: epochs.append(epoch))
    file.write_bytes(b"not a checkpoint")
    train.run(TINY, checkpoint=file, progress=lambda epoch, *rest: epochs.append(epoch))
    assert epochs == [1, 2, 1, 2]
    assert resume(None, [], {}, {}) == (0, 0.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RunConfig(batch_size=2000), "batch_size must be at most the 1437 training samples, got 2000"),
        (RunConfig(train_samples=100, batch_size=128), "batch_size must be at most the 100"),
        (RunConfig(train_samples=1438), "train_samples must be at most 1437"),
        (RunConfig(train_samples=5, batch_size=4), "train_samples must leave a sample of each"),
        (RunConfig(dim=9, clop_weight=1), "dim must be at least 10 for 10 orthonormal"),
        (RunConfig(dim=8, clop_weight=1, prototypes="simplex_etf"), "dim must be at least 9 for 10 simplex_etf"),
        (RunConfig(label_fraction=0.001), "label_fraction: fraction 0.001 leaves class"),
        (RunConfig(probe_fraction=(0.001, 1)), "probe_fraction: fraction 0.001 leaves class"),
    ],
)
def test_what_does_not_suit_the_data_is_refused_before_any_work(config, message, monkeypatch):
    monkeypatch.setattr(recipe, "model", lambda *args: pytest.fail("work has begun"))
    with pytest.raises(ValueError, match=message):
        train.run(config)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(train.DeviceError, match=r"cuda:99 is not there: torch .* sees \d+ GPUs"):
        train.run(TINY, device="cuda:99")
    for name in ("gpu", "meta"):
        with pytest.raises(ValueError, match="device must be auto, cpu, cuda"):
            train.run(TINY, device=name)
    with pytest.raises(ValueError, match="threads must be"):
        train.run(TINY, threads=0)


def test_data_that_are_not_there_are_said_to_be(tmp_path):
    with pytest.raises(FileNotFoundError):
        train.run(RunConfig(dataset="cifar10"), root=tmp_path)


def test_runs_of_one_seed_share_everything_but_the_loss():
    a, b = variant(loss="info_nce", clop_weight=0.5), variant(loss="labels_only", clop_weight=2.0, lr=0.01)
    labels = data.load("digits").train_labels
    assert torch.equal(recipe.subset(a, labels), recipe.subset(b, labels))
    assert torch.equal(recipe.seen(a, labels), recipe.seen(b, labels))
    assert torch.equal(recipe.prototypes(a, 10, torch.device("cpu")), recipe.prototypes(b, 10, torch.device("cpu")))
    for p, q in zip(recipe.model(a, 1).parameters(), recipe.model(b, 1).parameters(), strict=True):
        assert torch.equal(p, q)
    images = torch.rand(4, 1, 8, 8)
    left, right = (augment.two_views(images, recipe.stream(config, "views")) for config in (a, b))
    assert torch.equal(left[0], right[0])
    state = torch.get_rng_state()
    recipe.model(a, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_subsets_are_balanced_and_the_smaller_lie_in_the_larger():
    labels = data.load("digits").train_labels
    small, large = (recipe.subset(variant(train_samples=n), labels) for n in (100, 700))
    assert len(small) == 100
    assert set(small.tolist()) < set(large.tolist())
    assert labels[small].bincount().min() >= 9
    assert labels[small].bincount().max() <= 11
    few, many = (recipe.seen(variant(label_fraction=fraction), labels) >= 0 for fraction in (0.1, 0.5))
    assert few.sum() == pytest.approx(0.1 * len(labels), abs=5)
    assert not (few & ~many).any()


def test_redrawn_labels_are_a_new_subset_each_step():
    config, y = variant(label_subset="redrawn", label_fraction=0.1), torch.arange(50) % 10
    generator = recipe.stream(config, "redraws")
    first, second = (recipe.redraw(config, y, generator) for _ in range(2))
    assert (first >= 0).sum() == (second >= 0).sum() == 5
    assert not torch.equal(first, second)
    assert torch.equal(first[first >= 0], y[first >= 0])
    assert torch.equal(recipe.redraw(TINY, y, generator), y)


def test_learning_rate_warms_up_and_decays_by_steps():
    config = variant(epochs=10, warmup_epochs=2, lr=0.1, lr_rule="linear", batch_size=128)
    rates = [recipe.learning_rate(config, step, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([0.05 * (i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(0.05)
    assert rates[30] == pytest.approx(0.05 / 2)
    assert rates[49] < 0.001
    assert sorted(rates[10:], reverse=True) == rates[10:]
    constant = dataclasses.replace(config, schedule="constant", lr_rule="sqrt", warmup_epochs=0)
    assert {recipe.learning_rate(constant, step, 5) for step in range(50)} == {0.1 * 128**0.5}

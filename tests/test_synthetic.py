"""The synthetic demonstration: its data are what is printed, and stacking runs changes no number."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from clop_nb import losses, synthetic
from clop_nb.synthetic import Setting

SMALL = Setting(samples=90, batch_size=30, width=16, epochs=3, labelled=0.2)


def lonely_net(setting, seed):
    """One net as anybody would write it, with torch's modules and optimisers; same start and views."""
    drawn = synthetic.sample(setting, seed)
    layers = [nn.Linear(3, setting.width), nn.Linear(setting.width, setting.width), nn.Linear(setting.width, 3)]
    begin = synthetic.start(setting, seed)
    with torch.no_grad():
        for layer, weight, bias in zip(layers, begin[::2], begin[1::2], strict=True):
            layer.double()
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias[0])
    norm = [nn.BatchNorm1d(setting.width, affine=False).double() if setting.batch_norm else nn.Identity() for _ in "12"]
    net = nn.Sequential(layers[0], norm[0], nn.ReLU(), layers[1], norm[1], nn.ReLU(), layers[2])
    make = {"adam": torch.optim.Adam, "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)}[setting.optimizer]
    optimizer = make(net.parameters(), lr=setting.lr)
    base = {
        "info_nce": lambda z0, z1: losses.info_nce(z0, z1, setting.temperature),
        "dcl": lambda z0, z1: losses.dcl(z0, z1, setting.temperature),
        "vicreg": losses.vicreg,
        "barlow_twins": losses.barlow_twins,
        "labels_only": lambda z0, z1: torch.zeros((), dtype=z0.dtype),
    }[setting.loss]
    criterion = losses.CLOPLoss(base, synthetic.targets(seed).double(), setting.clop_weight)
    generator = torch.Generator().manual_seed(8 * seed + synthetic._VIEWS)
    steps, size = setting.samples // setting.batch_size, setting.batch_size
    for _ in range(setting.epochs):
        order = torch.randperm(setting.samples, generator=generator)[: steps * size].view(steps, size)
        noise = torch.randn(steps, 2, size, 3, generator=generator)
        turn = torch.rand(steps, 2, size, 1, generator=generator)
        for batch, n, t in zip(order, noise, turn, strict=True):
            views = drawn.points[batch] + setting.view_noise * n.double()
            z = net(torch.where(t < setting.flip, -views, views).flatten(0, 1))
            optimizer.zero_grad()
            criterion(z[:size], z[size:], drawn.visible[batch]).backward()
            optimizer.step()
    return net(drawn.points).detach()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", synthetic.LOSSES)
def test_a_stacked_run_is_the_run_of_a_single_net(loss, optimizer):
    base = replace(SMALL, loss=loss, optimizer=optimizer, lr=1e-3, clop_weight=1.0, angle=40.0)
    settings = [base, replace(base, lr=3e-3, amplitude="gaussian"), replace(base, clop_weight=0.3, flip=0.2)]
    for setting, outcome in zip(
        settings, synthetic.train([(s, 4 + i) for i, s in enumerate(settings)], dtype=torch.float64), strict=True
    ):
        torch.testing.assert_close(outcome.embeddings, lonely_net(setting, outcome.seed), rtol=1e-7, atol=1e-9)


def test_batch_norm_is_that_of_torch():
    setting = replace(SMALL, batch_norm=True, lr=1e-3)
    (outcome,) = synthetic.train([(setting, 1)], dtype=torch.float64)
    torch.testing.assert_close(outcome.embeddings, lonely_net(setting, 1), rtol=1e-7, atol=1e-9)


def test_same_seeds_same_numbers_however_they_are_batched(monkeypatch):
    runs = [(replace(SMALL, loss=loss, clop_weight=1.0), seed) for seed in range(4) for loss in synthetic.LOSSES]
    together = synthetic.train(runs)
    alone = [synthetic.train([run])[0] for run in runs]
    monkeypatch.setattr(synthetic, "SMALL_STACK", 2)
    shared_out = synthetic.train(runs[::-1], jobs=2)[::-1]
    for one, other, third in zip(together, alone, shared_out, strict=True):
        assert (one.setting, one.seed) == (other.setting, other.seed) == (third.setting, third.seed)
        torch.testing.assert_close(one.embeddings, other.embeddings, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.embeddings, third.embeddings, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.losses, other.losses, rtol=1e-4, atol=1e-5)


def test_runs_of_one_seed_are_paired_and_others_are_not():
    untrained = replace(SMALL, epochs=0)
    first, second, third = synthetic.train(
        [(untrained, 3), (replace(untrained, loss="vicreg", clop_weight=1.0), 3), (untrained, 4)]
    )
    assert torch.equal(first.embeddings, second.embeddings)
    assert not torch.allclose(first.embeddings, third.embeddings)


def test_divergence_is_recorded_and_disturbs_no_other():
    calm = replace(SMALL, loss="vicreg", optimizer="sgd", lr=1e-4)
    wild = replace(calm, lr=1e4)
    alone = synthetic.train([(calm, 0)])[0]
    beside, lost = synthetic.train([(calm, 0), (wild, 0)])
    assert lost.diverged is not None
    assert 1 <= lost.diverged <= SMALL.epochs
    assert all(math.isnan(v) for v in (lost.accuracy, lost.accuracy_outputs, lost.effective_rank, *lost.cosines))
    assert beside.diverged is None
    torch.testing.assert_close(beside.embeddings, alone.embeddings, rtol=1e-4, atol=1e-4)


def test_outputs_that_overflow_count_as_divergence_and_huge_ones_do_not():
    calm = replace(SMALL, loss="vicreg", optimizer="sgd", lr=1e-4)
    rates = torch.logspace(-3, 12, 40).tolist()
    for outcome in synthetic.train([(replace(calm, lr=rate), 0) for rate in rates]):
        assert (outcome.diverged is None) == bool(outcome.embeddings.isfinite().all())
        assert (outcome.diverged is None) == (1 <= outcome.effective_rank <= 3 + 1e-6)


def test_each_class_lies_in_its_subspace_at_the_angle_asked_for():
    for angle in (20.0, 60.0, 90.0):
        lines = synthetic.sample(Setting(noise=0.0, angle=angle), 0)
        gram = lines.axes @ lines.axes.T
        expected = math.cos(math.radians(angle))
        torch.testing.assert_close(gram, torch.eye(3).double() * (1 - expected) + expected)
        off_line = (
            lines.points - (lines.points * lines.axes[lines.labels]).sum(1, keepdim=True) * lines.axes[lines.labels]
        )
        assert off_line.abs().max() < 1e-12
    planes = synthetic.sample(Setting(noise=0.0, subspace_dim=2), 0)
    assert (planes.points * planes.axes[planes.labels]).sum(1).abs().max() < 1e-12
    assert torch.linalg.matrix_rank(planes.points[planes.labels == 0]) == 2


def test_amplitudes_and_noise_follow_their_laws():
    lengths = {
        law: torch.linalg.vector_norm(
            synthetic.sample(Setting(samples=3000, noise=0.0, amplitude=law), 0).points, dim=1
        )
        for law in synthetic.AMPLITUDES
    }
    torch.testing.assert_close(lengths["unit"], torch.ones(3000).double())
    assert lengths["uniform"].min() >= 0.5
    assert lengths["uniform"].max() <= 1.5
    assert abs(lengths["uniform"].mean() - 1) < 0.02
    assert lengths["gaussian"].min() < 0.01
    assert abs(lengths["gaussian"].square().mean() - 1) < 0.1
    clean, noisy = (synthetic.sample(Setting(samples=3000, noise=noise), 0).points for noise in (0.0, 0.05))
    assert abs((noisy - clean).std() - 0.05) < 0.002


def test_the_labelled_share_is_the_one_printed():
    drawn = synthetic.sample(Setting(), 0)
    known = drawn.visible >= 0
    assert known.sum() == 50
    assert torch.equal(drawn.visible[known], drawn.labels[known])
    assert sorted(torch.bincount(drawn.labels).tolist()) == [166, 167, 167]


def test_the_score_is_scikit_learns_nearest_neighbours():
    for seed in range(5):
        drawn = synthetic.sample(Setting(noise=0.5, angle=30.0), seed)
        known = drawn.visible >= 0
        judge = KNeighborsClassifier(5).fit(drawn.points[known], drawn.visible[known])
        expected = judge.score(drawn.points[~known], drawn.labels[~known])
        assert synthetic.accuracy(drawn.points, drawn.labels, drawn.visible) == pytest.approx(expected)


def test_the_pull_brings_the_classes_to_their_prototypes():
    (outcome,) = synthetic.train([(Setting(loss="labels_only", clop_weight=1.0, epochs=30), 0)])
    unit = F.normalize(outcome.embeddings, dim=1)
    labels = synthetic.sample(outcome.setting, 0).labels
    assert (unit * synthetic.targets(0)[labels]).sum(1).mean() > 0.95
    assert max(map(abs, outcome.cosines)) < 0.1
    assert outcome.effective_rank == pytest.approx(3, abs=0.1)
    assert outcome.losses[-1] < 0.1 * outcome.losses[0]


def test_history_starts_at_the_start_and_ends_at_the_end():
    (outcome,) = synthetic.train([(replace(SMALL, epochs=4), 0)], record_every=2)
    assert outcome.history.shape == (3, 90, 3)
    assert torch.equal(outcome.history[-1], outcome.embeddings)
    (untrained,) = synthetic.train([(replace(SMALL, epochs=0), 0)])
    assert torch.equal(outcome.history[0], untrained.embeddings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loss": "simsiam"}, "loss must be one of info_nce"),
        ({"optimizer": "lars"}, "optimizer"),
        ({"amplitude": "cauchy"}, "amplitude"),
        ({"subspace_dim": 3}, "subspace_dim"),
        ({"samples": 3}, "samples"),
        ({"batch_size": 501}, "batch_size must be at most samples"),
        ({"epochs": 1.5}, "epochs"),
        ({"angle": 0.0}, "angle must be above 0"),
        ({"angle": 91.0}, "at most 90"),
        ({"lr": -1.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"temperature": 0.0}, "temperature"),
        ({"labelled": 0.001}, "labelled"),
        ({"labelled": 1.0}, "labelled"),
        ({"loss": "labels_only"}, "clop_weight"),
    ],
)
def test_a_bad_setting_names_the_field(change, named):
    with pytest.raises(ValueError, match=named):
        Setting(**change)


def test_bad_seeds_and_jobs_are_named():
    with pytest.raises(ValueError, match="seed"):
        synthetic.sample(SMALL, -1)
    with pytest.raises(ValueError, match="jobs"):
        synthetic.train([(SMALL, 0)], jobs=0)

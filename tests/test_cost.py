"""The estimate of what a grid costs: its counts against independent ones, measured throughput before assumptions."""

from dataclasses import replace

import pytest

from clop_nb import cost, data, grids
from clop_nb.config import PRINTED, RunConfig
from clop_nb.records import RunRecord

CIFAR = PRINTED["cifar100"]


def record(config, device, images_per_second):
    return RunRecord(
        config=config, outcome="finished", metrics={}, seed=config.seed, threads=1, versions={}, device=device,
        seconds=1.0, images_per_second=images_per_second, peak_memory_mib=1.0, code_hash="0" * 16,
        date="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def convolution(channels_in, channels_out, kernel, side):
    return 2 * channels_in * channels_out * kernel * kernel * side * side


def test_operations_of_the_small_net_equal_a_count_by_hand():
    by_hand = (
        convolution(1, 16, 3, 8) + 2 * convolution(16, 16, 3, 8)
        + convolution(16, 32, 3, 4) + convolution(32, 32, 3, 4) + convolution(16, 32, 1, 4)
        + convolution(32, 64, 3, 2) + convolution(64, 64, 3, 2) + convolution(32, 64, 1, 2)
        + 2 * 64 * 64 + 2 * 64 * 128
    )  # fmt: skip
    assert cost.forward_flops("resnet8", 128, 1, 8) == by_hand


def test_operations_of_resnet50_agree_with_those_that_torchvision_prints():
    from torchvision.models import ResNet50_Weights

    # After its stem, torchvision's net for 224 pixels has maps as ours has for 56. It prints billions of multiplications.
    printed = 2e9 * ResNet50_Weights.IMAGENET1K_V1.meta["_ops"]
    rest = printed - convolution(3, 64, 7, 112) - 2 * 2048 * 1000
    ours = convolution(3, 64, 3, 56) + 2 * 2048 * 2048 + 2 * 2048 * 128 + rest
    assert cost.forward_flops("resnet50", 128, 3, 56) == pytest.approx(ours, rel=1e-3)


def test_samples_are_those_of_whole_batches():
    digits = data.load("digits")
    config = RunConfig(batch_size=1000, epochs=3)
    assert cost.samples(config) == 3 * (len(digits.train_labels) // 1000) * 1000
    assert cost.samples(replace(config, train_samples=500, batch_size=200)) == 3 * 400


def test_the_estimate_is_work_over_rate():
    found = cost.cost([CIFAR, CIFAR, replace(CIFAR, seed=1)])
    assert found.runs == 2
    assert not found.measured
    work = 2 * 200 * (50_000 // 1024 * 1024) * 2 * 3 * cost.forward_flops("resnet50", 128, 3, 32)
    assert found.flops == work
    least, most = found.hours["A100"]
    assert (least, most) == pytest.approx((work / 312e12 / 0.3 / 3600, work / 312e12 / 0.1 / 3600))
    assert found.hours["H100"][0] < least


def test_measured_throughput_goes_before_the_estimate_if_it_covers_all():
    tiny = PRINTED["tiny_imagenet"]
    records = [record(replace(CIFAR, seed=seed), "A GPU", rate) for seed, rate in enumerate((900.0, 1000.0, 5000.0))]
    records += [record(CIFAR, "cpu (x)", 1.0), record(replace(CIFAR, precision="float32"), "A GPU", 1.0)]
    found = cost.cost([CIFAR], records)
    assert found.measured
    hours = cost.samples(CIFAR) / 1000 / 3600
    assert found.hours == {"A GPU": pytest.approx((hours, hours))}
    assert not cost.cost([CIFAR, tiny], records).measured


def test_the_papers_grid_counts_a_run_that_two_notebooks_share_once():
    plan = grids.PLANS["cifar100"]
    parts = [grid(plan) for grid in (grids.batch_sizes, grids.learning_rates, grids.steady_rates, grids.clop_weights)]
    whole = cost.cost(grids.every_run(plan))
    assert whole.runs < sum(cost.cost(part).runs for part in parts)
    assert whole.runs == len({config.id for part in parts for config in part})


def test_no_runs_is_an_error():
    with pytest.raises(ValueError, match="configs must hold"):
        cost.cost([])

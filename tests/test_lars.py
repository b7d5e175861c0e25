"""LARS against its formula in plain numbers, against SGD where the two are the same, and its state."""

import copy
import math

import pytest
import torch
from torch import nn

from clop_nb.lars import LARS, without_norms_and_biases


def parameters(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]


def set_gradients(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)


def numbers(tensor):
    return tensor.detach().flatten().tolist()


def norm(values):
    return math.sqrt(sum(value * value for value in values))


def test_steps_are_the_formula():
    """Two groups with options of their own, a rate that changes, and numbers for tensors in the reference."""
    first, second = parameters((3, 4), (5,)), parameters((2, 2, 2), (4,), seed=1)
    everything = first + second
    optimiser = LARS(
        [{"params": first}, {"params": second, "weight_decay": 0.5, "momentum": 0.3, "eeta": 0.02, "adapt": False}],
        lr=0.7,
        momentum=0.9,
        weight_decay=0.1,
        eeta=0.01,
    )
    w = [numbers(p) for p in everything]
    v = [[0.0] * len(values) for values in w]
    for step in range(6):
        lr = 0.7 / (1 + step)
        for group in optimiser.param_groups:
            group["lr"] = lr
        set_gradients(everything, 10 + step)
        g = [numbers(p.grad) for p in everything]
        optimiser.step()
        for i in range(4):
            momentum, decay, eeta = (0.9, 0.1, 0.01) if i < 2 else (0.3, 0.5, 0.02)
            decayed = [gj + decay * wj for gj, wj in zip(g[i], w[i], strict=True)]
            trust = eeta * norm(w[i]) / norm(decayed) if i < 2 else 1.0
            v[i] = [momentum * vj + lr * trust * dj for vj, dj in zip(v[i], decayed, strict=True)]
            w[i] = [wj - vj for wj, vj in zip(w[i], v[i], strict=True)]
        for i, p in enumerate(everything):
            assert numbers(p) == pytest.approx(w[i], rel=1e-12)


def test_one_step_by_hand():
    """w = (3, 4), g = (0, 2), decay 1/2: g' = (1.5, 4) with norm 4.272; the step is 0.1 * 5 / 4.272 of it."""
    (w,) = parameters((2,))
    w.data = torch.tensor([3.0, 4.0], dtype=torch.float64)
    w.grad = torch.tensor([0.0, 2.0], dtype=torch.float64)
    LARS([w], lr=1.0, weight_decay=0.5, eeta=0.1).step()
    scale = 0.1 * 5 / math.sqrt(1.5**2 + 4**2)
    assert numbers(w) == pytest.approx([3 - 1.5 * scale, 4 - 4 * scale], rel=1e-14)


def test_the_first_step_has_the_length_lr_eeta_norm_whatever_the_gradient():
    for size in (1e-6, 1.0, 1e6):
        (w,) = parameters((4, 4))
        before = w.detach().clone()
        w.grad = size * torch.ones_like(w)
        LARS([w], lr=0.3, eeta=0.01).step()
        assert (w - before).norm().item() == pytest.approx(0.003 * before.norm().item(), rel=1e-9)


def test_zero_weights_take_a_plain_step_and_zero_gradients_none():
    zero, still = parameters((3,), (3,))
    zero.data.zero_()
    before = still.detach().clone()
    zero.grad, still.grad = torch.ones_like(zero), torch.zeros_like(still)
    LARS([zero, still], lr=0.25).step()
    assert numbers(zero) == [-0.25] * 3
    assert torch.equal(still, before)


def test_without_adaptation_at_a_constant_rate_it_is_sgd():
    mine, theirs = parameters((3, 4), (5,)), parameters((3, 4), (5,))
    ours = LARS(mine, lr=0.1, momentum=0.8, weight_decay=0.02, adapt=False)
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=0.8, weight_decay=0.02)
    for step in range(5):
        for optimiser, ps in ((ours, mine), (sgd, theirs)):
            set_gradients(ps, step)
            optimiser.step()
    for a, b in zip(mine, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("adapt", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_gradients_are_not_touched(adapt, decay):
    ps = parameters((3, 4), (5,))
    optimiser = LARS(ps, lr=0.5, weight_decay=decay, adapt=adapt)
    for step in range(2):
        set_gradients(ps, step)
        before = [p.grad.clone() for p in ps]
        optimiser.step()
        assert all(torch.equal(p.grad, b) for p, b in zip(ps, before, strict=True))


def test_a_resumed_run_is_the_uninterrupted_one():
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))

    def steps(net, optimiser, seeds):
        for seed in seeds:
            set_gradients(net.parameters(), seed)
            optimiser.step()

    whole = net()
    optimiser = LARS(without_norms_and_biases(whole), lr=0.5, weight_decay=1e-3)
    steps(whole, optimiser, range(3))
    saved = copy.deepcopy((whole.state_dict(), optimiser.state_dict()))
    steps(whole, optimiser, range(3, 6))

    resumed = net()
    resumed.load_state_dict(saved[0])
    optimiser = LARS(without_norms_and_biases(resumed), lr=0.1)
    optimiser.load_state_dict(saved[1])
    steps(resumed, optimiser, range(3, 6))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_schedule_drives_it_and_parameters_without_gradient_stay():
    idle, moving = parameters((3,), (3,))
    before = idle.detach().clone()
    optimiser = LARS([idle, moving], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4)
    for _ in range(4):
        moving.grad = torch.ones_like(moving)
        loss = optimiser.step(lambda: torch.tensor(3.0))
        schedule.step()
    assert loss == 3.0
    assert torch.equal(idle, before)
    assert idle not in optimiser.state
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_groups_hold_each_trainable_parameter_once_and_leave_norms_and_biases_out():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    net[3].weight.requires_grad_(False)
    weights, others = without_norms_and_biases(net)
    assert [p.shape for p in weights["params"]] == [(4, 3, 3, 3)]
    assert {id(p) for p in others["params"]} == {id(p) for p in (net[0].bias, *net[1].parameters(), net[3].bias)}
    optimiser = LARS([weights, others], lr=0.1, weight_decay=1e-4)
    assert [group["adapt"] for group in optimiser.param_groups] == [True, False]
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1e-4, 0.0]
    assert len(without_norms_and_biases(nn.BatchNorm1d(3))) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("lr", value) for value in (-0.1, math.nan, math.inf, "0.1", True)],
        *[("momentum", value) for value in (-0.1, 1.0, None)],
        *[("weight_decay", value) for value in (-1e-6, math.inf)],
        *[("eeta", value) for value in (0.0, -1.0)],
        ("adapt", 1),
    ],
)
def test_bad_options_are_named(name, value):
    good = {"lr": 0.1}
    with pytest.raises(ValueError, match=rf"^{name} is {value!r}: expected"):
        LARS(parameters((2,)), **{**good, name: value})
    with pytest.raises(ValueError, match=rf"^{name} is {value!r}: expected"):
        LARS([{"params": parameters((2,)), name: value}], **good)


def test_nothing_trainable_is_named():
    with pytest.raises(ValueError, match="module is a Flatten without trainable parameters"):
        without_norms_and_biases(nn.Flatten())

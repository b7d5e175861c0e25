"""The simulation against a loop written from Appendix D, and its invariants."""

import pytest
import torch

from clop_nb import dynamics, prototypes, theory


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def loop_step(x, lr, protos=None, weight=0.0, tangent=False):
    rows = []
    for i in range(len(x)):
        g = sum(x[j] for j in range(len(x)) if j != i) / (len(x) - 1)
        if protos is not None:
            g = g - weight * protos[i]
        if tangent:
            g = g - (g @ x[i]) * x[i]
        y = x[i] - lr * g
        rows.append(y / y.norm())
    return torch.stack(rows)


CASES = [(False, 0.0), (True, 0.0), (False, 0.4), (True, 0.4)]


@pytest.mark.parametrize(("tangent", "weight"), CASES)
def test_step_and_settle_follow_the_formula(tangent, weight):
    k, m = 5, 7
    protos = prototypes.orthonormal(k, m, gen(1)).double() if weight else None
    lrs = torch.tensor([0.3, 1.9, 2.6], dtype=torch.float64)
    x = dynamics.random_embeddings(k, m, 2, 3, generator=gen(), dtype=torch.float64)
    fast = dynamics.settle(x, lrs, 7, protos, weight, tangent)
    for a in range(2):
        for b in range(3):
            y = x[a, b]
            for _ in range(7):
                y = loop_step(y, lrs[b], protos, weight, tangent)
            assert torch.allclose(fast[a, b], y, atol=1e-12)
    one = dynamics.step(x, lrs, protos, weight, tangent)
    assert torch.allclose(one[1, 2], loop_step(x[1, 2], lrs[2], protos, weight, tangent), atol=1e-14)


def test_fast_path_keeps_norms_in_float32_over_many_steps_and_hard_transients():
    x = dynamics.random_embeddings(12, 30, 64, generator=gen())
    nearly_collapsed = torch.nn.functional.normalize(x * 1e-3 + torch.eye(30)[0], dim=-1)
    lrs = torch.linspace(0.2, 4, 64)
    for start in (x, nearly_collapsed):
        fast = dynamics.settle(start, lrs, 25)
        y = start.double()
        for _ in range(25):
            y = dynamics.step(y, lrs.double())
        assert (fast.norm(dim=-1) - 1).abs().max() < 1e-5
        assert (fast.mean(-2).norm(dim=-1) - y.mean(-2).norm(dim=-1)).abs().max() < 2e-2


def test_long_runs_in_their_own_span_follow_the_step():
    x = dynamics.random_embeddings(4, 9, 3, generator=gen(), dtype=torch.float64)
    x[1, 2] = x[1, 0]  # a start whose rows are dependent
    y = x
    for _ in range(60):
        y = dynamics.step(y, 1.1)
    assert torch.allclose(dynamics.settle(x, 1.1, 60), y, atol=1e-9)


def test_result_does_not_depend_on_how_configurations_are_batched():
    x = dynamics.random_embeddings(6, 9, 50, generator=gen(), dtype=torch.float64)
    together = dynamics.settle(x, 2.2, 40)
    alone = torch.stack([dynamics.settle(one, 2.2, 40) for one in x])
    assert torch.allclose(together, alone, atol=1e-10)


def test_step_is_equivariant_under_rotation_and_relabelling():
    x = dynamics.random_embeddings(6, 5, generator=gen(), dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=gen(3))).Q
    order = torch.randperm(6, generator=gen(4))
    assert torch.allclose(dynamics.step(x @ rotation, 1.7), dynamics.step(x, 1.7) @ rotation)
    assert torch.allclose(dynamics.step(x[order], 1.7), dynamics.step(x, 1.7)[order])


def test_a_row_that_would_vanish_keeps_its_value():
    x = torch.zeros(4, 3, dtype=torch.float64)
    x[:, 0] = 1
    assert torch.equal(dynamics.step(x, 1.0), x)
    assert torch.equal(dynamics.settle(x, 1.0, 5), x)


def test_the_gradient_is_that_of_the_class_loss():
    x = dynamics.random_embeddings(5, 4, generator=gen(), dtype=torch.float64).requires_grad_()
    dynamics.class_loss(x).backward()
    moved = x.detach() - 0.7 * x.grad
    assert torch.allclose(dynamics.step(x.detach(), 0.7), moved / moved.norm(dim=-1, keepdim=True))
    y = x.detach()
    explicit = sum(float(y[i] @ y[j]) for i in range(5) for j in range(5) if i != j) / 8
    assert dynamics.class_loss(y).item() == pytest.approx(explicit)


@pytest.mark.parametrize("k", [5, 10, 30])
def test_collapse_attracts_above_the_critical_rate_and_only_there(k):
    x = dynamics.random_embeddings(k, 100, 5, generator=gen(k))
    star = theory.critical_lr(k)
    steps = 12000 if k == 5 else 5000
    assert not dynamics.collapsed(dynamics.settle(x, star - 0.02, steps)).any()
    assert dynamics.collapsed(dynamics.settle(x, star + 0.02, steps)).all()


def test_the_pull_prevents_complete_collapse():
    k, m = 10, 20
    protos = prototypes.orthonormal(k, m, gen())
    x = dynamics.random_embeddings(k, m, 5, generator=gen(2))
    lr = theory.critical_lr(k) + 0.3
    assert dynamics.collapsed(dynamics.settle(x, lr, 4000)).all()
    assert not dynamics.collapsed(dynamics.settle(x, lr, 4000, protos, 0.5)).any()


def test_simulate_records_the_first_every_and_last_step():
    x = dynamics.random_embeddings(4, 6, 3, generator=gen(), dtype=torch.float64)
    path = dynamics.simulate(x, 1.2, 10, every=4)
    assert path.steps.tolist() == [0, 4, 8, 10]
    assert path.x.shape == (3, 4, 4, 6)
    assert path.singular_values.shape == (3, 4, 4)
    assert torch.equal(path.x[:, 0], x)
    assert torch.allclose(path.x[:, 3], dynamics.settle(x, 1.2, 10), atol=1e-12)
    assert path.mean_norm[:, 2].tolist() == pytest.approx(path.x[:, 2].mean(-2).norm(dim=-1).tolist())


X = dynamics.random_embeddings(4, 6, 3, generator=gen())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dynamics.step(X.half(), 1.0), "float32 or float64"),
        (lambda: dynamics.step(X[0, 0], 1.0), r"\(\.\.\., k, m\)"),
        (lambda: dynamics.step(X, torch.ones(2)), "lr must broadcast"),
        (lambda: dynamics.step(X, 1.0, clop_weight=0.5), "needs prototypes"),
        (lambda: dynamics.step(X, 1.0, torch.zeros(5, 6), 0.5), "prototypes must be"),
        (lambda: dynamics.settle(X, 1.0, -1), "steps must be"),
        (lambda: dynamics.simulate(X, 1.0, 5, every=0), "every must be"),
        (lambda: dynamics.random_embeddings(1, 5), "k must be"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()

"""The closed forms against the printed values, independent algebra, and the full Jacobian of the step."""

import math

import pytest
import torch
from torch.func import jacfwd

from clop_nb import dynamics, prototypes, spectra, theory


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def zero_mean_set(k, m, seed=0):
    """A generic zero-mean set: what descent from a random start settles on."""
    x = dynamics.random_embeddings(k, m, generator=gen(seed), dtype=torch.float64)
    return dynamics.settle(x, 1.0, 2000)


def spectral_radius_off_rotations(state, lr, protos=None, weight=0.0, tangent=False):
    """Largest |multiplier| of one step among those that are not the neutral ones at exactly 1."""
    k, m = state.shape
    f = lambda flat: dynamics.step(flat.view(k, m), lr, protos, weight, tangent).reshape(-1)  # noqa: E731
    eigenvalues = torch.linalg.eigvals(jacfwd(f)(state.reshape(-1))).abs()
    return eigenvalues[(eigenvalues - 1).abs() > 1e-6].max().item()


def test_printed_bound_is_the_papers_number():
    assert round(theory.printed_lr_bound(30), 2) == 2.03
    assert theory.printed_lr_bound(30) == pytest.approx(2.03325, abs=1e-5)


def test_exact_threshold_values():
    assert theory.critical_lr(30) == pytest.approx(58 / 28)
    assert theory.critical_lr(3) == 4
    assert theory.critical_lr(4) == 3
    assert theory.critical_lr(2) == math.inf
    assert theory.growth_ratio(30, theory.critical_lr(30)) == pytest.approx(1)


@pytest.mark.parametrize("k", [4, 6, 9])
@pytest.mark.parametrize("side", [-0.01, 0.01])
def test_spread_state_changes_stability_at_the_exact_threshold(k, side):
    state = zero_mean_set(k, k + 1)
    radius = spectral_radius_off_rotations(state, theory.critical_lr(k) + side)
    assert (radius > 1) == (side > 0)


@pytest.mark.parametrize("k", [4, 6])
@pytest.mark.parametrize("side", [-0.01, 0.01])
def test_tangent_step_changes_stability_at_its_own_threshold(k, side):
    state = zero_mean_set(k, k + 1)
    radius = spectral_radius_off_rotations(state, theory.tangent_critical_lr(k) + side, tangent=True)
    assert (radius > 1) == (side > 0)


@pytest.mark.parametrize("k", [4, 7])
@pytest.mark.parametrize("side", [-0.02, 0.02])
def test_simplex_in_k_minus_1_dimensions_has_its_own_threshold(k, side):
    state = torch.nn.functional.normalize(prototypes.simplex_etf(k, k - 1, gen()).double(), dim=-1)
    radius = spectral_radius_off_rotations(state, theory.critical_lr(k, dim=k - 1) + side)
    assert (radius > 1) == (side > 0)


def aligned(k, m, weight, protos):
    _, al, be = theory.minimiser(k, weight)
    e = protos.sum(0) / math.sqrt(k)
    y = math.sqrt(k / (k - 1)) * (protos - e / math.sqrt(k))
    return al * e + be * y


@pytest.mark.parametrize(("k", "extra"), [(4, 1), (6, 1), (5, 0), (7, 0)])
@pytest.mark.parametrize("weight", [0.05, 0.3])
@pytest.mark.parametrize("side", [-0.005, 0.005])
def test_threshold_with_the_pull(k, extra, weight, side):
    protos = torch.eye(k, k + extra, dtype=torch.float64)
    state = aligned(k, k + extra, weight, protos)
    lr = theory.critical_lr(k, weight, dim=k + extra) * (1 + side)
    assert (dynamics.step(state, lr, protos, weight) - state).abs().max() < 1e-12
    assert (spectral_radius_off_rotations(state, lr, protos, weight) > 1) == (side > 0)


@pytest.mark.parametrize("k", [3, 10, 30, 100])
@pytest.mark.parametrize("weight", [1e-6, 0.2, 0.9, 1.5, 50.0])
def test_minimiser_is_a_unit_critical_point(k, weight):
    nu, al, be = theory.minimiser(k, weight)
    assert al**2 + be**2 == pytest.approx(1, abs=1e-12)
    protos = torch.eye(k, dtype=torch.float64)
    x = aligned(k, k, weight, protos)
    gradient = (x.sum(0) - x) / (k - 1) - weight * protos
    assert torch.allclose(gradient, -nu * x, atol=1e-9 * max(1, weight))


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_descent_finds_the_minimiser_from_random_starts(weight):
    k, m = 8, 12
    protos = torch.eye(k, m, dtype=torch.float64)
    x = dynamics.random_embeddings(k, m, 20, generator=gen(1), dtype=torch.float64)
    end = dynamics.settle(x, 0.5, 3000, protos, weight)
    assert (end - aligned(k, m, weight, protos)).abs().max() < 1e-8


def test_no_threshold_beyond_the_critical_weight():
    for k in (3, 10, 30, 100):
        weight = theory.critical_clop_weight(k)
        assert theory.critical_lr(k, weight * 0.999) < math.inf
        assert theory.critical_lr(k, weight * 1.001) == math.inf
    assert [round(theory.critical_clop_weight(k), 3) for k in (3, 5, 10, 30, 100)] == [
        0.603,
        0.824,
        0.927,
        0.978,
        0.994,
    ]


def test_threshold_with_the_pull_joins_the_one_without():
    assert theory.critical_lr(30, 1e-9) == pytest.approx(theory.critical_lr(30), abs=1e-7)
    assert theory.critical_lr(10**5, 0.3) == pytest.approx(2 / 0.7, rel=1e-3)


@pytest.mark.parametrize("factor", [1.05, 1.5, 4.0])
def test_two_cycle_is_a_two_cycle(factor):
    k, weight = 6, 0.2
    lr = factor * theory.critical_lr(k, weight)
    s, al, be = theory.two_cycle(k, lr, weight)
    protos = torch.eye(k, k + 1, dtype=torch.float64)
    e = protos.sum(0) / math.sqrt(k)
    y = math.sqrt(k / (k - 1)) * (protos - e / math.sqrt(k))
    v = torch.zeros(k + 1, dtype=torch.float64)
    v[k] = 1
    one, other = al * e + be * y + s * v, al * e + be * y - s * v
    assert s > 0
    assert torch.allclose(dynamics.step(one, lr, protos, weight), other, atol=1e-12)
    assert theory.cycle_effective_rank(k, lr, weight) == pytest.approx(spectra.effective_rank(one).item())
    expected = torch.tensor(theory.cycle_singular_values(k, lr, weight), dtype=torch.float64)
    assert torch.allclose(spectra.singular_values(one), expected)


def test_two_cycle_below_the_threshold_is_the_minimiser():
    assert theory.two_cycle(10, 1.0, 0.5) == (0.0, *theory.minimiser(10, 0.5)[1:])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.printed_lr_bound(2), "at least 3, got 2"),
        (lambda: theory.critical_lr(1), "k, the number of classes"),
        (lambda: theory.critical_lr(3.0), "integer"),
        (lambda: theory.critical_lr(5, -0.1), "clop_weight"),
        (lambda: theory.critical_lr(5, float("nan")), "clop_weight"),
        (lambda: theory.critical_lr(5, 0.1, dim=4), "dim must be at least k = 5"),
        (lambda: theory.critical_lr(5, dim=0), "dim"),
        (lambda: theory.minimiser(5, 0.0), "every zero-mean set"),
        (lambda: theory.two_cycle(5, 1.0, 0.0), "every zero-mean set"),
        (lambda: theory.growth_ratio(5, 0.0), "lr must be"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()

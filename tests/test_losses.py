"""The losses against loops written from the formulas, against other libraries, and against the traps known to us."""

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from clop_nb import losses, prototypes


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def views(n=7, d=5, seed=0, dtype=torch.float64, scale=1.0):
    z = scale * torch.randn(2, n, d, generator=gen(seed), dtype=dtype)
    return z[0].requires_grad_(), z[1].requires_grad_()


def cosines(z0, z1):
    z = normalize(torch.cat([z0, z1]), dim=-1)
    return [[float(a @ b) for b in z.detach()] for a in z.detach()]


def loop_info_nce(z0, z1, t, decoupled=False):
    s, n = cosines(z0, z1), len(z0)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = [a for a in range(2 * n) if a != i and not (decoupled and a == j)]
        total -= s[i][j] / t - math.log(sum(math.exp(s[i][a] / t) for a in others))
    return total / (2 * n)


def loop_sup_con(z0, z1, labels, t):
    s, n, y = cosines(z0, z1), len(z0), labels.tolist() * 2
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        positives = [a for a in range(2 * n) if a != i and (a == j or (y[i] >= 0 and y[a] == y[i]))]
        log_sum = math.log(sum(math.exp(s[i][a] / t) for a in range(2 * n) if a != i))
        total -= sum(s[i][a] / t - log_sum for a in positives) / len(positives)
    return total / (2 * n)


LABELS = torch.tensor([0, 1, -1, 0, 2, 1, -1])


@pytest.mark.parametrize("t", [0.05, 0.5, 2.0])
def test_contrastive_losses_are_their_formulas(t):
    z0, z1 = views()
    assert losses.info_nce(z0, z1, t).item() == pytest.approx(loop_info_nce(z0, z1, t))
    assert losses.dcl(z0, z1, t).item() == pytest.approx(loop_info_nce(z0, z1, t, decoupled=True))
    assert losses.sup_con(z0, z1, LABELS, t).item() == pytest.approx(loop_sup_con(z0, z1, LABELS, t))


def same_value_and_gradient(ours, theirs, z0, z1, tolerance=1e-5):
    mine, other = ours(z0, z1), theirs(z0, z1)
    assert mine.item() == pytest.approx(other.item(), rel=tolerance)
    for a, b in zip(torch.autograd.grad(mine, (z0, z1)), torch.autograd.grad(other, (z0, z1)), strict=True):
        assert (a - b).norm() <= tolerance * b.norm()


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_agree_with_lightly(scale):
    lightly = pytest.importorskip("lightly.loss")
    z0, z1 = views(16, 8, scale=scale)
    same_value_and_gradient(partial(losses.info_nce, temperature=0.3), lightly.NTXentLoss(0.3), z0, z1)
    same_value_and_gradient(partial(losses.dcl, temperature=0.3), lightly.DCLLoss(0.3), z0, z1)
    same_value_and_gradient(losses.vicreg, lightly.VICRegLoss(), z0, z1)
    same_value_and_gradient(losses.barlow_twins, lightly.BarlowTwinsLoss(lambda_param=5e-3), z0, z1)


def test_agrees_with_pytorch_metric_learning():
    pml = pytest.importorskip("pytorch_metric_learning.losses")
    z0, z1 = views(16, 8)
    labels = torch.arange(16) % 5
    theirs = pml.SupConLoss(temperature=0.3)
    same_value_and_gradient(
        lambda a, b: losses.sup_con(a, b, labels, 0.3),
        lambda a, b: theirs(torch.cat([a, b]), torch.cat([labels, labels])),
        z0,
        z1,
    )


def test_chunked_info_nce_is_the_plain_one_above_its_size():
    z0, z1 = views(700, 6)
    plain = lambda a, b: torch.nn.functional.cross_entropy(  # noqa: E731
        (normalize(torch.cat([a, b]), dim=-1) @ normalize(torch.cat([a, b]), dim=-1).T / 0.2).fill_diagonal_(
            -torch.inf
        ),
        torch.arange(1400).roll(700),
    )
    same_value_and_gradient(partial(losses.info_nce, temperature=0.2), plain, z0, z1, 1e-10)


def test_gradients_pass_gradcheck():
    z0, z1 = views(4, 3)
    labels = torch.tensor([0, 1, -1, 0])
    c = prototypes.orthonormal(3, 3, gen()).double()
    for loss in (losses.info_nce, losses.dcl, losses.vicreg, losses.barlow_twins):
        assert torch.autograd.gradcheck(loss, (z0, z1))
    assert torch.autograd.gradcheck(lambda a, b: losses.sup_con(a, b, labels), (z0, z1))
    assert torch.autograd.gradcheck(lambda a: losses.clop(a, labels, c), (z0,))


def test_invariances():
    z0, z1 = views()
    order = torch.randperm(7, generator=gen(1))
    scales = torch.rand(7, 1, generator=gen(2), dtype=torch.float64) + 0.1
    for loss in (losses.info_nce, losses.dcl, partial(losses.sup_con, labels=LABELS)):
        value = loss(z0, z1)
        assert torch.allclose(loss(z1, z0), value)
        assert torch.allclose(loss(z0 * scales, z1), value)
    for loss in (losses.info_nce, losses.dcl, losses.vicreg, losses.barlow_twins):
        assert torch.allclose(loss(z0[order], z1[order]), loss(z0, z1))
    assert torch.allclose(losses.barlow_twins(3 * z0 + 2, z1), losses.barlow_twins(z0, z1), rtol=1e-4)


def test_clop_is_a_mean_over_the_labelled_rows():
    z, _ = views()
    c = prototypes.orthonormal(3, 5, gen()).double()
    by_hand = [1 - float(normalize(z[i].detach(), dim=0) @ c[y]) for i, y in enumerate(LABELS.tolist()) if y >= 0]
    assert losses.clop(z, LABELS, c).item() == pytest.approx(sum(by_hand) / len(by_hand))


def test_a_batch_without_labels_gives_zero_with_a_graph():
    z, _ = views()
    value = losses.clop(z, torch.full((7,), -1), prototypes.orthonormal(3, 5, gen()).double())
    value.backward()
    assert value.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("n", [2, 5, 600])
def test_at_exact_collapse_info_nce_is_log_2n_minus_1_and_only_clop_has_a_gradient(n):
    z = torch.ones(n, 6, dtype=torch.float64).requires_grad_()
    labels = torch.arange(n) % 3
    for loss in (losses.info_nce, losses.dcl, partial(losses.sup_con, labels=labels)):
        (gradient,) = torch.autograd.grad(loss(z, z.clone()), z)
        assert gradient.abs().max() < 1e-12
    for loss in (losses.vicreg, losses.barlow_twins):
        (gradient,) = torch.autograd.grad(loss(z, z.clone()), z)
        assert gradient.abs().max() < 1e-9
    assert losses.info_nce(z, z).item() == pytest.approx(math.log(2 * n - 1))
    (gradient,) = torch.autograd.grad(losses.clop(z, labels, prototypes.orthonormal(3, 6, gen()).double()), z)
    assert gradient.norm() > 1e-3


def test_one_class_only_and_a_tiny_temperature_stay_finite():
    z0, z1 = views(6, 5, dtype=torch.float32)
    one_class = torch.zeros(6, dtype=torch.int64)
    assert losses.sup_con(z0, z1, one_class).item() == pytest.approx(loop_sup_con(z0, z1, one_class, 0.5), rel=1e-5)
    for loss in (losses.info_nce, losses.dcl, partial(losses.sup_con, labels=one_class)):
        value = loss(z0, z1, temperature=0.005)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(z0.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_float32(dtype):
    z0, z1 = (z.detach().to(dtype) for z in views(16, 8))
    for loss in (losses.info_nce, losses.dcl, losses.vicreg, losses.barlow_twins):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(z0, z1)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(loss(z0.double(), z1.double()).item(), rel=1e-4)


def test_clop_loss_adds_the_pull_on_both_views_to_any_base():
    lightly, pml = pytest.importorskip("lightly.loss"), pytest.importorskip("pytorch_metric_learning.losses")
    z0, z1 = views()
    c = prototypes.orthonormal(3, 5, gen()).double()
    pull = losses.clop(torch.cat([z0, z1]), LABELS.repeat(2), c)
    bases = {
        losses.info_nce: losses.info_nce(z0, z1),
        partial(losses.sup_con, temperature=0.1): losses.sup_con(z0, z1, LABELS, 0.1),
        lightly.NTXentLoss(0.5): losses.info_nce(z0, z1),
        pml.SelfSupervisedLoss(pml.NTXentLoss(temperature=0.5)): losses.info_nce(z0, z1),
    }
    for base, value in bases.items():
        assert torch.allclose(losses.CLOPLoss(base, c, weight=0.7)(z0, z1, LABELS), value + 0.7 * pull, rtol=1e-5)


def test_prototypes_are_saved_and_moved_but_not_trained():
    module = losses.CLOPLoss(losses.info_nce, prototypes.orthonormal(3, 5, gen()))
    assert list(module.parameters()) == []
    assert list(module.state_dict()) == ["prototypes"]
    assert module.to(torch.float64).prototypes.dtype == torch.float64
    assert module.to("meta").prototypes.device.type == "meta"


def test_compiles_as_one_graph():
    module = losses.CLOPLoss(losses.info_nce, prototypes.orthonormal(3, 5, gen()).double())
    z0, z1 = views()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(z0, z1, LABELS), module(z0, z1, LABELS))


Z0, Z1 = (z.detach() for z in views())
C = prototypes.orthonormal(3, 5, gen()).double()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.info_nce(Z0, Z1[:3]), "shape"),
        (lambda: losses.info_nce(Z0[:1], Z1[:1]), "2"),
        (lambda: losses.dcl(Z0, Z1, temperature=0.0), "temperature"),
        (lambda: losses.sup_con(Z0, Z1, LABELS[:3]), "labels"),
        (lambda: losses.sup_con(Z0, Z1, LABELS.float()), "labels"),
        (lambda: losses.clop(Z0, torch.full((7,), 3), C), "labels"),
        (lambda: losses.clop(Z0, torch.full((7,), -2), C), "labels"),
        (lambda: losses.clop(Z0, LABELS, C[:, :4]), "prototypes"),
        (lambda: losses.CLOPLoss(losses.info_nce, C, weight=-1.0), "weight"),
        (lambda: losses.vicreg(Z0, Z1[:, :3]), "shape"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()

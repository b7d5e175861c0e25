"""Classifiers against scikit-learn's, and the geometry of embeddings whose geometry is known."""

import math

import numpy as np
import pytest
import torch

from clop_nb import evaluate, measure
from clop_nb.prototypes import orthonormal, simplex_etf


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(n=300, dim=8, k=7, spread=1.0, seed=0):
    """Overlapping classes: training and test features and labels."""
    g = gen(seed)
    centres = torch.randn(k, dim, generator=g)
    parts = []
    for _ in range(2):
        labels = torch.arange(n) % k
        parts += [centres[labels] + spread * torch.randn(n, dim, generator=g), labels]
    return (*parts, k)


PROBES = [
    evaluate.linear_probe,
    evaluate.knn_accuracy,
    lambda *split: evaluate.authors_probe(*split, generator=gen(), epochs=300),
]


@pytest.mark.parametrize("fraction", [0.2, 1.0])
def test_linear_probe_is_scikit_learns_logistic_regression(fraction):
    from sklearn.linear_model import LogisticRegression

    x, y, x_test, y_test, k = blobs()
    known = y.where(torch.rand(len(y), generator=gen(1)) < fraction, torch.tensor(-1))
    kept = x[known >= 0] / x[known >= 0].square().mean().sqrt()
    theirs = LogisticRegression(C=1.0, max_iter=2000, tol=1e-8).fit(kept.double().numpy(), y[known >= 0].numpy())
    scores = torch.from_numpy(
        theirs.decision_function((x_test / x[known >= 0].square().mean().sqrt()).double().numpy())
    )
    ours = evaluate.linear_probe(x, known, x_test, y_test, k)
    assert ours.top1 == pytest.approx((scores.argmax(1) == y_test).double().mean().item(), abs=1.5 / len(y_test))
    best = scores.topk(5, 1).indices
    assert ours.top5 == pytest.approx((best == y_test[:, None]).any(1).double().mean().item(), abs=1.5 / len(y_test))
    assert 0.4 < ours.top1 < 0.95


def test_knn_is_scikit_learns_with_the_same_weights():
    from sklearn.neighbors import KNeighborsClassifier

    x, y, x_test, y_test, k = blobs()
    theirs = KNeighborsClassifier(9, metric="cosine", weights=lambda distance: np.exp(-distance / 0.1))
    theirs.fit(x.numpy(), y.numpy())
    expected = (torch.from_numpy(theirs.predict(x_test.numpy())) == y_test).double().mean().item()
    assert evaluate.knn_accuracy(x, y, x_test, y_test, k, k=9).top1 == pytest.approx(expected, abs=1.5 / len(y_test))


@pytest.mark.parametrize("probe", PROBES)
def test_classifiers_see_the_labelled_samples_only_and_no_scale(probe):
    x, y, x_test, y_test, k = blobs(n=2048)
    hidden = torch.arange(len(y)) % 3 == 0
    known = y.masked_fill(hidden, -1)
    spoilt = x.clone()
    spoilt[hidden] = 1e6
    base = probe(x, known, x_test, y_test, k)
    assert probe(spoilt, known, x_test, y_test, k) == base
    assert base.top1 > 2 / k
    assert probe(1024 * x, known, 1024 * x_test, y_test, k) == base
    assert base.top1 <= base.top5 < 1


def test_linear_probe_does_not_undo_a_collapse():
    x, y, x_test, y_test, k = blobs(spread=0.1)
    assert evaluate.linear_probe(x, y, x_test, y_test, k).top1 == 1
    assert evaluate.linear_probe(1 + 1e-4 * x, y, 1 + 1e-4 * x_test, y_test, k).top1 < 0.6


def test_the_authors_probe_separates_what_is_separable_and_repeats():
    split = blobs(n=2048, spread=0.1)
    first, second = (evaluate.authors_probe(*split, generator=gen(), epochs=400) for _ in range(2))
    assert first == second
    assert first.top1 > 0.9


def test_top_five_of_few_classes_and_of_few_votes():
    x, y, x_test, y_test, k = blobs(k=3)
    assert evaluate.linear_probe(x, y, x_test, y_test, k).top5 == 1
    one_neighbour = evaluate.knn_accuracy(*blobs(), k=1)
    assert one_neighbour.top5 == one_neighbour.top1 < 1
    few = y.masked_fill(torch.arange(len(y)) > 5, -1)
    assert evaluate.knn_accuracy(x, few, x_test, y_test, k, k=20, temperature=1e-4).top1 > 1 / 3


@pytest.mark.parametrize("probe", PROBES)
def test_bad_input_is_named(probe):
    x, y, x_test, y_test, k = blobs()
    for change, message in [
        ((x[:9], y, x_test, y_test, k), "train_features must be"),
        ((x, y, x_test[:, :3], y_test, k), "test_features must have as many columns"),
        ((x, y, x_test, y_test, 3), "labels must be in"),
        ((x, -torch.ones_like(y), x_test, y_test, k), "at least one sample"),
        ((x.log(), y, x_test, y_test, k), "must be finite"),
        ((x, y, x_test[:0], y_test[:0], k), "must not be empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            probe(*change)


def test_bad_options_are_named():
    split = blobs()
    with pytest.raises(ValueError, match="penalty must be"):
        evaluate.linear_probe(*split, penalty=0)
    with pytest.raises(ValueError, match="k must be"):
        evaluate.knn_accuracy(*split, k=0)
    with pytest.raises(ValueError, match="temperature must be"):
        evaluate.knn_accuracy(*split, temperature=0)


def off_diagonal(matrix):
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


def test_geometry_of_frames_and_of_collapse():
    labels = torch.arange(60) % 6
    frame, simplex = orthonormal(6, 10, gen()), simplex_etf(6, 10, gen())
    assert off_diagonal(measure.class_mean_cosines(5 * frame[labels], labels, 6)).abs().max() < 1e-6
    assert off_diagonal(measure.class_mean_cosines(simplex[labels], labels, 6)).numpy() == pytest.approx(
        -1 / 5, abs=1e-6
    )
    assert measure.prototype_alignment(3 * frame[labels], labels, 2 * frame) == pytest.approx(1)
    assert measure.unit_rank(frame[labels]) == pytest.approx(6, rel=1e-5)
    assert measure.unit_rank(simplex[labels]) == pytest.approx(5, rel=1e-3)
    assert measure.unit_rank(torch.rand(60, 1, generator=gen()) * frame[:1]) == pytest.approx(1, abs=1e-3)
    assert measure.spectrum(frame[labels])[:6].numpy() == pytest.approx(1 / 6, rel=1e-5)
    z = torch.randn(60, 10, generator=gen())
    entropy = -(measure.spectrum(z) * measure.spectrum(z).log()).sum()
    assert measure.unit_rank(z) == pytest.approx(math.exp(entropy), rel=1e-5)


def test_measure_collects_each_probe_fraction_and_refuses_what_is_not_finite():
    images = (torch.rand(60, 1, 4, 4, generator=gen()) * 255).byte()
    labels = torch.arange(60) % 3
    known = {0.5: labels.masked_fill(torch.arange(60) < 30, -1), 1.0: labels}
    model = lambda x: (x.flatten(1), x.flatten(1)[:, :5] - 0.5)  # noqa: E731
    metrics, spectra = measure.measure(model, images, known, images, labels, 3, prototypes=torch.eye(3, 5))
    assert [probe["probe_fraction"] for probe in metrics["probes"]] == [0.5, 1.0]
    assert metrics["probes"][1]["top1"] > metrics["probes"][0]["top1"]  # the test samples themselves are labelled here
    assert set(metrics) == {
        "probes", "embedding_rank", "feature_rank", "mean_norm", "class_cosine_mean", "class_cosine_min",
        "class_cosine_max", "prototype_alignment",
    }  # fmt: skip
    assert len(spectra["embedding_spectrum"]) == 5
    assert sum(spectra["feature_spectrum"]) == pytest.approx(1, abs=1e-4)
    features, embeddings = measure.represent(model, images, batch_size=7)
    assert torch.equal(features, images.flatten(1).float() / 255)
    assert embeddings.shape == (60, 5)
    assert measure.measure(lambda x: (x.flatten(1).log(), x.flatten(1)), images * 0, known, images, labels, 3) is None


def test_a_settled_copy_has_the_mean_statistics_of_the_batches_and_the_model_its_own():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU()).train()
    model[1].running_mean.fill_(100.0)
    batches = list(torch.rand(4, 16, 1, 8, 8))
    copy = measure.settled(model, batches)
    before = [model[0](images) for images in batches]
    torch.testing.assert_close(copy[1].running_mean, torch.stack([z.mean((0, 2, 3)) for z in before]).mean(0))
    torch.testing.assert_close(copy[1].running_var, torch.stack([z.var((0, 2, 3)) for z in before]).mean(0))
    assert not copy.training
    assert model.training
    assert model[1].momentum == 0.1
    assert (model[1].running_mean == 100).all()
    assert torch.equal(copy[0].weight, model[0].weight)

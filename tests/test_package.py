"""Spectra, prototypes, presets, the paper's numbers, verdicts, and what importing the package costs."""

import subprocess
import sys

import pytest
import torch

from clop_nb import paper, presets, prototypes, spectra, verdicts


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def test_effective_rank_counts_equal_singular_values():
    for r in (1, 3, 7):
        assert spectra.effective_rank(torch.eye(7, 9)[:r]).item() == pytest.approx(r, rel=1e-6)
    assert spectra.effective_rank(torch.zeros(2, 3, 4)).tolist() == [0, 0]
    z = torch.randn(3, 5, 8, generator=gen())
    assert torch.allclose(spectra.effective_rank(z), spectra.effective_rank(10 * z))


def test_singular_values_square_to_the_gram_spectrum():
    z = torch.randn(2, 5, 8, generator=gen(), dtype=torch.float64)
    gram = torch.linalg.eigvalsh(z @ z.mT).flip(-1)
    assert torch.allclose(spectra.singular_values(z).square(), gram)
    assert spectra.singular_values(z.half()).dtype == torch.float32
    with pytest.raises(ValueError, match="floating-point"):
        spectra.singular_values(torch.ones(3, 3, dtype=torch.int64))


def test_orthonormal_prototypes():
    for k, d in ((3, 3), (10, 128)):
        c = prototypes.orthonormal(k, d, gen())
        assert c.shape == (k, d)
        assert torch.allclose(c @ c.T, torch.eye(k), atol=1e-6)
        assert torch.equal(c, prototypes.orthonormal(k, d, gen()))
        assert not torch.equal(c, prototypes.orthonormal(k, d, gen(1)))
    with pytest.raises(ValueError, match="at least 5 for 5 classes, got 4"):
        prototypes.orthonormal(5, 4)
    with pytest.raises(ValueError, match="num_classes must be a positive integer"):
        prototypes.orthonormal(0, 4)


def test_orthonormal_prototypes_have_no_preferred_direction():
    draws = torch.stack([prototypes.orthonormal(2, 3, gen(s)) for s in range(400)])
    assert draws.mean(0).abs().max() < 4 / (3 * 400) ** 0.5


def test_simplex_prototypes():
    for k, d in ((2, 1), (4, 3), (10, 64)):
        c = prototypes.simplex_etf(k, d, gen())
        expected = torch.full((k, k), -1 / (k - 1)).fill_diagonal_(1)
        assert torch.allclose(c @ c.T, expected, atol=1e-6)
    with pytest.raises(ValueError, match="at least 3 for 4 classes, got 2"):
        prototypes.simplex_etf(4, 2)


def test_whole_numbers_are_accepted_from_the_least_on_and_named_otherwise():
    values = {"smoke": 1, "laptop": 2, "paper": 3, **presets.whole(2)}
    assert presets.choose("seeds", 2, "laptop", **values) == 2
    for wrong in (1, 2.0, True, "2"):
        with pytest.raises(ValueError, match="seeds must be an integer of at least 2"):
            presets.choose("seeds", wrong, "laptop", **values)


def test_presets_choose():
    kwargs = dict(smoke=1, laptop=2, paper=3, check=lambda v: v > 0, accepted="a positive integer")
    assert presets.choose("seeds", None, "laptop", **kwargs) == 2
    assert presets.choose("seeds", 7, "laptop", **kwargs) == 7
    with pytest.raises(ValueError, match="parameter seeds must be a positive integer, got -1"):
        presets.choose("seeds", -1, "smoke", **kwargs)
    with pytest.raises(ValueError, match="parameter seeds must be a positive integer, got 'x'"):
        presets.choose("seeds", "x", "smoke", **kwargs)
    for given in (None, 5):
        with pytest.raises(ValueError, match="smoke, laptop, paper, got 'huge'"):
            presets.choose("seeds", given, "huge", **kwargs)


def test_the_papers_claims_are_all_there():
    ids = "F1 F2 L1 T1 F3a F3b F3c L2 A1 F4a F4b M1 M2 S1 S2 S3 S4 I1 I2 I3 I4 I5 R1"
    assert " ".join(paper.CLAIMS) == ids
    assert paper.CLAIMS["I5"].printed["tiny top5 lambda=1.5"] == 0.893
    assert len(paper.CLAIMS["I5"].printed) == 16


def test_a_verdict_carries_its_record_and_the_papers_value():
    bundle = verdicts.state("T1", "reproduced, corrected", "It is <exact>.", ours=2.0714, low=2.07, high=2.08, seeds=5)
    data = bundle._repr_mimebundle_()
    record = data[verdicts.MIME]
    assert record["id"] == "T1"
    assert record["ours"] == 2.0714
    assert record["seeds"] == 5
    assert "2.03 at k = 30" in data["text/html"]
    assert "&lt;exact&gt;" in data["text/html"]
    wide = verdicts.state("T1", "reproduced", "It is.", ours=0.5, low=-0.004189, high=1.004)
    assert "0.5 (-0.00 to 1.00)" in wide._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (dict(claim_id="X9"), "claim_id must be one of F1"),
        (dict(verdict="fine"), "verdict must be one of"),
        (dict(sentence=" "), "sentence"),
        (dict(low=1.0), "go together"),
        (dict(ours=float("nan")), "ours must be finite"),
    ],
)
def test_a_wrong_verdict_is_refused(kwargs, words):
    good = dict(claim_id="T1", verdict="reproduced", sentence="Yes.")
    merged = {**good, **kwargs}
    with pytest.raises(ValueError, match=words):
        verdicts.state(merged.pop("claim_id"), merged.pop("verdict"), merged.pop("sentence"), **merged)


def test_importing_the_package_needs_no_notebook_or_plotting_library():
    heavy = ("matplotlib", "plotly", "IPython", "torchvision", "pandas")
    code = f"import sys, clop_nb; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

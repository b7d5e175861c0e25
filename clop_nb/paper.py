"""Every number that the paper prints, by claim id, with where it stands (arXiv 2403.18699v2).

Values are as printed. Where the paper shows a curve or a picture only there is no number, and ``printed`` is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CLAIMS", "Claim"]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    where: str
    statement: str
    printed: Mapping[str, float] = field(default_factory=dict)
    """Printed numbers by a short name; percentages as percentages, fractions as fractions."""
    text: str = "no number printed"
    """The printed values as a reader would quote them."""


def _table_1() -> dict[str, float]:
    rows = {
        "cifar100 top1": (0.745, 0.740, 0.754, 0.760),
        "cifar100 top5": (0.935, 0.931, 0.938, 0.937),
        "tiny top1": (0.616, 0.695, 0.696, 0.696),
        "tiny top5": (0.868, 0.909, 0.900, 0.893),
    }
    weights = (0.1, 0.5, 1.0, 1.5)
    return {
        f"{row} lambda={w}": value for row, values in rows.items() for w, value in zip(weights, values, strict=True)
    }


# ImageNet-1K accuracy in percent; what the paper marks '-' is absent.
_TABLE_2 = {
    "CPC-v2": (71.5, 90.1),
    "MOCO-v2": (71.1, None),
    "SimCLR": (69.3, 89.0),
    "PCL": (67.6, None),
    "LOOC": (None, None),
    "DCL": (68.2, None),
    "RC": (61.6, None),
    "Debiased": (None, None),
    "GCL": (None, None),
    "HCL": (58.5, None),
    "InfoMin": (73.0, 91.1),
    "VICReg": (73.1, 91.1),
    "BT": (73.2, 91.0),
}

_ALL = (
    Claim("F1", "Fig. 1", "Global optima side by side: ETF, co-linear, and CLOP's orthonormal arrangement."),
    Claim("F2", "Fig. 2", "With a large step the repulsion overshoots and the mean of the embeddings grows."),
    Claim("L1", "Lemma 1, App. C", "Equal or co-linear embeddings are local minima of InfoNCE.", text="local minima"),
    Claim(
        "T1",
        "Theorem 1, App. D",
        "Learning rates up to 2 + O(1/k) keep the mean from growing.",
        {"bound at k=30": 2.03},
        "2.03 at k = 30",
    ),
    Claim(
        "F3a", "Fig. 3 left", "At rate 2.0 the singular spectrum stays spread (m = 100, k = 30).", {"lr": 2.0}, "lr 2.0"
    ),
    Claim("F3b", "Fig. 3 middle", "At rate 2.1 the embeddings collapse completely, and early.", {"lr": 2.1}, "lr 2.1"),
    Claim(
        "F3c",
        "Fig. 3 right",
        "The largest collapse-free rate over 5 trials follows the bound closely for every k.",
        text="curve only",
    ),
    Claim("L2", "Lemma 2, App. E", "The best k-th embedding is linearly dependent on the others.", text="no number"),
    Claim(
        "A1", "Sec. 3.2", "Simplex ETF and inverted groups reach the optimum -k; orthogonal vectors do not.", text="-k"
    ),
    Claim("F4a", "Fig. 4 left", "Gradient descent ends in a subspace of rank k - 1.", text="rank k - 1"),
    Claim("F4b", "Fig. 4 right", "The pairwise similarities end unequal: no ETF.", text="histogram only"),
    Claim("M1", "Sec. 4", "Prototypes: an SVD of k random vectors gives fixed orthonormal targets.", text="no number"),
    Claim("M2", "Sec. 4, Eq. (4)", "The CLOP loss, weight 1, prevents collapse.", {"lambda": 1.0}, "lambda = 1"),
    Claim(
        "S1",
        "Fig. 5, Table 3",
        "Synthetic data, InfoNCE without and with CLOP (kNN accuracy, %).",
        {"Fig. 5 baseline": 70.01, "Fig. 5 clop": 100.0, "Table 3 baseline": 68.91, "Table 3 clop": 99.89},
        "70.01 to 100 % (Fig. 5), 68.91 to 99.89 % (Table 3)",
    ),
    Claim("S2", "Table 3", "The same with DCL.", {"baseline": 88.56, "clop": 100.0}, "88.56 to 100 %"),
    Claim("S3", "Table 3", "The same with VICReg.", {"baseline": 98.64, "clop": 99.96}, "98.64 to 99.96 %"),
    Claim("S4", "Table 3", "The same with Barlow Twins.", {"baseline": 82.50, "clop": 100.0}, "82.50 to 100 %"),
    Claim(
        "I1",
        "Fig. 6",
        "CLOP is above its baseline at every batch size from 32 to 2048 (CIFAR-100, Tiny-ImageNet).",
        text="curves only",
    ),
    Claim("I2", "Sec. 5", "CLOP at batch size 32 about equals SupCon at 2048 on CIFAR-100.", text="no number"),
    Claim("I3", "Fig. 7", "CLOP is above its baseline at rates from 0.1 to 10, batch size 1024.", text="curves only"),
    Claim("I4", "Sec. 5", "At rate 10 the baselines collapse and CLOP degrades far less.", {"lr": 10.0}, "lr 10"),
    Claim(
        "I5",
        "Table 1",
        "Accuracy is stable for CLOP weights from 0.1 to 1.5 (SupCon).",
        _table_1(),
        "CIFAR-100 top-1 .745 .740 .754 .760; Tiny-ImageNet top-1 .616 .695 .696 .696",
    ),
    Claim(
        "R1",
        "Table 2",
        "Losses since 2020, accuracy on ImageNet-1K.",
        {
            f"{name} {top}": value
            for name, pair in _TABLE_2.items()
            for top, value in zip(("top1", "top5"), pair, strict=True)
            if value is not None
        },
        "13 rows",
    ),
)

CLAIMS: dict[str, Claim] = {claim.id: claim for claim in _ALL}
"""The claims in the order of the paper."""

"""What a notebook states about a claim of the paper.

A verdict is a value that the notebook displays; the book collects the scorecard from the executed notebooks' outputs.
"""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass
from typing import Any

from clop_nb.paper import CLAIMS

__all__ = ["MIME", "VERDICTS", "Verdict", "state"]

MIME = "application/vnd.clop-nb.verdict+json"
VERDICTS = (
    "illustrated",
    "reproduced",
    "reproduced, corrected",
    "not reproduced",
    "inconclusive",
    "not run at this scale",
    "not yet covered",
)


@dataclass(frozen=True)
class Verdict:
    """One statement about one claim; shown as a small table, and as JSON under :data:`MIME`."""

    id: str
    verdict: str
    sentence: str
    ours: float | str | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    anchor: str | None = None
    device: str = "cpu"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            MIME: asdict(self),
            "text/html": self._html(),
            "text/plain": f"{self.id}: {self.verdict}. {self.sentence}",
        }

    def _html(self) -> str:
        claim = CLAIMS[self.id]
        spread = "" if self.low is None or self.high is None else f" ({_interval(self.low, self.high)})"
        seeds = "" if self.seeds is None else f", {self.seeds} seeds"
        ours = "" if self.ours is None else f"{_shown(self.ours)}{spread}{seeds}"
        slug = self.verdict.replace(",", "").replace(" ", "-")
        rows = [("Claim", f"{claim.where}: {claim.statement}"), ("The paper", claim.text), ("Here", ours)]
        cells = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows if text)
        return (
            f'<div class="verdict"><p><span class="verdict-id">{self.id}</span> '
            f'<span class="verdict-chip verdict-{slug}">{html.escape(self.verdict)}</span></p>'
            f"<table>{cells}</table><p>{html.escape(self.sentence)}</p></div>"
        )


def state(
    claim_id: str,
    verdict: str,
    sentence: str,
    *,
    ours: float | str | None = None,
    low: float | None = None,
    high: float | None = None,
    seeds: int | None = None,
    anchor: str | None = None,
    device: str = "cpu",
) -> Verdict:
    """State a verdict; make it the last expression of a notebook cell.

    Args:
        claim_id: a key of :data:`clop_nb.paper.CLAIMS`.
        verdict: one of :data:`VERDICTS`.
        sentence: what was found, one sentence, its numbers computed.
        ours: the value to stand beside the paper's; a number or words.
        low, high: ends of its interval; both or neither.
        seeds: how many seeds or trials it rests on.
        anchor: label of the figure or section of this notebook that shows it.
        device: what it was computed on.

    Raises:
        ValueError: if the claim or the verdict is unknown, the sentence is empty, a number is not finite, or only one
            end of the interval is given.
    """
    if claim_id not in CLAIMS:
        raise ValueError(f"claim_id must be one of {', '.join(CLAIMS)}, got {claim_id!r}")
    if verdict not in VERDICTS:
        raise ValueError(f"verdict must be one of {'; '.join(VERDICTS)}, got {verdict!r}")
    if not sentence.strip():
        raise ValueError("sentence must say what was found, got an empty one")
    if (low is None) != (high is None):
        raise ValueError(f"low and high go together, got {low!r} and {high!r}")
    numbers = {"low": low, "high": high, **({} if isinstance(ours, str) else {"ours": ours})}
    plain = {name: None if value is None else float(value) for name, value in numbers.items()}
    for name, value in plain.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} must be finite (say a divergence in words), got {value!r}")
    return Verdict(
        claim_id,
        verdict,
        sentence.strip(),
        ours=ours if isinstance(ours, str) else plain["ours"],
        low=plain["low"],
        high=plain["high"],
        seeds=None if seeds is None else int(seeds),
        anchor=anchor,
        device=device,
    )


def _interval(low: float, high: float) -> str:
    """Both ends with the decimals that show their distance to three digits."""
    decimals = min(max(2 - math.floor(math.log10(high - low)), 0), 6) if high > low else 6
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"

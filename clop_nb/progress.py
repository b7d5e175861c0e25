"""One line on stderr that says how far a long piece of work has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["progress"]

# Seconds between two writes of the line on a terminal.
EVERY = 0.2


def progress(what: str, total: int | None, unit: str, scale: float = 1.0) -> Callable[[int], None]:
    """Start a progress line.

    On a terminal the line is rewritten in place. Elsewhere (a log, a notebook) a line is written at every tenth of
    the way, and none in between where the total is not known.

    Args:
        what: What is being done, the start of the line.
        total: How many units there are in all; ``None`` if that is not known.
        unit: Name of the unit as shown.
        scale: Counted things per shown unit, such as 1e6 for bytes shown as MB.

    Returns:
        A function to be called with the count reached so far; called with ``total`` it ends the line.
    """
    terminal = sys.stderr.isatty()
    start, shown_at, shown_tenth = time.monotonic(), -EVERY, -1

    def show(done: int) -> None:
        nonlocal shown_at, shown_tenth
        now, last = time.monotonic() - start, done == total
        if total is None:
            text, due = f"{done / scale:.0f} {unit}", terminal and now >= shown_at + EVERY
        else:
            share = done / total if total else 1.0
            left = f", {now * (1 - share) / share:.0f} s left" if 0 < share < 1 and now > 1 else ""
            text = f"{share:4.0%} of {total / scale:.0f} {unit}{left}"
            due = last or (now >= shown_at + EVERY if terminal else int(10 * share) > shown_tenth)
            shown_tenth = max(shown_tenth, int(10 * share))
        if due:
            shown_at = now
            begin, end = ("\r", "\033[K" + "\n" * last) if terminal else ("", "\n")
            print(f"{begin}{what}: {text}", end=end, file=sys.stderr, flush=True)

    return show

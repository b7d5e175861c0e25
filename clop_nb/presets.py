"""The three scales at which every notebook runs: ``smoke`` (seconds), ``laptop`` (the default) and ``paper``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["PRESETS", "choose", "preset_values", "project_file", "whole"]

PRESETS = ("smoke", "laptop", "paper")


def preset_values(preset: str, *, smoke: Any, laptop: Any, paper: Any) -> Any:
    """The value that belongs to a preset.

    Raises:
        ValueError: if the preset is unknown.
    """
    values = {"smoke": smoke, "laptop": laptop, "paper": paper}
    if preset not in values:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    return values[preset]


def choose(
    name: str,
    given: Any,
    preset: str,
    *,
    smoke: Any,
    laptop: Any,
    paper: Any,
    check: Callable[[Any], bool] | None = None,
    accepted: str = "another value",
) -> Any:
    """A notebook's parameter: the reader's value, or the preset's where it is ``None``.

    Args:
        name: the parameter's name, for the message.
        given: what the parameters cell holds.
        preset: the preset in force.
        smoke, laptop, paper: the presets' values.
        check: tells whether a value is acceptable; a value of the wrong type may make it raise.
        accepted: what an acceptable value is, in words.

    Raises:
        ValueError: if the preset is unknown or the value fails the check; it names the parameter and what is accepted.
    """
    default = preset_values(preset, smoke=smoke, laptop=laptop, paper=paper)
    value = default if given is None else given
    if check is not None:
        try:
            acceptable = bool(check(value))
        except Exception:
            acceptable = False
        if not acceptable:
            raise ValueError(f"parameter {name} must be {accepted}, got {value!r}")
    return value


def whole(least: int) -> dict[str, Any]:
    """For :func:`choose`: accept whole numbers from ``least`` on, and say so.

    Returns:
        The arguments ``check`` and ``accepted``.
    """

    def check(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return {"check": check, "accepted": f"an integer of at least {least}"}


def project_file(path: str) -> Path:
    """A file that is committed with the project, such as ``results/synthetic_map.csv``.

    Args:
        path: relative to the folder that holds ``clop_nb``, or absolute.
    """
    return Path(__file__).resolve().parent.parent / path

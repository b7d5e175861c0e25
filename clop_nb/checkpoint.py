"""The state of a run between two epochs, kept so that a killed run ends as if nothing had happened."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from clop_nb.store import whole_file

__all__ = ["resume", "save"]


def save(
    file: str | os.PathLike[str],
    identity: list[Any],
    state: dict[str, Any],
    curves: dict[str, Any],
    epoch: int,
    seconds: float,
) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        file: where.
        identity: plain values that have to be the same for the run that goes on from it.
        state: what changes in training, by name: modules, optimisers and generators.
        curves: lists recorded so far.
        epoch: epochs done.
        seconds: time spent on them.

    Raises:
        OSError: if it cannot be written; an older checkpoint stays.
    """
    values = {name: _get(part) for name, part in state.items()}
    content = {"identity": identity, "state": values, "curves": curves, "epoch": epoch, "seconds": seconds}
    with whole_file(Path(file)) as target:
        torch.save(content, target)


def resume(
    file: str | os.PathLike[str] | None, identity: list[Any], state: dict[str, Any], curves: dict[str, Any]
) -> tuple[int, float]:
    """Bring state and curves to where a checkpoint left them, if there is one of the same identity.

    Args:
        file: the checkpoint; ``None`` or a missing file for a fresh start.
        identity, state, curves: as in :func:`save`; state and curves are changed in place.

    Returns:
        Epochs done and seconds spent, (0, 0.0) for a fresh start.
    """
    if file is None or not Path(file).exists():
        return 0, 0.0
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError):
        return 0, 0.0  # not one of ours: whole files are all that we leave
    if content.get("identity") != identity:
        return 0, 0.0
    for name, part in state.items():
        _set(part, content["state"][name])
    curves.update(content["curves"])
    return content["epoch"], content["seconds"]


def _get(part: Any) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _set(part: Any, value: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(value)
    else:
        part.load_state_dict(value)

"""What an executed notebook tells about its own making: revision, versions, machine, time and memory."""

import os
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

from pipeline import imports
from pipeline.source import Source

KEY = "companion"
"""Where the record stands in the notebook's metadata."""
ALWAYS = ("torch", "numpy")
"""What `clop_nb` itself imports: everything that a notebook computes goes through these."""


def record(source: Source, given: dict[str, Any]) -> dict[str, Any]:
    """The record of a notebook that has just been executed by this process.

    Returns:
        `parameters` (all of them, the defaults included), `revision` (the commit, or None outside a repository),
        `changed` (whether the source or `clop_nb` differed from it), `versions`, `processor`, `cores`, `threads` (what
        each kernel was allowed; None where nothing was set) and `memory_mib` (the largest process that ran for it).
    """
    root = source.path.parent.parent
    _, packages = imports.module_files(root, [cell.source for cell in source.code_cells()])
    return {
        "parameters": {**source.parameters, **given},
        **revision(root, source.path),
        "versions": {"python": platform.python_version(), **imports.versions({*packages, *ALWAYS})},
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": int(os.environ["OMP_NUM_THREADS"]) if os.environ.get("OMP_NUM_THREADS", "").isdigit() else None,
        "memory_mib": round(largest_child_mib()),
    }


def revision(root: Path, path: Path) -> dict[str, Any]:
    """The commit that is checked out, and whether what this notebook is made from differs from it."""

    def git(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=10", "HEAD")
    changes = git("status", "--porcelain", "--", str(path), "clop_nb") if commit else None
    return {"revision": commit, "changed": bool(changes)}


def processor() -> str:
    """The processor's name where the system tells it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def largest_child_mib() -> float:
    """Peak resident memory, in MiB, of the largest process that this one has started and seen end."""
    kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return kib / (2**20 if platform.system() == "Darwin" else 2**10)

"""Where a result comes from: a hash of the code that made it, versions, machine, memory."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import platform
import resource
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch

__all__ = ["code_hash", "device_name", "peak_memory_mib", "processor", "versions"]

_PACKAGE = "clop_nb"
# They fetch, keep and report: what they do cannot change a number.
_NO_INFLUENCE = ("archives", "progress", "provenance", "records", "store")


@functools.cache
def code_hash(module: str = "clop_nb.train", without: tuple[str, ...] = _NO_INFLUENCE) -> str:
    """Hash of the code that a module's results depend on: its own and that of the modules it imports from its package.

    It is taken over syntax trees without docstrings, so that comments, layout and documentation do not count. What the
    package's ``__init__`` imports counts only where it is imported from elsewhere too.

    Args:
        module: Full name of the module to start from.
        without: Names of modules of the package that do not count, nor what only they import.

    Returns:
        16 hexadecimal digits.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"module must be the name of a module with a source file, got {module!r}")
    folder = Path(spec.origin).parent
    trees: dict[str, str] = {}
    waiting = [Path(spec.origin).stem]
    while waiting:
        name = waiting.pop()
        if name in trees or name in without or not (folder / f"{name}.py").exists():
            continue
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        waiting += _imported(tree, folder.name)
        trees[name] = ast.dump(_without_docstrings(tree))
    text = "\n".join(f"{name} {trees[name]}" for name in sorted(trees))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _imported(tree: ast.Module, package: str) -> set[str]:
    """Modules of the package that a syntax tree imports, imports inside functions included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == package and len(parts) > 1}
        elif isinstance(node, ast.ImportFrom):
            parts = [*([package] if node.level else []), *(node.module or "").split(".")]
            parts = [part for part in parts if part]
            if parts[:1] == [package]:
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Drop every statement that is only a string: docstrings, and the strings that document a field or a constant."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [statement for statement in statements if not _is_string(statement)])
    return tree


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def versions(packages: Iterable[str] = ("torch", "torchvision", "numpy", "scikit-learn")) -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """The device in words: the GPU's name, or ``cpu`` with the processor's model where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({processor()})"


def processor() -> str:
    """The processor's model where the system tells it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory in MiB: what torch allocated on a GPU since its counter was reset, else the whole process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / (2**20 if platform.system() == "Darwin" else 2**10)

"""Which modules of `clop_nb` a piece of Python depends on, found by reading the code, not by importing it."""

import ast
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PACKAGE = "clop_nb"


def module_files(root: Path, code: Iterable[str]) -> tuple[set[Path], set[str]]:
    """Files of `clop_nb` that the code needs, imports of imports included, and the other packages imported on the way.

    The package's `__init__` always belongs to them (importing a module runs it); what it imports in turn counts only
    where a name is taken from the package itself. Code that is not Python makes everything count: its own error comes
    when it runs.
    """
    package = root / PACKAGE
    found: set[Path] = set()
    others: set[str] = set()
    waiting: list[Path] = []

    def need(file: Path, follow: bool = True) -> None:
        if file.exists() and file not in found:
            found.add(file)
            if follow:
                waiting.append(file)

    def visit(text: str, inside: tuple[str, ...] | None) -> None:
        try:
            tree = ast.parse(text)
        except SyntaxError:
            found.update(package.rglob("*.py"))
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    note(alias.name.split("."), None)
            elif isinstance(node, ast.ImportFrom):
                if node.level and inside is not None:
                    base = (PACKAGE, *inside)[: len(inside) + 2 - node.level]
                    parts = [*base, *(node.module.split(".") if node.module else [])]
                else:
                    parts = (node.module or "").split(".")
                note(parts, [alias.name for alias in node.names])

    def note(parts: list[str], names: list[str] | None) -> None:
        if parts[0] != PACKAGE:
            others.add(parts[0])
            return
        folder = package
        for part in parts[1:]:
            need(folder / "__init__.py", follow=False)
            need(folder / f"{part}.py")
            folder = folder / part
        is_package = folder.is_dir()
        if is_package and names is None:
            entry(folder / "__init__.py")
        for name in names or ():
            if not is_package:
                break
            if (folder / f"{name}.py").exists():
                need(folder / "__init__.py", follow=False)
                need(folder / f"{name}.py")
            elif (folder / name).is_dir():
                entry(folder / name / "__init__.py")
            else:
                entry(folder / "__init__.py")

    followed: set[Path] = set()

    def entry(file: Path) -> None:
        found.add(file)
        if file not in followed and file.exists():
            waiting.append(file)

    for text in code:
        visit(text, None)
    while waiting:
        file = waiting.pop()
        if file in followed:
            continue
        followed.add(file)
        relative = file.relative_to(package)
        visit(file.read_text(encoding="utf-8"), relative.parts[:-1])
    return {file for file in found if file.exists()}, others


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the packages whose distribution has the same name; the rest are left out."""
    found = {}
    for name in sorted(packages):
        try:
            found[name] = metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):
            continue
    return found

"""What the published branch holds: `python -m pipeline.publish FOLDER [--revision COMMIT]`.

That is the site with its `_sources`. Where the repository has an address (`repository.url` of _config.yml), there is
besides what the launch buttons need: each notebook begins with a cell that fetches the package where it is absent, as
on Colab, and the folder `binder` describes an environment, with a torch for processors only.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

from pipeline.errors import BookError

TORCH_FOR_PROCESSORS = "https://download.pytorch.org/whl/cpu"
SOURCES = Path("_sources", "book", "_executed")

FIRST_CELL = """\
# Only in the published notebooks: where the package is absent, as on Colab, fetch it and what it needs.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("clop_nb") is None:
    subprocess.run(["git", "clone", "--quiet", "{address}", "clop-nb"], check=True)
    subprocess.run(["git", "-C", "clop-nb", "checkout", "--quiet", "{revision}"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", "clop-nb[train,book]"], check=True)
    sys.path.insert(0, "clop-nb")
"""

POST_BUILD = """\
#!/usr/bin/env bash
# Binder runs this once, after it has made the environment: the package, at the commit that the notebooks were made of.
set -euo pipefail
git clone --quiet {address} clop-nb
git -C clop-nb checkout --quiet {revision}
python -m pip install --quiet --extra-index-url {index} -c clop-nb/constraints.txt -e 'clop-nb[train,book]'
"""


def address(root: Path) -> str:
    """The repository's address, or an empty text."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return ((config.get("repository") or {}).get("url") or "").rstrip("/")


def pins(root: Path, *names: str) -> list[str]:
    """The lines of constraints.txt for these packages."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in names]


def binder_environment(root: Path) -> str:
    """For Binder: the Python of environment.yml, and torch for processors only, at the pinned versions."""
    given = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    python = [entry for entry in given["dependencies"] if isinstance(entry, str)]
    wheels = [
        f"--extra-index-url {TORCH_FOR_PROCESSORS}",
        *(f"{pin}+cpu" for pin in pins(root, "torch", "torchvision")),
    ]
    environment = {"channels": given["channels"], "dependencies": [*python, {"pip": wheels}]}
    return yaml.safe_dump(environment, sort_keys=False)


def publish(root: Path, target: Path, revision: str) -> None:
    """Lay out the published tree in `target`, which must not exist, from the laptop book in _build/html.

    Raises:
        BookError: if the book is not built, or the target exists.
    """
    site = root / "_build" / "html"
    if not (site / "index.html").is_file():
        raise BookError(f"{site} has no book; `make book` builds it")
    if target.exists():
        raise BookError(f"{target} exists; remove it or name another folder")
    shutil.copytree(site, target)
    (target / ".nojekyll").touch()  # or GitHub leaves out folders that begin with an underscore
    where = address(root)
    if not where:
        return
    for path in sorted((target / SOURCES).glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        cell = nbformat.v4.new_code_cell(FIRST_CELL.format(address=where, revision=revision), id="fetch-package")
        notebook.cells.insert(0, cell)
        path.write_text(nbformat.writes(notebook, version=4), encoding="utf-8")
    binder = target / "binder"
    binder.mkdir()
    (binder / "environment.yml").write_text(binder_environment(root), encoding="utf-8")
    script = POST_BUILD.format(address=where, revision=revision, index=TORCH_FOR_PROCESSORS)
    (binder / "postBuild").write_text(script, encoding="utf-8")
    (binder / "postBuild").chmod(0o755)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.publish", description=__doc__)
    parser.add_argument("target", type=Path, metavar="FOLDER")
    parser.add_argument("--revision", help="commit that the book was made of (default: the one checked out)")
    given = parser.parse_args(arguments)
    root = Path.cwd()
    try:
        revision = (
            given.revision
            or subprocess.run(
                ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        publish(root, given.target, revision)
    except (BookError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

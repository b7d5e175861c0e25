"""What is published works: launch buttons lead to files of the published tree, the zip is the whole site."""

import json
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml

from pipeline import archive, publish
from pipeline.errors import BookError

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/owner/clop-nb"
REVISION = "0123456789abcdef0123456789abcdef01234567"
NOTEBOOK = "_sources/book/_executed/01_one.ipynb"


def build(folder, address):
    """A site of one notebook and one plain page, by the theme and the launch buttons of the book."""
    source = folder / "source"
    (source / "book" / "_executed").mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# One"), nbformat.v4.new_code_cell("print(1)")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, source / "book" / "_executed" / "01_one.ipynb")
    (source / "index.md").write_text("# Index\n\n```{toctree}\nbook/_executed/01_one\n```\n", encoding="utf-8")
    (source / "conf.py").write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
            extensions = ["myst_nb", "launch"]
            html_theme = "sphinx_book_theme"
            html_theme_options = {{"repository_url": {address!r}}}
            html_sourcelink_suffix = ""
            nb_execution_mode = "off"
        """),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(source), str(folder / "_build" / "html")]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with an address and a built site, and the tree that would be published."""
    folder = tmp_path_factory.mktemp("project")
    done = build(folder, ADDRESS)
    assert done.returncode == 0, done.stderr
    for name in ("environment.yml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "_config.yml").write_text(f"repository:\n  url: {ADDRESS}/\n", encoding="utf-8")
    publish.publish(folder, folder / "tree", REVISION)
    return folder


def launch_links(page):
    return re.findall(r'href="(https://(?:mybinder|colab)[^"]+)"', page.read_text(encoding="utf-8"))


def test_each_launch_button_leads_to_a_notebook_of_the_published_tree(project):
    binder, colab = launch_links(project / "tree" / "book" / "_executed" / "01_one.html")
    start = "https://mybinder.org/v2/gh/owner/clop-nb/gh-pages?urlpath=lab/tree/"
    assert binder.startswith(start)
    assert (project / "tree" / unquote(binder.removeprefix(start))).is_file()
    start = "https://colab.research.google.com/github/owner/clop-nb/blob/gh-pages/"
    assert colab.startswith(start)
    assert (project / "tree" / unquote(colab.removeprefix(start))).is_file()
    assert launch_links(project / "tree" / "index.html") == []


def test_without_an_address_there_are_no_buttons_and_nothing_for_them(tmp_path):
    assert build(tmp_path, "").returncode == 0
    assert launch_links(tmp_path / "_build" / "html" / "book" / "_executed" / "01_one.html") == []
    (tmp_path / "_config.yml").write_text('repository:\n  url: ""\n', encoding="utf-8")
    publish.publish(tmp_path, tmp_path / "tree", REVISION)
    assert not (tmp_path / "tree" / "binder").exists()
    made, built = (nbformat.read(tmp_path / where / NOTEBOOK, 4) for where in ("tree", "_build/html"))
    assert made == built


def test_an_address_that_the_services_cannot_open_stops_the_build(tmp_path):
    done = build(tmp_path, "https://example.org/clop-nb")
    assert done.returncode != 0
    assert "https://github.com/OWNER/NAME, got" in done.stderr


def test_folders_with_an_underscore_are_served(project):
    assert (project / "tree" / ".nojekyll").is_file()


def test_published_notebooks_fetch_the_package_where_it_is_absent(project, monkeypatch):
    import importlib.util

    notebook = nbformat.read(project / "tree" / NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert [cell.source for cell in notebook.cells[1:]] == ["# One", "print(1)"]
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(notebook.cells[0].source, {})
    assert ran == []  # here it is installed
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(notebook.cells[0].source, {})
    clone, checkout, install = ran
    assert ADDRESS in clone
    assert REVISION in checkout
    assert install[:4] == [sys.executable, "-m", "pip", "install"]
    assert "clop-nb[train,book]" in install
    assert sys.path[0] == "clop-nb"


def test_binder_gets_the_pinned_torch_for_processors_and_the_package_at_the_published_revision(project):
    environment = yaml.safe_load((project / "tree" / "binder" / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "torch" in line]
    torch = [f"{pin}+cpu" for pin in pins if pin.startswith(("torch==", "torchvision=="))]
    assert pip["pip"] == ["--extra-index-url https://download.pytorch.org/whl/cpu", *torch]
    script = project / "tree" / "binder" / "postBuild"
    assert script.stat().st_mode & 0o111
    assert f"git clone --quiet {ADDRESS} clop-nb" in script.read_text(encoding="utf-8")
    assert REVISION in script.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_first_cell_and_binder_name_extras_that_the_project_has():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for text in (publish.FIRST_CELL, publish.POST_BUILD):
        assert set(re.search(r"clop-nb\[(.*?)\]", text).group(1).split(",")) <= set(extras)


def test_publishing_overwrites_nothing_and_needs_a_book(project, tmp_path):
    with pytest.raises(BookError, match="exists"):
        publish.publish(project, project / "tree", REVISION)
    with pytest.raises(BookError, match="has no book"):
        publish.publish(tmp_path, tmp_path / "tree", REVISION)
    with pytest.raises(BookError, match="has no book"):
        archive.archive(tmp_path, tmp_path / "site.zip")


def test_the_zip_is_the_whole_site_in_one_folder_and_the_same_each_time(project, tmp_path):
    site = project / "_build" / "html"
    first, second = tmp_path / "clop-nb-1.zip", tmp_path / "again" / "clop-nb-1.zip"
    second.parent.mkdir()
    archive.archive(site, first)
    archive.archive(site, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        packed.extractall(tmp_path / "out")
    out = tmp_path / "out" / "clop-nb-1"
    files = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == files
    assert list((tmp_path / "out").iterdir()) == [out]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "clop-nb-1.zip", "out"]


def test_the_book_asks_for_the_buttons_and_has_its_address_in_one_place():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert "launch" in config["sphinx"]["config"]["extensions"]
    assert set(config["repository"]) == {"url"}
    assert "launch_buttons" not in config
    assert json.dumps(config).count("github.com") == (1 if config["repository"]["url"] else 0)

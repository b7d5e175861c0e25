"""The notebooks' code is linted where it stands."""

from pipeline.lint import lint_notebook


def test_unused_import_is_found_at_its_line_in_the_source(fresh):
    fresh.edit("notebooks/02_two.md", "import clop_nb.second\n", "import clop_nb.second\nimport json\n")
    path = fresh.root / "notebooks/02_two.md"
    line = path.read_text().splitlines().index("import json") + 1
    (found,) = lint_notebook(fresh.root, path)
    assert found.startswith(f"notebooks/02_two.md:{line}:")
    assert "F401" in found


def test_import_below_the_first_cell_is_no_complaint(fresh):
    assert lint_notebook(fresh.root, fresh.root / "notebooks/01_one.md") == []

"""What a notebook depends on is read from its imports, without importing."""

import pytest

from pipeline.imports import module_files


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("import numpy", set()),
        ("import clop_nb.second", {"__init__", "second"}),
        ("from clop_nb import second", {"__init__", "second"}),
        ("from clop_nb import first as f, second", {"__init__", "first", "inner", "second"}),
        ("def later():\n    from clop_nb.first import VALUE", {"__init__", "first", "inner"}),
        ("from clop_nb import __version__", {"__init__", "unused"}),
        ("import clop_nb", {"__init__", "unused"}),
        ("def (", {"__init__", "first", "inner", "paper", "second", "unused"}),
    ],
)
def test_modules_that_code_needs(fresh, code, files):
    fresh.write("clop_nb/__init__.py", "from . import unused\n")
    found, _ = module_files(fresh.root, [code])
    assert {path.stem for path in found} == files


def test_relative_imports_are_followed(fresh):
    fresh.write("clop_nb/first.py", "from .inner import VALUE\n")
    found, _ = module_files(fresh.root, ["import clop_nb.first"])
    assert {path.stem for path in found} == {"__init__", "first", "inner"}


def test_other_packages_are_listed(fresh):
    fresh.write("clop_nb/inner.py", "import numpy as np\nVALUE = 1\n")
    _, others = module_files(fresh.root, ["import clop_nb.first, plotly.graph_objects"])
    assert {"numpy", "plotly"} <= others

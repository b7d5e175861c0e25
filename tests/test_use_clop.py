"""The page on using CLOP elsewhere, where the libraries of its examples are missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jupytext")
from pipeline.source import runnable

PAGE = Path(__file__).parents[1] / "notebooks" / "09_use_clop.md"
HIDDEN = 'import sys\nsys.modules.update({"lightly": None, "pytorch_metric_learning": None})\n'


def test_page_skips_the_libraries_that_are_not_installed(tmp_path):
    cells = [cell.source for cell in runnable(PAGE, preset="smoke", seeds=2).cells if cell.cell_type == "code"]
    script = tmp_path / "page.py"
    script.write_text(HIDDEN + "\n".join(cells), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(PAGE.parents[1])},
    )
    assert ran.returncode == 0, ran.stderr
    for library in ("lightly", "pytorch-metric-learning"):
        assert f"{library} is not installed (extra `test`): skipped" in ran.stdout

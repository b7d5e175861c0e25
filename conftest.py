"""`pytest --nbmake notebooks` runs the MyST sources, at the smoke preset, through nbmake's own item."""

import os
from pathlib import Path

import nbformat
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two notebooks run side by side


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "SourceFile | None":
    is_source = file_path.suffix == ".md" and file_path.parent.name == "notebooks" and file_path.name[:2].isdigit()
    if is_source and parent.config.option.nbmake:
        return SourceFile.from_parent(parent, path=file_path)
    return None


class SourceFile(pytest.File):
    def collect(self):
        from nbmake.pytest_items import NotebookItem

        class SourceItem(NotebookItem):
            """nbmake's item on the notebook that the source stands for, made when the test runs."""

            def runtest(self) -> None:
                from pipeline.source import runnable

                folder = self.config._tmp_path_factory.mktemp(self.path.stem)
                self.filename = str(folder / f"{self.path.stem}.ipynb")
                nbformat.write(runnable(self.path, preset="smoke"), self.filename)
                super().runtest()

        yield SourceItem.from_parent(self, filename=str(self.path))

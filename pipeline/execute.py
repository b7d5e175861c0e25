"""Run one notebook, in a process of its own: `python -m pipeline.execute SOURCE OUTPUT FAILED PARAMETERS`.

Progress goes to stdout, one JSON object a line. The output appears whole or not at all. The process ends itself when
its standard input closes, which is when the build that started it has gone, however it went.
"""

import _thread
import json
import os
import re
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import nbformat

from pipeline import provenance
from pipeline import source as sources
from pipeline.errors import BookError


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    _thread.interrupt_main()  # lets papermill shut its kernel down
    time.sleep(5)
    os._exit(1)


def execute(path: Path, output: Path, failed: Path, given: dict[str, Any]) -> None:
    """Execute the notebook at `path` and write it to `output`; after a failing cell it is at `failed`.

    Raises:
        BookError: naming the notebook, the cell, its line in the source and the exception's last line.
    """
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from papermill.execute import execute_notebook

    class Reporting(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **options):
            start, total = nb_man.cell_start, len(nb_man.nb.cells)

            def cell_start(cell, cell_index=None, **more):
                say(cell=(cell_index or 0) + 1, of=total)
                return start(cell, cell_index, **more)

            nb_man.cell_start = cell_start
            return NBClientEngine.execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("reporting", Reporting)
    source = sources.read(path)
    notebook = sources.runnable(path, **given)
    failed.parent.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    try:
        done = execute_notebook(
            notebook,
            str(failed),
            engine_name="reporting",
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=False,
            cwd=str(path.parent),
            extra_arguments=["--log-level=ERROR"],
        )
    except PapermillExecutionError as error:
        line, code = _failing_line(source, nbformat.read(failed, 4))
        raise BookError(
            f"{path.name}, line {line}: {error.ename}: {error.evalue}\n"
            f"    in: {code}\n"
            f"    the notebook as far as it came: {failed}"
        ) from None
    done.metadata.get("papermill", {}).pop("output_path", None)
    done.metadata.get("papermill", {}).pop("input_path", None)
    done.metadata[provenance.KEY] = provenance.record(source, given)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_text(nbformat.writes(done, version=4), encoding="utf-8")
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
        failed.unlink(missing_ok=True)


def _failing_line(source: sources.Source, notebook: nbformat.NotebookNode) -> tuple[int | str, str]:
    """The line of the source at which an executed notebook failed, by number and text."""
    lines = dict(zip((cell.get("id") for cell in source.notebook.cells), source.cell_lines, strict=True))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error" and cell.get("id") in lines:
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
                within = re.search(r"Cell In\[\d+\], line (\d+)", trace)
                offset = int(within.group(1)) - 1 if within else 0
                return lines[cell.id] + offset, cell.source.splitlines()[offset].strip()
    return "?", "(no cell of the source)"


def main() -> int:
    warnings.simplefilter("ignore")
    path, output, failed, given = sys.argv[1:]
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        execute(Path(path), Path(output), Path(failed), json.loads(given))
    except BookError as error:
        say(error=str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a kernel that dies, a disk that is full: named all the same
        say(error=f"{Path(path).name}: {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

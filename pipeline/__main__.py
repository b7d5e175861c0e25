"""The command line behind the Makefile: `python -m pipeline book|notebooks|lint|serve`."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import BookError


def parse_parameters(given: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    """`NOTEBOOK:NAME=VALUE` each; NOTEBOOK is a name or its number, VALUE is read as YAML."""
    parsed: dict[str, dict[str, Any]] = {}
    for text in given:
        notebook, colon, assignment = text.partition(":")
        name, equals, value = assignment.partition("=")
        if not (colon and equals and notebook and name):
            raise BookError(f"PARAMS: {text!r} is not of the form NOTEBOOK:NAME=VALUE, as in 02:trials=9")
        matches = [known for known in names if known == notebook or known.split("_")[0] == notebook]
        if not matches:
            raise BookError(f"PARAMS: there is no notebook {notebook!r}; the notebooks are {', '.join(names)}")
        parsed.setdefault(matches[0], {})[name] = yaml.safe_load(value)
    return parsed


def write_notebooks(root: Path) -> list[Path]:
    """Every source as an .ipynb that stock Jupyter and papermill run, each written whole."""
    import nbformat

    from pipeline.source import runnable, sources

    folder = root / "_build" / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sources(root):
        target = folder / f"{path.stem}.ipynb"
        temporary = folder / f".{path.stem}.{os.getpid()}"
        temporary.write_text(nbformat.writes(runnable(path), version=4), encoding="utf-8")
        os.replace(temporary, target)
        written.append(target)
    return written


def serve(folder: Path, port: int) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    except OSError as error:
        raise BookError(f"port {port}: {error.strerror}; name another one: make serve PORT=8001") from None
    print(f"http://localhost:{server.server_port} (Ctrl-C ends it)", flush=True)
    server.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    parser.add_argument("command", choices=("book", "notebooks", "lint", "serve"))
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NOTEBOOK:NAME=VALUE")
    parser.add_argument("--root", type=Path, default=Path.cwd())
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    began = time.monotonic()
    try:
        if options.command == "lint":
            from pipeline.lint import lint

            return lint(root)
        if options.command == "notebooks":
            for path in write_notebooks(root):
                print(path.relative_to(root))
            return 0
        from pipeline.graph import Build, make
        from pipeline.source import sources

        names = [path.stem for path in sources(root)]
        build = Build(root, options.preset, parse_parameters(options.parameter, names))
        if options.command == "serve":
            serve(build.html, options.port)
            return 0
        ran = make(build, options.jobs)
        what = "built" if ran else "nothing to do"
        print(f"{what}, {time.monotonic() - began:.1f} s: {build.html.relative_to(root)}/index.html")
        return 0
    except BookError as error:
        print(
            f"\nThe build stopped; the previous book is as it was.\n{error}" if options.command == "book" else error,
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        if options.command == "book":
            print(
                "\nInterrupted. What was finished is kept; the next `make book` goes on from there.",
                file=sys.stderr,
            )
        return 130


if __name__ == "__main__":
    sys.exit(main())

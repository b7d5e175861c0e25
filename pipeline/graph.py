"""The task graph of a build: notebooks, scorecard, site; what is up to date is known by content (md5), not by date."""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doit.control import TaskControl
from doit.dependency import Dependency, JsonDB
from doit.exceptions import TaskFailed, UnmetDependency
from doit.runner import MThreadRunner
from doit.task import Stream, Task
from doit.tools import config_changed

from pipeline import imports, site
from pipeline.errors import BookError
from pipeline.source import check_preset, read, sources

HERE = Path(__file__).parent
RUNNER = [HERE / "execute.py", HERE / "source.py"]
UNCAPTURED = {"capture": False}  # doit's capture swaps sys.stdout; two threads at once leave it swapped
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}


@dataclass(frozen=True)
class Build:
    """One book: a project, a preset, and parameters by notebook name. Only the plain laptop book is in _build/html."""

    root: Path
    preset: str = "laptop"
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where this build keeps its state, and its site unless it is the laptop book."""
        if not self.parameters:
            return self.root / "_build" / self.preset
        text = json.dumps(self.parameters, sort_keys=True)
        return self.root / "_build" / f"{self.preset}-{hashlib.md5(text.encode()).hexdigest()[:8]}"

    @property
    def is_laptop(self) -> bool:
        return self.preset == "laptop" and not self.parameters

    @property
    def html(self) -> Path:
        return self.root / "_build" / "html" if self.is_laptop else self.folder / "html"

    @property
    def executed(self) -> Path:
        return self.root / "book" / "_executed" if self.is_laptop else self.folder / "executed"

    @property
    def generated(self) -> Path:
        return self.root / "book" / "_generated" if self.is_laptop else self.folder / "generated"

    def given(self, name: str) -> dict[str, Any]:
        return {"preset": self.preset, **self.parameters.get(name, {})}


class Database(JsonDB):
    """doit's JSON file, written whole or not at all, so that a killed build leaves a readable one."""

    def dump(self) -> None:
        temporary = f"{self.name}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(self.codec.encode(self._db))
        os.replace(temporary, self.name)


class Progress:
    """Lines that tell how the build goes: one that rewrites itself on a terminal, one every few seconds in a log."""

    def __init__(self, stream: Any = None, every: float = 10.0) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.every = every
        self.running: dict[str, tuple[float, str]] = {}
        self.last: dict[str, float] = {}
        self.lock = threading.Lock()

    def start(self, name: str) -> None:
        with self.lock:
            self.running[name] = (time.monotonic(), "starting")
            self.last[name] = time.monotonic()
            self._line(f"{name:32s} started") if not self.live else self._status()

    def update(self, name: str, state: str) -> None:
        with self.lock:
            began, _ = self.running[name]
            self.running[name] = (began, state)
            now = time.monotonic()
            if self.live:
                self._status()
            elif now - self.last[name] >= self.every:
                self.last[name] = now
                self._line(f"{name:32s} {state}, {now - began:.0f} s")

    def end(self, name: str, state: str) -> None:
        with self.lock:
            began, _ = self.running.pop(name)
            self._line(f"{name:32s} {state}, {time.monotonic() - began:.1f} s")
            if self.live and self.running:
                self._status()

    def _line(self, text: str) -> None:
        self.stream.write(("\r\x1b[K" if self.live else "") + f"  {text}\n")
        self.stream.flush()

    def _status(self) -> None:
        now = time.monotonic()
        parts = [f"{name} {state} {now - began:.0f} s" for name, (began, state) in self.running.items()]
        width = os.get_terminal_size(self.stream.fileno()).columns if self.live else 200
        self.stream.write("\r\x1b[K" + f"  {' | '.join(parts)}"[: max(width - 1, 20)])
        self.stream.flush()


class Reporter:
    """What doit has to tell, kept quiet: failures are collected, successes are saved at once."""

    def __init__(self, dependencies: Dependency) -> None:
        self.dependencies = dependencies
        self.failures: list[str] = []
        self.executed: list[str] = []

    def add_failure(self, task: Task, failure: Any) -> None:
        if not isinstance(failure, UnmetDependency):
            expected = isinstance(failure, TaskFailed)
            self.failures.append(
                str(failure.message).strip() if expected else f"{task.name}: {failure.get_msg().strip()}"
            )
        self.dependencies.backend.dump()

    def add_success(self, task: Task) -> None:
        self.executed.append(task.name)
        self.dependencies.backend.dump()

    def runtime_error(self, message: str) -> None:
        self.failures.append(message)

    def cleanup_error(self, exception: Any) -> None:
        self.failures.append(exception.get_msg())

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Children:
    """The processes that a build started, to end with it."""

    def __init__(self) -> None:
        self.alive: set[subprocess.Popen] = set()

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen:
        process = subprocess.Popen(command, text=True, errors="replace", **options)
        self.alive.add(process)
        return process

    def run(self, command: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str]:
        process = self.popen(
            command,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = process.communicate()
        self.alive.discard(process)
        return process.returncode, output

    def end(self) -> None:
        for process in list(self.alive):
            with contextlib.suppress(OSError, ValueError):
                if process.stdin:
                    process.stdin.close()
                else:
                    process.terminate()
        for process in list(self.alive):
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()


def notebook_action(build: Build, path: Path, children: Children, progress: Progress) -> Any:
    def execute() -> TaskFailed | None:
        name = path.stem
        progress.start(name)
        process = children.popen(
            [
                sys.executable,
                "-m",
                "pipeline.execute",
                str(path),
                str(build.executed / f"{name}.ipynb"),
                str(build.folder / "failed" / f"{name}.ipynb"),
                json.dumps(build.given(name)),
            ],
            env=environment(build.root) | ONE_THREAD | {"PYTHONHASHSEED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        noise: list[str] = []
        reader = threading.Thread(target=lambda: noise.extend(process.stderr), daemon=True)
        reader.start()
        error = None
        for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                noise.append(line)
                continue
            error = event.get("error", error)
            if "cell" in event:
                progress.update(name, f"cell {event['cell']}/{event['of']}")
        code = process.wait()
        reader.join(2)
        children.alive.discard(process)
        progress.end(name, "done" if code == 0 else "FAILED")
        if code == 0:
            return None
        return TaskFailed(
            error or f"{path.name}: the process that ran it ended with status {code}\n{''.join(noise[-15:])}"
        )

    return execute


def environment(root: Path) -> dict[str, str]:
    """The environment of a child process: the project's own packages come first."""
    path = [str(root), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(part for part in path if part))}


def notebook_inputs(root: Path, path: Path) -> tuple[list[str], dict[str, str]]:
    """Files that an executed notebook depends on, and the versions of the packages that it and they import.

    A parameter whose default begins with ``results/`` names committed files that the notebook reads.
    """
    results: list[Path] = []
    try:
        source = read(path)
        code = [cell.source for cell in source.code_cells()]
        named = [v for v in source.parameters.values() if isinstance(v, str) and v.startswith("results/")]
        results = [file for name in named for file in results_files(root / name)]
    except BookError:
        code = []  # the task itself says what is wrong with the source
    code = [
        "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in text.splitlines())
        for text in code
    ]
    modules, packages = imports.module_files(root, code)
    data = {
        file
        for file in (root / "clop_nb").rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc", ".typed")
    }
    return sorted(map(str, {path, *RUNNER, *modules, *data, *results})), imports.versions(packages)


def results_files(named: Path) -> list[Path]:
    """The files that a parameter names: those in a folder, or a file and what describes it (same name)."""
    if named.is_dir():
        return sorted(file for file in named.rglob("*.json") if not file.name.startswith("."))
    return sorted(file for file in named.parent.glob(f"{named.stem}.*") if file.suffix in (named.suffix, ".json"))


def tasks(build: Build, children: Children, progress: Progress) -> list[Task]:
    """The graph: a task for each notebook, then the scorecard, then the site."""
    root = build.root
    made = []
    executed = []
    for path in sources(root):
        files, versions = notebook_inputs(root, path)
        output = build.executed / f"{path.stem}.ipynb"
        executed.append(output)
        made.append(
            Task(
                f"notebook:{path.stem}",
                [(notebook_action(build, path, children, progress),)],
                file_dep=files,
                targets=[str(output)],
                io=UNCAPTURED,
                uptodate=[config_changed({"given": build.given(path.stem), "versions": versions})],
            )
        )
    names = [task.name for task in made]

    def scorecard() -> TaskFailed | None:
        command = [
            sys.executable,
            "-m",
            "pipeline.scorecard",
            str(root),
            str(build.executed),
            str(build.generated),
            build.preset,
        ]
        code, output = children.run(command, cwd=root, env=environment(root))
        return TaskFailed(f"scorecard: {output.strip()}") if code else None

    paper, _ = imports.module_files(root, ["import clop_nb.paper"])
    cards = [str(build.generated / name) for name in site.SCORECARD]
    made.append(
        Task(
            "scorecard",
            [(scorecard,)],
            file_dep=sorted(map(str, {*executed, *paper, HERE / "scorecard.py"})),
            targets=cards,
            task_dep=names,
            io=UNCAPTURED,
            uptodate=[config_changed({"preset": build.preset, "notebooks": names})],
        )
    )

    def render() -> TaskFailed | None:
        progress.start("website")
        state = "FAILED"
        try:
            folder = build.folder / "stage"
            site.stage(root, folder, executed, build.generated)
            pages = site.render(
                folder,
                lambda command, cwd, env: children.run(
                    command,
                    cwd,
                    environment(root)
                    | {
                        "PYTHONPATH": os.pathsep.join([env["PYTHONPATH"], environment(root)["PYTHONPATH"]]),
                        "NO_COLOR": "1",
                    },
                ),
            )
            for name in site.SCORECARD:
                (pages / name).write_bytes((build.generated / name).read_bytes())
            site.swap(pages, build.html)
            state = "done"
        except BookError as error:
            return TaskFailed(str(error))
        finally:
            progress.end("website", state)
        return None

    extensions = [path.read_text(encoding="utf-8") for path in (root / "book" / "_ext").glob("*.py")]
    used, _ = imports.module_files(root, extensions)
    versions = imports.versions(
        ["jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "sphinx-proof", "sphinxcontrib-bibtex"]
    )
    committed = (file for file in (root / "results").glob("**/*") if file.suffix in (".json", ".csv"))
    files = [*site.book_files(root), *sorted(file for file in committed if ".work" not in file.parts)]
    made.append(
        Task(
            "site",
            [(render,)],
            file_dep=sorted(map(str, {*executed, *cards, *files, *used, HERE / "site.py"})),
            targets=[str(build.html / "index.html")],
            task_dep=[*names, "scorecard"],
            io=UNCAPTURED,
            uptodate=[
                config_changed(
                    {"files": [str(file.relative_to(root)) for file in files], "notebooks": names, "versions": versions}
                )
            ],
        )
    )
    return made


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the project's build lock; wait, and say so, while another build holds it. It goes with the process."""
    path = root / "_build" / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "another build is at work in this folder; waiting for it to finish",
                file=sys.stderr,
                flush=True,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check(build: Build) -> None:
    """Everything that can be told without running a cell. Raises one BookError that lists all it found."""
    check_preset(build.preset, "PRESET")
    paths = {path.stem: path for path in sources(build.root)}
    wrong = []
    if not paths:
        wrong.append("there are no notebooks: notebooks/NN_name.md")
    for name in build.parameters:
        if name not in paths:
            wrong.append(f"PARAMS: there is no notebook {name!r}; the notebooks are {', '.join(paths)}")
    for name, path in paths.items():
        try:
            read(path).check_parameters(build.given(name))
        except BookError as error:
            wrong.append(str(error))
    try:
        site.check_toc(build.root, list(paths))
    except BookError as error:
        wrong.append(str(error))
    if wrong:
        raise BookError("\n".join(wrong))


def make(build: Build, jobs: int = 2, progress: Progress | None = None) -> list[str]:
    """Bring a book up to date and return the names of the tasks that ran.

    Raises:
        BookError: listing all that went wrong. What was finished before stays finished, the previous site stays.
    """
    check(build)
    children = Children()
    with alone(build.root):
        site.recover(build.html)
        build.folder.mkdir(parents=True, exist_ok=True)
        dependencies = Dependency(Database, str(build.folder / "state.json"))
        control = TaskControl(tasks(build, children, progress or Progress()))
        control.process(None)
        reporter = Reporter(dependencies)
        runner = MThreadRunner(dependencies, reporter, continue_=True, stream=Stream(0), num_process=jobs)
        try:
            runner.run_all(control.task_dispatcher())
        finally:
            children.end()
    if reporter.failures:
        raise BookError("\n".join(reporter.failures))
    return reporter.executed

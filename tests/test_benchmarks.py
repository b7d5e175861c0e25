"""The benchmarks' common format: how figures become a file, and how the file becomes a page."""

import importlib.util
import io
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def module(path: Path):
    spec = importlib.util.spec_from_file_location(f"tested_{path.stem}", path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


record = module(ROOT / "benchmarks" / "record.py")

TIMES = {"N = 4": {"mine": [2.0, 1.0, 3.0], "theirs": [5.0, 4.0, 9.0]}, "N = 8": {"mine": [8.0], "theirs": [4.0]}}
MEMORY = {"memory (MiB)": {"N = 4": {"mine": 1.5, "theirs": 3.0}, "N = 8": {"mine": 2.5, "theirs": 6.0}}}


def test_contestants_take_turns_and_every_call_is_counted():
    calls, now = [], iter(range(1000))
    seconds = record.interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 5, least=0, clock=lambda: next(now)
    )
    assert seconds == {"a": [1.0] * 5, "b": [1.0] * 5}, "one tick of the clock a call"
    turns = calls[4:]  # a warm-up and a trial of each come first
    assert all(set(turns[i : i + 2]) == {"a", "b"} for i in range(0, 10, 2))
    assert len({tuple(turns[i : i + 2]) for i in range(0, 10, 2)}) == 2, "in both orders"


def test_a_short_call_is_repeated_and_timed_per_call():
    clock = [0.0]

    def call() -> None:
        clock[0] += 0.25

    assert record.interleaved({"a": call}, 3, least=1.0, clock=lambda: clock[0]) == {"a": [0.25] * 3}
    assert clock[0] == 0.25 * (2 + 3 * 4)


def test_ratio_says_how_many_times_as_fast_ours_is():
    times = record.table("T", "ms", TIMES)
    assert record.row(times, "N = 4", "theirs")["ratio"] == 2.5
    assert record.row(times, "N = 8", "theirs")["ratio"] == 0.5
    assert record.row(times, "N = 4", "theirs")["best"] == 4.0
    rates = record.table("T", "1/s", TIMES, better="higher")
    assert record.row(rates, "N = 8", "theirs")["ratio"] == 2.0
    assert record.row(rates, "N = 4", "theirs")["best"] == 9.0
    assert [row["ours"] for row in rates["rows"]] == [True, False, True, False]


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [0.0]])
def test_figures_that_are_none_are_refused_by_name(bad):
    with pytest.raises(ValueError, match="'theirs'"):
        record.table("T", "ms", {"N = 4": {"mine": [1.0], "theirs": bad}})


@pytest.mark.parametrize(
    ("bounds", "met"), [({"at_least": 1.9}, True), ({"at_least": 2.0}, False), ({"below": 1.9}, False)]
)
def test_target(bounds, met):
    assert record.target("", 1.9, **bounds)["met"] is met


def test_target_takes_one_bound():
    with pytest.raises(ValueError, match="at_least"):
        record.target("", 1.0, at_least=1.0, below=2.0)


def page(tmp_path: Path) -> tuple[str, str]:
    """A page of `{benchmark} sample` alone, built by Sphinx, and what was warned of."""
    from sphinx.application import Sphinx

    (tmp_path / "index.rst").write_text("Benchmarks\n==========\n\n.. benchmark:: sample\n")
    warnings, build = io.StringIO(), tmp_path / "build"
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        extensions = {"extensions": ["benchmark_tables"], "html_theme": "basic"}
        app = Sphinx(tmp_path, None, build, build, "html", extensions, status=None, warning=warnings)
        app.build()
    finally:
        sys.path.remove(str(ROOT / "book" / "_ext"))
    text = re.sub(r"<[^>]+>", " ", (build / "index.html").read_text(encoding="utf-8"))
    return " ".join(text.split()), warnings.getvalue()


def test_what_a_benchmark_writes_is_what_the_page_shows(tmp_path, capsys):
    made = record.table("Title of it", "ms", TIMES, columns=MEMORY)
    targets = [record.target("twice as fast", 2.5, at_least=2), record.target("small", 6.0, below=5)]
    folder = tmp_path / "results" / "benchmarks"
    path = record.write("sample", [made], targets=targets, threads=(1, 2), packages=["pytest"], folder=folder)
    assert [file.name for file in folder.iterdir()] == ["sample.json"], "nothing half-written is left"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert "MISSED: small" in capsys.readouterr().out
    shown, warnings = page(tmp_path)
    assert warnings == ""
    assert "N = 4 mine fastest ours 2.00 1.00 1.50 theirs 2.50× 5.00 4.00 3.00" in shown
    assert "N = 8 mine ours 8.00 8.00 2.50 theirs fastest 0.50× 4.00 4.00 6.00" in shown
    assert "met twice as fast: 2.50" in shown
    assert "missed small: 6.00" in shown
    for known in ("Title of it (ms)", "1 to 3 interleaved rounds", "1 and 2 threads", content["date"],
                  content["machine"]["processor"], f"pytest {pytest.__version__}", content["revision"]):  # fmt: skip
        assert known in shown


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "is missing; `make bench BENCH=sample` writes it"),
        ("{", "is not JSON"),
        ('{"tables": []}', "lacks 'targets'"),
        ('{"tables": [{"title": "T"}], "targets": []}', "lacks 'unit'"),
        ("[]", "is not as benchmarks/record.py writes it"),
    ],
)
def test_a_missing_or_malformed_file_is_a_warning_that_names_it(tmp_path, written, said):
    folder = tmp_path / "results" / "benchmarks"
    folder.mkdir(parents=True)
    if written is not None:
        (folder / "sample.json").write_text(written, encoding="utf-8")
    _, warnings = page(tmp_path)
    assert f"results/benchmarks/sample.json {said}" in warnings
    assert "index.rst" in warnings


def test_every_committed_result_has_its_script_and_its_place_on_the_page():
    scripts = {path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py")}
    files = {path.stem for path in (ROOT / "results" / "benchmarks").glob("*.json")}
    shown = set(re.findall(r"```\{benchmark\} (\w+)", (ROOT / "book" / "benchmarks.md").read_text(encoding="utf-8")))
    assert files == shown
    assert files <= scripts

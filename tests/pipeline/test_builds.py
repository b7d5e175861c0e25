"""A build does what has changed and nothing else, and an interrupted one goes on from what was finished."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest


def test_nothing_changed_nothing_done(project):
    before = project.pages()
    began = time.monotonic()
    done = project.book()
    assert time.monotonic() - began < 5
    assert done.code == 0
    assert "nothing to do" in done.out, done
    assert project.pages() == before


def test_new_dates_alone_change_nothing(project):
    for path in (project.root / "notebooks").iterdir():
        os.utime(path)
    assert "nothing to do" in project.book().out


@pytest.mark.parametrize(
    ("changed", "executed"),
    [
        ("notebooks/02_two.md", ["02_two"]),
        ("clop_nb/second.py", ["02_two"]),
        ("clop_nb/first.py", ["01_one"]),
        ("clop_nb/inner.py", ["01_one"]),  # through first.py
        ("clop_nb/unused.py", []),
        ("clop_nb/__init__.py", ["01_one", "02_two"]),
        ("book/intro.md", []),
    ],
)
def test_only_what_depends_on_the_change_is_executed(project, changed, executed):
    path = project.root / changed
    path.write_text(path.read_text() + ("\nA line.\n" if path.suffix == ".md" else "\nMORE = 1\n"))
    done = project.book()
    assert done.code == 0, done
    assert done.executed == executed
    assert ("website" in done.out) == (changed != "clop_nb/unused.py"), "the site follows its sources"


def test_another_preset_has_a_folder_of_its_own(project):
    before = project.pages()
    executed = (project.root / "book/_executed/01_one.ipynb").read_bytes()
    done = project.book("--preset", "smoke")
    assert done.code == 0, done
    assert "_build/smoke/html/index.html" in done.out
    assert "1 smoke None" in (project.root / "_build/smoke/html/book/_executed/01_one.html").read_text()
    assert project.pages() == before
    assert (project.root / "book/_executed/01_one.ipynb").read_bytes() == executed


def test_parameters_have_a_folder_of_their_own(project):
    before = project.pages()
    done = project.book("-p", "02:trials=9")
    assert done.code == 0, done
    folder = next((project.root / "_build").glob("laptop-*"))
    assert "2 laptop 9" in (folder / "html/book/_executed/02_two.html").read_text()
    assert project.pages() == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_goes_on_from_what_was_finished(fresh, how):
    fresh.edit(
        "notebooks/02_two.md",
        "print(",
        "import time; time.sleep(60 * (not __import__('os').path.exists('go')))\nprint(",
    )
    process = fresh.start("book")
    wait_for(lambda: "notebook:01_one" in read(fresh.root / "_build/laptop/state.json"))
    os.kill(process.pid, how)
    out, err = process.communicate(timeout=30)
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert "goes on from there" in err, (out, err)
        assert "Traceback" not in err
    assert [path.name for path in (fresh.root / "book/_executed").iterdir()] == ["01_one.ipynb"], "nothing half-written"
    assert not (fresh.root / "_build/html").exists()
    (fresh.root / "notebooks/go").touch()
    done = fresh.book()
    assert done.code == 0, done
    assert done.executed == ["02_two"]


def test_processes_of_a_killed_build_end(fresh):
    fresh.edit(
        "notebooks/02_two.md",
        "print(",
        "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)\nprint(",
    )
    process = fresh.start("book")
    pid = int(wait_for(lambda: read(fresh.root / "notebooks/pid")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not alive(pid))


def test_killed_between_the_two_renames_the_site_comes_back(project):
    (project.root / "_build/html").rename(project.root / "_build/html.previous")
    done = project.book()
    assert "nothing to do" in done.out, done
    assert (project.root / "_build/html/index.html").exists()


def test_two_builds_at_once_take_turns(fresh):
    first, second = fresh.start("book"), fresh.start("book")
    outcomes = [process.communicate(timeout=240) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outcomes
    assert sorted("nothing to do" in out for out, _ in outcomes) == [False, True], outcomes
    assert any("waiting" in err for _, err in outcomes)


def test_scorecard_has_a_row_for_every_claim(project):
    verdict = {"id": "T1", "ours": 2.0714, "low": 2.07, "high": 2.072, "seeds": 5, "verdict": "reproduced, corrected"}
    project.edit(
        "notebooks/01_one.md",
        "print(",
        "from IPython.display import display\n"
        f'display({{"application/vnd.clop-nb.verdict+json": {verdict!r}, "text/plain": ""}}, raw=True)\nprint(',
    )
    done = project.book()
    assert done.code == 0, done
    table = {row["id"]: row for row in json.loads((project.root / "_build/html/scorecard.json").read_text())}
    assert list(table) == ["T1", "S1"]
    assert table["T1"] | verdict == table["T1"]
    assert table["T1"]["paper"] == {"k=30": 2.03}
    assert (table["T1"]["notebook"], table["T1"]["preset"]) == ("01_one", "laptop")
    assert table["S1"]["verdict"] == "not yet covered"
    listed = list(csv.DictReader(io.StringIO((project.root / "_build/html/scorecard.csv").read_text())))
    assert [row["verdict"] for row in listed] == ["reproduced, corrected", "not yet covered"]


def test_stock_papermill_runs_what_make_notebooks_writes(fresh):
    done = fresh.run("notebooks")
    assert done.code == 0, done
    written = fresh.root / "_build/notebooks/02_two.ipynb"
    first = written.read_bytes()
    output = fresh.root / "out.ipynb"
    subprocess.run(
        [sys.executable, "-m", "papermill", str(written), str(output), "-p", "preset", "smoke", "-p", "trials", "4"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(fresh.root)},
    )
    printed = [out.text for cell in nbformat.read(output, 4).cells for out in cell.get("outputs", [])]
    assert printed == ["2 smoke 4\n"]
    fresh.run("notebooks")
    assert written.read_bytes() == first, "the same source gives the same notebook"


def test_nothing_of_this_machine_is_left_in_an_executed_notebook(project):
    text = (project.root / "book/_executed/01_one.ipynb").read_text()
    assert str(project.root.parent.parent) not in text


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def read(path):
    return path.read_text() if path.exists() else ""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_committed_results_that_a_parameter_names_are_inputs(project):
    project.write("results/numbers.csv", "1\n")
    project.write("results/unread.csv", "1\n")
    project.edit("notebooks/02_two.md", "trials = None", 'trials = None\ndata: str = "results/numbers.csv"')
    assert project.book().executed == ["02_two"]
    project.write("results/unread.csv", "2\n")
    assert project.book().executed == [], "the pages may show it, no notebook reads it"
    project.write("results/numbers.csv", "2\n")
    assert project.book().executed == ["02_two"]
    project.write("results/numbers.json", "{}\n")
    assert project.book().executed == ["02_two"], "what describes the file counts too"

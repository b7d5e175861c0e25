"""The progress line, on a terminal and in a log."""

import io

import pytest

from clop_nb import progress as module
from clop_nb.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand: ``clock[0] = seconds``."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_at_every_tenth(clock, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    show = progress("reading", 400, "pages", scale=2)
    for done in range(1, 401):
        clock[0] = done / 10
        show(done)
    lines = log.getvalue().splitlines()
    assert len(lines) == 11  # the first call, then 10 % to 100 %
    assert lines[5] == "reading:  50% of 200 pages, 20 s left"
    assert lines[-1] == "reading: 100% of 200 pages"


def test_a_terminal_gets_one_line_that_is_rewritten_now_and_then(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    show = progress("reading", 100, "pages")
    for done in range(1, 101):
        clock[0] = done / 100
        show(done)
    text = terminal.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\rreading: 100% of 100 pages\033[K\n")
    assert 5 <= text.count("\r") <= 7


def test_without_a_total_a_terminal_sees_the_count(clock, monkeypatch):
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        monkeypatch.setattr("sys.stderr", stream)
        progress("reading", None, "MB", 1e6)(3_000_000)
    assert terminal.getvalue() == "\rreading: 3 MB\033[K"
    assert log.getvalue() == ""

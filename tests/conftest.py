"""What several test folders share: the built book and the browser."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def built_site() -> Path:
    """The folder of the laptop book's pages, brought up to date by the same graph as `make book`."""
    done = subprocess.run([sys.executable, "-m", "pipeline", "book"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"the book does not build:\n{done.stdout}{done.stderr}"
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium or Chrome. Without one the test is skipped, and failed where CI is set."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        message = "no Chromium found (on Debian: apt install chromium; elsewhere set CHROMIUM to its path)"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(message)
        pytest.skip(message)
    return found

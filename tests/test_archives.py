"""Archives: found, refused, downloaded from a server that behaves and from one that does not, and interrupted."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clop_nb.archives import Archive, DataError, fetch, locked

CONTENT = bytes(range(256)) * 8192  # 2 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content`` at every address; what it does wrong is set by its attributes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.status = CONTENT, 200
        self.ranges, self.says_length, self.cut_after, self.pause_after = True, True, None, None
        self.asked_for = []  # the Range of each request

    def archive(self, *md5):
        return Archive("set.bin", f"http://127.0.0.1:{self.server_port}/set.bin", md5 or (MD5,))


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.asked_for.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        body = server.content[start:]
        if not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.pause_after is not None:
            self.wfile.write(body[: server.pause_after])
            server.paused.wait(60)
            return
        self.wfile.write(body[: server.cut_after])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        running.paused = threading.Event()
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.paused.set()
        running.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_missing_archive_is_named_with_its_place_and_the_remedy(tmp_path):
    archive = Archive("set.bin", "http://example.org/set.bin", (MD5,))
    with pytest.raises(FileNotFoundError) as caught:
        fetch(archive, [tmp_path / "a", tmp_path / "b"])
    for words in ("set.bin", str(tmp_path / "a"), str(tmp_path / "b"), "download=True", archive.url):
        assert words in str(caught.value)
    assert names(tmp_path) == []


def test_the_first_folder_that_has_the_archive_counts(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    archive = Archive("set.bin", "http://example.org/set.bin", ("0" * 32, MD5))
    (tmp_path / "b" / "set.bin").write_bytes(CONTENT)
    assert fetch(archive, [tmp_path / "a", tmp_path / "b"]) == tmp_path / "b" / "set.bin"
    (tmp_path / "a" / "set.bin").write_bytes(CONTENT)
    assert fetch(archive, [tmp_path / "a", tmp_path / "b"]) == tmp_path / "a" / "set.bin"


@pytest.mark.parametrize(
    "content", [CONTENT[:-1], CONTENT[:-1] + b"x", b""], ids=["truncated", "one byte off", "empty"]
)
def test_a_corrupt_archive_is_refused_then_replaced(server, tmp_path, content):
    path = tmp_path / "set.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match="truncated or corrupt") as caught:
        fetch(server.archive(), [tmp_path])
    for words in (str(path), MD5, hashlib.md5(content).hexdigest(), "download=True", server.archive().url):
        assert words in str(caught.value)
    assert path.read_bytes() == content
    assert server.asked_for == []
    assert fetch(server.archive(), [tmp_path], download=True).read_bytes() == CONTENT
    assert names(tmp_path) == ["set.bin"]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_download_shows_progress_and_happens_once(server, tmp_path, capsys, says_length):
    server.says_length = says_length
    folder = tmp_path / "made" / "on the way"
    path = fetch(server.archive(), [folder], download=True)
    assert path.read_bytes() == CONTENT
    assert names(folder) == ["set.bin"]
    shown = capsys.readouterr().err
    if says_length:
        assert "downloading set.bin:  50% of 2 MB" in shown
        assert "100%" in shown
    assert fetch(server.archive(), [folder], download=True) == path
    assert server.asked_for == [None]


@pytest.mark.parametrize("ranges", [True, False], ids=["resumes", "starts again"])
def test_a_cut_connection_leaves_a_part_that_the_next_download_goes_on_from(server, tmp_path, ranges):
    server.cut_after, server.ranges = 1_500_000, ranges
    with pytest.raises(DataError, match=r"after 1500000 of 2097152 bytes.*call again"):
        fetch(server.archive(), [tmp_path], download=True)
    assert names(tmp_path) == ["set.bin.part"]
    with pytest.raises(FileNotFoundError):
        fetch(server.archive(), [tmp_path])
    server.cut_after = None
    assert fetch(server.archive(), [tmp_path], download=True).read_bytes() == CONTENT
    assert server.asked_for == [None, "bytes=1500000-"]
    assert names(tmp_path) == ["set.bin"]


@pytest.mark.parametrize("part", [b"of another file", CONTENT + b"more"], ids=["foreign", "too long"])
def test_a_part_that_does_not_fit_is_thrown_away_and_fetched_from_the_start(server, tmp_path, part):
    (tmp_path / "set.bin.part").write_bytes(part)
    assert fetch(server.archive(), [tmp_path], download=True).read_bytes() == CONTENT
    assert server.asked_for == [f"bytes={len(part)}-", None]
    assert names(tmp_path) == ["set.bin"]


def test_a_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    assert fetch(server.archive(), [tmp_path], download=True).read_bytes() == CONTENT
    assert server.asked_for == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("resuming", [False, True])
def test_wrong_bytes_are_deleted_and_the_old_file_stays(server, tmp_path, resuming):
    server.content = CONTENT[::-1]
    (tmp_path / "set.bin").write_bytes(b"old")
    if resuming:
        (tmp_path / "set.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DataError, match="sent something else") as caught:
        fetch(server.archive(), [tmp_path], download=True)
    assert hashlib.md5(server.content).hexdigest() in str(caught.value)
    assert server.archive().url in str(caught.value)
    assert names(tmp_path) == ["set.bin"]
    assert (tmp_path / "set.bin").read_bytes() == b"old"


def test_an_address_that_fails_is_reported_and_leaves_nothing(server, tmp_path):
    server.status = 404
    with pytest.raises(DataError, match=r"set\.bin failed \(HTTP Error 404"):
        fetch(server.archive(), [tmp_path], download=True)
    refused = Archive("set.bin", "http://127.0.0.1:1/set.bin", (MD5,))
    with pytest.raises(DataError, match="refused"):
        fetch(refused, [tmp_path], download=True)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_reported(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file"):
        fetch(server.archive(), [tmp_path / "file" / "folder"], download=True)
    assert server.asked_for == []


FETCH = """
import sys
from pathlib import Path
from clop_nb.archives import Archive, fetch
print("ready", flush=True)
fetch(Archive("set.bin", sys.argv[1], (sys.argv[2],)), [Path(sys.argv[3])], download=True)
"""


def start_fetch(server, folder):
    command = [sys.executable, "-c", FETCH, server.archive().url, MD5, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_download_is_gone_on_with(server, tmp_path):
    server.pause_after = 1_000_000
    part = tmp_path / "set.bin.part"
    process = start_fetch(server, tmp_path)
    wait_for(lambda: part.exists() and part.stat().st_size > 0)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    have = part.stat().st_size
    assert 0 < have <= 1_000_000
    server.pause_after = None
    assert fetch(server.archive(), [tmp_path], download=True).read_bytes() == CONTENT
    assert server.asked_for == [None, f"bytes={have}-"]


def test_two_processes_download_once(server, tmp_path):
    with locked(tmp_path / "set.bin"):
        processes = [start_fetch(server, tmp_path) for _ in range(2)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        assert server.asked_for == []
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert server.asked_for == [None]
    assert (tmp_path / "set.bin").read_bytes() == CONTENT

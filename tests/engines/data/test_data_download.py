"""Downloads against a server on this machine that also truncates, stalls, lies and breaks off."""

from __future__ import annotations

import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.data import download
from engines.data.download import FetchCancelled, RemoteFile, fetch_files
from engines.errors import DataError

CONTENT = bytes(range(256)) * 2000
NAME = "images.gz"
RIGHT = RemoteFile(NAME, hashlib.md5(CONTENT).hexdigest(), len(CONTENT))
UNSIZED = RemoteFile(NAME, RIGHT.md5)
SHORT = {"connect_timeout": 5.0, "read_timeout": 0.3}


class Server:
    """Serves CONTENT in several ways, one per first folder of the address."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.release = threading.Event()  # lets go of the handlers that stall
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments) -> None:
                pass

            def _head(self, status: int = 200, length: int | None = None, **headers: str) -> None:
                self.send_response(status)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()

            def do_GET(self) -> None:
                server.requests.append(self.path)
                way = self.path.split("/")[1]
                half = len(CONTENT) // 2
                try:
                    match way:
                        case "right":
                            self._head(length=len(CONTENT))
                            self.wfile.write(CONTENT)
                        case "nolength":
                            self._head()
                            self.wfile.write(CONTENT)
                        case "cut":
                            self._head(length=len(CONTENT))
                            self.wfile.write(CONTENT[:half])
                        case "cutnolength":
                            self._head()
                            self.wfile.write(CONTENT[:half])
                        case "wrong":
                            self._head(length=len(CONTENT))
                            self.wfile.write(CONTENT[::-1])
                        case "endless":
                            self._head()
                            while True:
                                self.wfile.write(CONTENT)
                        case "page":
                            self._head(Content_Type="text/html")
                            self.wfile.write(b"<html>Please log in</html>")
                        case "stall":
                            self._head(length=len(CONTENT))
                            self.wfile.write(CONTENT[:half])
                            self.wfile.flush()
                            server.release.wait(30)
                        case "mute":
                            server.release.wait(30)
                        case "redirect":
                            self._head(302, Location=self.path.replace("redirect", "right"), length=0)
                        case "circle":
                            self._head(302, Location=self.path, length=0)
                        case "coded":  # a server that packs what is packed already, and says so
                            self._head(length=len(CONTENT), Content_Encoding="gzip")
                            self.wfile.write(CONTENT)
                        case _:
                            self._head(int(way) if way.isdigit() else 404, length=0)
                except (BrokenPipeError, ConnectionResetError):
                    pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.thread.start()

    def __call__(self, way: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{way}"

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    running = Server()
    yield running
    running.close()


def _fetch(folder: Path, mirrors: list[str], file: RemoteFile = RIGHT, **options) -> list[Path]:
    return fetch_files([file], mirrors, folder, title="Test set", **(SHORT | options))


def _nothing_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.mark.parametrize("way", ["right", "nolength", "redirect", "coded"])
@pytest.mark.parametrize("file", [RIGHT, UNSIZED], ids=["size known", "size unknown"])
def test_whole_files_arrive_under_their_name(
    server: Server, tmp_path: Path, way: str, file: RemoteFile
) -> None:
    folder = tmp_path / "new" / "folder"
    (path,) = _fetch(folder, [server(way)], file)
    assert path.read_bytes() == CONTENT
    assert [item.name for item in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("file", [RIGHT, UNSIZED], ids=["size known", "size unknown"])
@pytest.mark.parametrize(
    "way, reason",
    [
        ("cut", "broke the connection"),
        ("cutnolength", "sent 256,000 of 512,000 bytes|checksum differs"),
        ("wrong", "checksum differs"),
        ("page", "sent 26 of 512,000 bytes|checksum differs"),
        ("stall", r"sent nothing for 0\.3 s"),
        ("mute", r"sent nothing for 0\.3 s"),
        ("404", "answered 404"),
        ("403", "answered 403"),
        ("503", "answered 503"),
        ("circle", "redirects in circles"),
    ],
)
def test_bad_servers_are_named_and_leave_nothing(
    server: Server, tmp_path: Path, way: str, reason: str, file: RemoteFile
) -> None:
    with pytest.raises(
        DataError, match=rf"Test set could not be fetched \(images\.gz: 127\.0\.0\.1.*({reason})"
    ) as caught:
        _fetch(tmp_path, [server(way)], file)
    assert not isinstance(caught.value, FetchCancelled)
    assert "check the connection" in str(caught.value) and "\n" not in str(caught.value)
    assert _nothing_left(tmp_path)


def test_a_server_that_never_ends_is_left(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"more than the 512,000 bytes expected"):
        _fetch(tmp_path, [server("endless")])
    assert _nothing_left(tmp_path)


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        with pytest.raises(DataError, match=r"127\.0\.0\.1 cannot be reached"):
            _fetch(tmp_path, [f"http://127.0.0.1:{taken.getsockname()[1]}"])
    assert _nothing_left(tmp_path)


def test_mirrors_are_tried_in_turn_and_the_good_one_is_remembered(server: Server, tmp_path: Path) -> None:
    files = [RemoteFile(f"{i}.gz", RIGHT.md5, RIGHT.size) for i in range(3)]
    fetch_files(files, [server("404"), server("wrong"), server("right")], tmp_path, title="Test set", **SHORT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.gz", "1.gz", "2.gz"]
    assert server.requests == ["/404/0.gz", "/wrong/0.gz", "/right/0.gz", "/right/1.gz", "/right/2.gz"]


def test_all_mirrors_are_named_when_none_works(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"answered 404.*checksum differs.*answered 500"):
        _fetch(tmp_path, [server("404"), server("wrong"), server("500")])


def test_what_is_there_and_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    _fetch(tmp_path, [server("404")])
    assert server.requests == []


def test_what_is_there_and_damaged_is_replaced_only_by_what_is_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DataError):
        _fetch(tmp_path, [server("cut")])
    assert (tmp_path / NAME).read_bytes() == CONTENT[:-1] + b"?"
    _fetch(tmp_path, [server("right")])
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "file, way, total", [(RIGHT, "right", 512_000), (UNSIZED, "right", 512_000), (UNSIZED, "nolength", None)]
)
def test_progress_grows_to_the_end(
    server: Server, tmp_path: Path, file: RemoteFile, way: str, total: int | None
) -> None:
    seen: list[tuple[int, int | None, str]] = []
    _fetch(tmp_path, [server(way)], file, progress=lambda *report: seen.append(report))
    done = [report[0] for report in seen]
    assert len(done) > 2 and done == sorted(done) and done[-1] == len(CONTENT)
    assert {report[1] for report in seen} == {total}
    assert all("Test set" in report[2] and NAME in report[2] for report in seen)


def test_progress_counts_over_all_files(server: Server, tmp_path: Path) -> None:
    files = [RemoteFile(f"{i}.gz", RIGHT.md5, RIGHT.size) for i in range(3)]
    (tmp_path / "1.gz").write_bytes(CONTENT)  # there already
    seen: list[tuple[int, int | None, str]] = []
    fetch_files(
        files, [server("right")], tmp_path, title="T", progress=lambda *report: seen.append(report), **SHORT
    )
    assert seen[0][0] > len(CONTENT) and seen[-1][:2] == (3 * len(CONTENT), 3 * len(CONTENT))


@pytest.mark.parametrize("as_event", [True, False])
@pytest.mark.parametrize("way", ["right", "stall"])
def test_cancel_in_the_middle_leaves_nothing(
    server: Server, tmp_path: Path, as_event: bool, way: str
) -> None:
    stop = threading.Event()
    received: list[int] = []

    def progress(done: int, total: int | None, label: str) -> None:
        received.append(done)
        stop.set()

    with pytest.raises(FetchCancelled, match=r"cancelled after .*start it again") as caught:
        _fetch(tmp_path, [server(way)], progress=progress, cancel=stop if as_event else stop.is_set)
    assert isinstance(caught.value, DataError)
    assert 0 < received[-1] < len(CONTENT)
    assert _nothing_left(tmp_path)


def test_cancel_between_files_keeps_the_whole_ones(server: Server, tmp_path: Path) -> None:
    files = [RemoteFile(f"{i}.gz", RIGHT.md5, RIGHT.size) for i in range(3)]
    with pytest.raises(FetchCancelled):
        fetch_files(
            files,
            [server("right")],
            tmp_path,
            title="T",
            cancel=lambda: (tmp_path / "0.gz").exists(),
            **SHORT,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["0.gz"]
    assert (tmp_path / "0.gz").read_bytes() == CONTENT


def test_cancelled_before_it_began_asks_nobody(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchCancelled):
        _fetch(tmp_path, [server("right")], cancel=lambda: True)
    assert server.requests == []


def test_a_bug_in_progress_is_not_hidden_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    def broken(*report) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _fetch(tmp_path, [server("right"), server("right")], progress=broken)
    assert len(server.requests) == 1
    assert _nothing_left(tmp_path)


def test_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = download.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"needs 512,000 bytes and .* has 1,000 bytes left; make room"):
        _fetch(tmp_path, [server("right")])
    assert server.requests == []
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def full(*arguments) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(DataError, match=r"the disk is full; make room"):
        _fetch(tmp_path, [server("right"), server("right")])
    assert len(server.requests) == 1  # another mirror would not help
    assert _nothing_left(tmp_path)


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"there is a file in its place"):
            _fetch(folder, [server("right")])


def test_what_a_killed_download_left_is_swept_away_later(server: Server, tmp_path: Path) -> None:
    old, fresh = tmp_path / "images.gz.0.part", tmp_path / "images.gz.1.part"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    _fetch(tmp_path, [server("right")])
    assert not old.exists() and fresh.exists()  # the fresh one may belong to a download that runs


def test_two_downloads_at_once_do_not_disturb_each_other(server: Server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=_fetch, args=(tmp_path, [server("right")])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT

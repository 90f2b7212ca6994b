"""The downloader against a real server on this machine that misbehaves in every way."""

from __future__ import annotations

import hashlib
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from evpcli.domain.errors import NetworkError, StorageError
from evpcli.engine.datasets.completion import find_state
from evpcli.engine.datasets.download import Progress, StallRule, fetch_file
from evpcli.engine.datasets.published import fetch_dataset
from evpcli.engine.datasets.table import CATALOG
from evpcli.engine.offline import is_offline
from tests.dataset_builders import TINY, Served, serve_files

CONTENT = bytes(range(256)) * 4096
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
QUICK = StallRule(silence_s=0.3, window_s=0.3, window_bytes=10_000)


@pytest.fixture
def served():
    with serve_files() as found:
        yield found


def assert_nothing_came(folder: Path) -> None:
    assert list(folder.rglob("*")) == []


@pytest.mark.parametrize("checksum", [MD5, SHA, None])
def test_a_right_file_arrives_whole(served: Served, tmp_path: Path, checksum: str | None) -> None:
    served.files["data.bin"] = CONTENT
    told: list[Progress] = []
    found = fetch_file(
        f"{served.address}/data.bin",
        tmp_path / "deep" / "data.bin",
        checksum=checksum,
        on_progress=told.append,
    )
    assert (tmp_path / "deep" / "data.bin").read_bytes() == CONTENT
    assert found == hashlib.sha256(CONTENT).hexdigest()
    assert (told[-1].done, told[-1].total) == (len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["data.bin"]


@pytest.mark.parametrize("checksum", ["md5:" + "0" * 32, "sha256:" + "0" * 64])
def test_a_wrong_checksum_leaves_nothing(served: Served, tmp_path: Path, checksum: str) -> None:
    served.files["data.bin"] = CONTENT
    with pytest.raises(NetworkError, match="not the file") as caught:
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=checksum)
    assert caught.value.exit_code == 6
    assert_nothing_came(tmp_path)


def test_a_wrong_file_does_not_replace_a_right_one(served: Served, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"old and right")
    served.files["data.bin"] = CONTENT
    with pytest.raises(NetworkError):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum="md5:" + "0" * 32)
    assert (tmp_path / "data.bin").read_bytes() == b"old and right"


def test_a_short_answer_leaves_nothing(served: Served, tmp_path: Path) -> None:
    def send_half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[: len(CONTENT) // 2])

    served.behave["data.bin"] = send_half
    with pytest.raises(NetworkError):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=None)
    assert_nothing_came(tmp_path)


def test_silence_is_noticed(served: Served, tmp_path: Path) -> None:
    def send_and_wait(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:1000])
        handler.wfile.flush()
        time.sleep(1)

    served.behave["data.bin"] = send_and_wait
    before = time.monotonic()
    with pytest.raises(NetworkError, match="stuck"):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=None, stall=QUICK)
    assert time.monotonic() - before < 0.9
    assert_nothing_came(tmp_path)


def test_dripping_is_noticed(served: Served, tmp_path: Path) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        try:
            for _ in range(40):
                handler.wfile.write(b"x" * 10)
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    served.behave["data.bin"] = drip
    before = time.monotonic()
    with pytest.raises(NetworkError, match="stuck"):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=None, stall=QUICK)
    assert time.monotonic() - before < 1.5
    assert_nothing_came(tmp_path)


def test_a_web_page_is_no_file(served: Served, tmp_path: Path) -> None:
    served.files["data.bin"] = b"<html>please log in</html>"
    served.headers["data.bin"] = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(NetworkError, match="web page"):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=None)
    assert_nothing_came(tmp_path)


def test_a_refusal_names_its_number(served: Served, tmp_path: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        fetch_file(f"{served.address}/missing.bin", tmp_path / "data.bin", checksum=None)
    assert "404" in str(caught.value.found)
    assert_nothing_came(tmp_path)


def test_a_closed_port_is_a_network_error(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NetworkError, match="failed"):
        fetch_file(f"http://127.0.0.1:{port}/x.bin", tmp_path / "x.bin", checksum=None)


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "x", ""]
)
def test_only_https_is_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="https"):
        fetch_file(url, tmp_path / "x", checksum=None)
    assert_nothing_came(tmp_path)


def test_a_redirection_to_http_is_refused(served: Served, tmp_path: Path) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://example.org/data.bin")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    served.behave["data.bin"] = redirect
    with pytest.raises(NetworkError, match="https"):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=None)
    assert_nothing_came(tmp_path)


def test_a_folder_in_the_way_is_a_storage_error(served: Served, tmp_path: Path) -> None:
    served.files["data.bin"] = CONTENT
    (tmp_path / "data.bin").mkdir()
    with pytest.raises(StorageError):
        fetch_file(f"{served.address}/data.bin", tmp_path / "data.bin", checksum=None)
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


@pytest.mark.parametrize("variable", ["EVP_OFFLINE", "HF_HUB_OFFLINE"])
def test_the_environment_can_forbid_connections(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, expected in (("1", True), ("true", True), ("0", False), ("", False)):
        monkeypatch.setenv(variable, value)
        assert is_offline() is expected


@pytest.mark.parametrize("how", ["flag", "EVP_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_makes_no_connection(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: attempts.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: attempts.append(words))
    if how != "flag":
        monkeypatch.setenv(how, "1")
    before = time.monotonic()
    with pytest.raises(NetworkError, match="offline"):
        fetch_dataset(CATALOG["pets"], tmp_path, offline=how == "flag")
    assert not attempts
    assert time.monotonic() - before < 2


def test_a_dataset_is_not_begun_when_one_file_is_wrong(served: Served, tmp_path: Path) -> None:
    tiny = TINY["pets"]()
    spec = tiny.to_spec("pets", served.address)
    served.files = {**tiny.downloads, "annotations.tar.gz": b"something else"}
    with pytest.raises(NetworkError):
        fetch_dataset(spec, tmp_path)
    assert not (tmp_path / "pets").exists()
    assert find_state(spec, tmp_path) == "partial"
    served.files = tiny.downloads
    fetch_dataset(spec, tmp_path)
    assert find_state(spec, tmp_path) == "ready"
    assert served.asked.count("/images.tar.gz") == 1  # the right one was kept

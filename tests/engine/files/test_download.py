"""The downloader against a real server on this machine that misbehaves in every way."""

from __future__ import annotations

import hashlib
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from evpcli.domain.errors import NetworkError, StorageError
from evpcli.engine.datasets.public.catalog import CATALOG
from evpcli.engine.datasets.public.completion import find_state
from evpcli.engine.datasets.public.fetching import fetch_dataset
from evpcli.engine.files import download
from evpcli.engine.files.download import Progress, RetryRule, StallRule, fetch_file
from evpcli.engine.files.offline import is_offline
from tests.dataset_builders import TINY, Served, serve_files

CONTENT = bytes(range(256)) * 4096
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
QUICK = StallRule(silence_s=0.3, window_s=0.3, window_bytes=10_000)


@pytest.fixture
def served():
    with serve_files() as found:
        yield found


@pytest.fixture(autouse=True)
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RetryRule", lambda: RetryRule(waits_s=()))


def assert_nothing_came(folder: Path) -> None:
    """Nothing, or a part that the next try goes on with."""
    assert all(".part" in path.name for path in folder.rglob("*"))


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
    assert (tmp_path / "data.bin").is_dir()


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


ETAG = '"the-same-file"'


def serve_ranges(served: Served, content: bytes, *, breaks: int, etag: str = ETAG) -> list[str]:
    """Serve `data.bin` by ranges, breaking off after a third `breaks` times; the ranges asked."""
    ranges: list[str] = []

    def send(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        ranges.append(asked)
        is_same = handler.headers.get("If-Range", etag) == etag
        begin = int(asked[6:-1]) if asked and is_same else 0
        handler.send_response(206 if begin else 200)
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(content) - begin))
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        end = len(content) // 3 + begin if len(ranges) <= breaks else len(content)
        handler.wfile.write(content[begin:end])

    served.behave["data.bin"] = send
    return ranges


@pytest.mark.parametrize("checksum", [MD5, None])
def test_a_break_is_continued_where_it_was(
    served: Served, tmp_path: Path, checksum: str | None
) -> None:
    ranges = serve_ranges(served, CONTENT, breaks=1)
    url, target = f"{served.address}/data.bin", tmp_path / "data.bin"
    with pytest.raises(NetworkError, match="ended early"):
        fetch_file(url, target, checksum=checksum)
    assert not target.exists()
    assert fetch_file(url, target, checksum=checksum) == SHA.removeprefix("sha256:")
    assert target.read_bytes() == CONTENT
    assert ranges == ["", f"bytes={len(CONTENT) // 3}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_a_broken_transfer_is_tried_again_by_itself(served: Served, tmp_path: Path) -> None:
    ranges = serve_ranges(served, CONTENT, breaks=2)
    told: list[Progress] = []
    fetch_file(
        f"{served.address}/data.bin",
        tmp_path / "data.bin",
        checksum=SHA,
        on_progress=told.append,
        retry=RetryRule(waits_s=(0.0,)),
    )
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(ranges) == 3
    assert (told[-1].done, told[-1].total) == (len(CONTENT), len(CONTENT))


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(
    served: Served, tmp_path: Path
) -> None:
    url, target = f"{served.address}/data.bin", tmp_path / "data.bin"
    serve_ranges(served, CONTENT, breaks=1)
    with pytest.raises(NetworkError):
        fetch_file(url, target, checksum=None)
    changed = CONTENT[::-1]
    serve_ranges(served, changed, breaks=0, etag='"another"')
    fetch_file(url, target, checksum=None)
    assert target.read_bytes() == changed


def test_parts_that_do_not_fit_together_are_fetched_anew(served: Served, tmp_path: Path) -> None:
    (tmp_path / ".data.bin.part").write_bytes(b"x" * 1000)
    ranges = serve_ranges(served, CONTENT, breaks=0)
    fetch_file(
        f"{served.address}/data.bin",
        tmp_path / "data.bin",
        checksum=MD5,
        retry=RetryRule(waits_s=(0.0,)),
    )
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert ranges == ["bytes=1000-", ""]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(
    served: Served, tmp_path: Path
) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(503)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    served.behave["busy.bin"] = refuse
    for name, asked in (("busy.bin", 3), ("missing.bin", 1)):
        with pytest.raises(NetworkError, match="refused"):
            fetch_file(
                f"{served.address}/{name}",
                tmp_path / "x",
                checksum=None,
                retry=RetryRule(waits_s=(0.0, 0.0)),
            )
        assert served.asked.count(f"/{name}") == asked


def test_a_mirror_helps_out(served: Served, tmp_path: Path) -> None:
    served.files["copy.bin"] = CONTENT
    mirrors = (f"{served.address}/copy.bin",)
    fetch_file(f"{served.address}/gone.bin", tmp_path / "data.bin", checksum=MD5, mirrors=mirrors)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_the_token_goes_to_the_hub_alone(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[str | None] = []

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        tokens.append(handler.headers.get("Authorization"))
        handler.send_response(302)
        handler.send_header("Location", f"{served.address}/store/data.bin")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def send(handler: BaseHTTPRequestHandler) -> None:
        tokens.append(handler.headers.get("Authorization"))
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT)

    served.behave["datasets/a/b/resolve/c/data.bin"] = redirect
    served.behave["store/data.bin"] = send
    monkeypatch.setenv("HF_ENDPOINT", served.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    url = "https://huggingface.co/datasets/a/b/resolve/c/data.bin"
    fetch_file(url, tmp_path / "data.bin", checksum=MD5)
    assert tokens == ["Bearer hf_secret", None]


def test_a_file_that_was_placed_by_hand_is_used(served: Served, tmp_path: Path) -> None:
    tiny = TINY["pets"]()
    spec = tiny.to_spec("pets", served.address)
    with pytest.raises(NetworkError) as caught:  # every address answers 404
        fetch_dataset(spec, tmp_path)
    waiting = tmp_path / ".downloads" / "pets"
    assert f"put it into {waiting}" in str(caught.value.hint)
    for name, content in tiny.downloads.items():
        (waiting / name).write_bytes(content)
    fetch_dataset(spec, tmp_path, offline=True)
    assert find_state(spec, tmp_path) == "ready"

"""One file from the network: https, checked length and checksum, nothing half at its place."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlparse

from evpcli import __version__
from evpcli.domain.errors import NetworkError, StorageError

_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class Progress:
    """How far one step of fetching or checking a dataset has come.

    Args:
        phase: what is being done.
        name: the file or dataset.
        done: bytes for a download, files otherwise.
        total: how many there will be, if known.
    """

    phase: Literal["download", "unpack", "check"]
    name: str
    done: int
    total: int | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class StallRule:
    """When a transfer counts as stuck.

    Args:
        silence_s: longest wait for the next byte.
        window_s: how long a slow spell is watched.
        window_bytes: fewest bytes that must come within it.
    """

    silence_s: float = 30.0
    window_s: float = 60.0
    window_bytes: int = 16_384


def fetch_file(
    url: str,
    target: Path,
    *,
    checksum: str | None,
    on_progress: ProgressCallback | None = None,
    stall: StallRule | None = None,
) -> str:
    """Download one file; it appears at `target` only when it is whole and right.

    Args:
        url: https; plain http only to this machine.
        target: where it goes; its folder is made.
        checksum: `md5:...` or `sha256:...`, or nothing where the source states none.
        on_progress: told about every piece.
        stall: when to give up.

    Returns:
        The SHA-256 of what came.

    Raises:
        NetworkError: refused, stuck, too short, a web page, or another checksum.
        StorageError: the disk is full or closed.
    """
    _check_address(url)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            hashes = _transfer(url, file, on_progress, stall or StallRule())
            file.flush()
            os.fsync(file.fileno())
        _compare_checksum(url, checksum, hashes)
        os.replace(part, target)
    except OSError as error:
        raise StorageError(
            f"cannot write {target.name}",
            found=f"{error.strerror or error} in {target.parent}",
            hint="make room, or move the cache with EVP_HOME",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return hashes["sha256"]


def hash_file(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 of a file, by those names."""
    digests = _start_hashes()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def matches_checksum(checksum: str | None, hashes: dict[str, str]) -> bool:
    """Whether the hashes are those that the source states; true where it states none."""
    if checksum is None:
        return True
    kind, _, expected = checksum.partition(":")
    return hashes[kind] == expected


def _transfer(
    url: str, file: IO[bytes], on_progress: ProgressCallback | None, stall: StallRule
) -> dict[str, str]:
    """Copy the answer into `file`; only network trouble is told apart from disk trouble here."""
    name = Path(urlparse(url).path).name
    digests = _start_hashes()
    answer = _ask(url, stall)
    with answer:
        total = _read_length(answer)
        done, watch = 0, _SpeedWatch(stall)
        while chunk := _receive(answer, url):
            file.write(chunk)
            done += len(chunk)
            for digest in digests.values():
                digest.update(chunk)
            if on_progress:
                on_progress(Progress("download", name, done, total))
            watch.check(done, url)
    if total is not None and done != total:
        raise NetworkError(
            f"the download of {name} ended early",
            found=f"{done} of {total} bytes from {url}",
            hint="try again",
        )
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def _ask(url: str, stall: StallRule) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_SafeRedirects)
    request = urllib.request.Request(
        url, headers={"User-Agent": f"evp/{__version__}", "Accept-Encoding": "identity"}
    )
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=stall.silence_s)
    except urllib.error.HTTPError as error:
        error.close()
        raise NetworkError(
            f"the server refused {url}", found=f"HTTP {error.code} {error.reason}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _broken(url, error) from error
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise NetworkError(
            "a web page came instead of the file",
            found=url,
            hint="a log-in page or a moved address; look at it in a browser",
        )
    return answer


def _receive(answer: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return answer.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _broken(url, error) from error


def _broken(url: str, error: Exception) -> NetworkError:
    reason = getattr(error, "reason", error)
    what = "the download is stuck" if isinstance(reason, TimeoutError) else "the download failed"
    return NetworkError(what, found=f"{url}: {reason}", hint="check the network and try again")


def _read_length(answer: http.client.HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _compare_checksum(url: str, checksum: str | None, hashes: dict[str, str]) -> None:
    if not matches_checksum(checksum, hashes):
        kind = str(checksum).partition(":")[0]
        raise NetworkError(
            "what came is not the file that the catalog names",
            found=f"{kind} {hashes[kind]} from {url}, expected {checksum}",
            hint="try again; if it stays, the source has changed the file",
        )


def _check_address(url: str) -> None:
    parts = urlparse(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return
    raise NetworkError("only https addresses are downloaded from", found=url)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _start_hashes() -> dict[str, Any]:
    return {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirections are followed only to addresses that may be downloaded from."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class _SpeedWatch:
    """Raises when too few bytes came within a window, however regularly they drip."""

    def __init__(self, rule: StallRule) -> None:
        self._rule = rule
        self._since = time.monotonic()
        self._bytes = 0

    def check(self, done: int, url: str) -> None:
        now = time.monotonic()
        if now - self._since < self._rule.window_s:
            return
        if done - self._bytes < self._rule.window_bytes:
            raise NetworkError(
                "the download is stuck",
                found=f"{done - self._bytes} bytes in {now - self._since:.0f} s from {url}",
                hint="try again later",
            )
        self._since, self._bytes = now, done

"""One file from the network: https, checked length and checksum, nothing half at its place."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlparse

from evpcli.domain.errors import NetworkError, StorageError
from evpcli.domain.events import WorkProgress
from evpcli.engine.files.hub import find_token, to_endpoint
from evpcli.version import __version__

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

_VERBS = {"download": "downloading", "unpack": "unpacking", "check": "checking"}


def to_work_progress(progress: Progress) -> WorkProgress:
    """The same as the verbs that train and measure show it; megabytes for a download."""
    doing = f"{_VERBS[progress.phase]} {progress.name}"
    if progress.phase != "download":
        return WorkProgress(progress.done, progress.total, doing, "files")
    total = None if progress.total is None else progress.total // 10**6
    return WorkProgress(progress.done // 10**6, total, doing, "MB")


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


@dataclass(frozen=True)
class RetryRule:
    """How often a broken transfer is tried again.

    Args:
        waits_s: seconds before each new try; a try that brought bytes starts the list again.
        most: tries of one address in all.
        longest_s: most seconds that a server may ask to wait.
    """

    waits_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    most: int = 100
    longest_s: float = 60.0


def fetch_file(
    url: str,
    target: Path,
    *,
    checksum: str | None,
    mirrors: tuple[str, ...] = (),
    on_progress: ProgressCallback | None = None,
    stall: StallRule | None = None,
    retry: RetryRule | None = None,
) -> str:
    """Download one file; it appears at `target` only when it is whole and right.

    What came before a break is kept beside it, as `.NAME.part`: the next try, also of another
    process, goes on there if the server says that the file is still the same, or if a checksum
    will tell.

    Args:
        url: https; plain http only with a checksum, or to this machine.
        target: where it goes; its folder is made.
        checksum: `md5:...` or `sha256:...`, or nothing where the source states none.
        mirrors: other addresses of the same bytes, tried in this order.
        on_progress: told about every piece.
        stall: when a try counts as stuck.
        retry: how often to try again.

    Returns:
        The SHA-256 of what came.

    Raises:
        NetworkError: refused, stuck, too short, a web page, or another checksum.
        StorageError: the disk is full or closed.
    """
    addresses = tuple(map(to_endpoint, (url, *mirrors)))
    for address in addresses:
        _check_address(address, checksum)
    transfer = _Transfer(target, checksum, on_progress, stall or StallRule(), retry or RetryRule())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for number, address in enumerate(addresses, start=1):
            try:
                digest = transfer.run(address)
                break
            except NetworkError:
                if number == len(addresses):
                    transfer.clean()
                    raise
        transfer.publish()
    except OSError as error:
        raise StorageError(
            f"cannot write {target.name}",
            found=f"{error.strerror or error} in {target.parent}",
            hint="make room, or move the cache with EVP_HOME",
        ) from error
    return digest


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


class _BrokenError(NetworkError):
    """A try failed in a way that another one may not."""

    wait_s: float | None = None


class _Transfer:
    """One file on its way, through as many tries and addresses as it takes.

    Args:
        target: where it goes in the end.
        checksum: that the source states, if any.
        on_progress: told about every piece.
        stall: when a try counts as stuck.
        retry: how often to try again.
    """

    def __init__(
        self,
        target: Path,
        checksum: str | None,
        on_progress: ProgressCallback | None,
        stall: StallRule,
        retry: RetryRule,
    ) -> None:
        self._target, self._checksum = target, checksum
        self._part = target.with_name(f".{target.name}.part")
        self._facts = target.with_name(f".{target.name}.part.json")
        self._on_progress = on_progress
        self._stall, self._retry = stall, retry

    def run(self, url: str) -> str:
        """Bring the whole file from one address into the part; its SHA-256.

        Raises:
            NetworkError: it cannot be had there.
        """
        failures = tries = 0
        while True:
            before = self._size()
            try:
                return self._try_once(url)
            except _BrokenError as error:
                tries += 1
                failures = 1 if self._size() > before else failures + 1
                if failures > len(self._retry.waits_s) or tries >= self._retry.most:
                    raise
                wait_s = self._retry.waits_s[failures - 1]
                time.sleep(min(error.wait_s or wait_s, self._retry.longest_s))

    def publish(self) -> None:
        """Put the whole file in its place."""
        os.replace(self._part, self._target)
        self._facts.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove a part that holds nothing."""
        if not self._size():
            self._discard()

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _try_once(self, url: str) -> str:
        with self._open_part() as file:
            validator = self._recall(url)
            if validator is None and self._checksum is None:
                file.truncate(0)
            digests, begun = _start_hashes(), self._size()
            file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                for digest in digests.values():
                    digest.update(chunk)
            try:
                with _ask(url, self._stall, begun, validator) as answer:
                    if begun and not _continues(answer, begun):
                        file.truncate(0)
                        digests, begun = _start_hashes(), 0
                    self._remember(url, answer)
                    self._copy(answer, file, url, digests, begun)
            finally:
                file.flush()
                os.fsync(file.fileno())
        hashes = {kind: digest.hexdigest() for kind, digest in digests.items()}
        if not matches_checksum(self._checksum, hashes):
            self._discard()
            if begun:  # the part of an earlier try may have been of another file
                raise _BrokenError("what came in two parts does not fit together", found=url)
            raise _explain_checksum(url, str(self._checksum), hashes)
        return str(hashes["sha256"])

    @contextmanager
    def _open_part(self) -> Iterator[IO[bytes]]:
        """The part, for this process alone; another one that was at it may have renamed it."""
        while True:
            with open(self._part, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if self._part.exists() and os.path.samestat(
                    os.fstat(file.fileno()), self._part.stat()
                ):
                    yield file
                    return

    def _copy(
        self,
        answer: http.client.HTTPResponse,
        file: IO[bytes],
        url: str,
        digests: dict[str, Any],
        done: int,
    ) -> None:
        name = self._target.name
        length = _read_length(answer)
        total = None if length is None else done + length
        watch = _SpeedWatch(self._stall, done)
        while chunk := _receive(answer, url):
            file.write(chunk)
            done += len(chunk)
            for digest in digests.values():
                digest.update(chunk)
            if self._on_progress:
                self._on_progress(Progress("download", name, done, total))
            watch.check(done, url)
        if total is not None and done != total:
            raise _BrokenError(
                f"the download of {name} ended early",
                found=f"{done} of {total} bytes from {url}",
                hint="try again: it goes on where it ended",
            )

    def _recall(self, url: str) -> str | None:
        """What the server said to tell that the file is still the one of which a part is here."""
        try:
            facts = json.loads(self._facts.read_text(encoding="utf-8"))
            validator = facts["validator"] if facts["url"] == url else None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return validator if isinstance(validator, str) and validator.isprintable() else None

    def _remember(self, url: str, answer: http.client.HTTPResponse) -> None:
        etag = answer.headers.get("ETag", "")
        strong = etag if etag.startswith('"') else None
        facts = {"url": url, "validator": strong or answer.headers.get("Last-Modified")}
        self._facts.write_text(json.dumps(facts), encoding="utf-8")

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._facts.unlink(missing_ok=True)


def _continues(answer: http.client.HTTPResponse, begun: int) -> bool:
    """Whether an answer goes on at the byte that was asked for; else it is the whole file."""
    if answer.status != 206:
        return False
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
        raise NetworkError(
            "the server sent another part of the file than it was asked for",
            found=str(answer.headers.get("Content-Range"))[:80],
        )
    return True


def _ask(url: str, stall: StallRule, begun: int, validator: str | None) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_SafeRedirects)
    request = urllib.request.Request(
        url, headers={"User-Agent": f"evp/{__version__}", "Accept-Encoding": "identity"}
    )
    if begun:
        request.add_header("Range", f"bytes={begun}-")
        if validator:
            request.add_header("If-Range", validator)
    if token := find_token(url):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=stall.silence_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and begun:  # a part as long as the file, or longer
            return _ask(url, stall, 0, None)
        raise _explain_refusal(url, error) from error
    except (OSError, http.client.HTTPException) as error:
        raise _explain_break(url, error) from error
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise NetworkError(
            "a web page came instead of the file",
            found=url,
            hint="a log-in page or a moved address; look at it in a browser",
        )
    return answer


def _explain_refusal(url: str, error: urllib.error.HTTPError) -> NetworkError:
    found = f"HTTP {error.code} {error.reason}"
    if error.code in (408, 425, 429) or error.code >= 500:
        broken = _BrokenError(f"the server refused {url}", found=found, hint="try again later")
        wait = error.headers.get("Retry-After", "")
        broken.wait_s = float(wait) if wait.isascii() and wait.isdigit() else None
        return broken
    return NetworkError(f"the server refused {url}", found=found)


def _receive(answer: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return answer.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _explain_break(url, error) from error


def _explain_break(url: str, error: Exception) -> NetworkError:
    reason = getattr(error, "reason", error)
    what = "the download is stuck" if isinstance(reason, TimeoutError) else "the download failed"
    return _BrokenError(what, found=f"{url}: {reason}", hint="check the network and try again")


def _read_length(answer: http.client.HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _explain_checksum(url: str, checksum: str, hashes: dict[str, str]) -> NetworkError:
    kind = checksum.partition(":")[0]
    return NetworkError(
        "what came is not the file that the catalog names",
        found=f"{kind} {hashes[kind]} from {url}, expected {checksum}",
        hint="try again; if it stays, the source has changed the file",
    )


def _check_address(url: str, checksum: str | None = None) -> None:
    parts = urlparse(url)
    is_plain = parts.scheme == "http" and (checksum or _is_loopback(parts.hostname or ""))
    if parts.scheme != "https" and not is_plain:
        raise NetworkError(
            "only https addresses are downloaded from, or http ones with a checksum", found=url
        )


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

    def __init__(self, rule: StallRule, done: int) -> None:
        self._rule = rule
        self._since = time.monotonic()
        self._bytes = done

    def check(self, done: int, url: str) -> None:
        now = time.monotonic()
        if now - self._since < self._rule.window_s:
            return
        if done - self._bytes < self._rule.window_bytes:
            raise _BrokenError(
                "the download is stuck",
                found=f"{done - self._bytes} bytes in {now - self._since:.0f} s from {url}",
                hint="try again later",
            )
        self._since, self._bytes = now, done

"""The Hugging Face hub: its address and token, and its client's errors in plain words."""

from __future__ import annotations

import os
import socket
import urllib.parse
import urllib.request

from evpcli.domain.errors import NetworkError

_HOME = "https://huggingface.co"
_CONNECT_S = 5.0


def find_endpoint() -> str:
    """The hub's address, or that of the mirror which HF_ENDPOINT names; no slash at its end."""
    return (os.environ.get("HF_ENDPOINT", "").strip() or _HOME).rstrip("/")


def to_endpoint(url: str) -> str:
    """An address on the hub as it is reached from here; every other one as it is."""
    return find_endpoint() + url.removeprefix(_HOME) if url.startswith(f"{_HOME}/") else url


def find_token(url: str) -> str | None:
    """The user's token, where the address belongs to the hub; nothing for other hosts."""
    if not url.startswith(f"{find_endpoint()}/"):
        return None
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token


def explain_hub_error(error: Exception, what: str, where: str, *, page: str = "") -> NetworkError:
    """The hub client's error in words that say what to do.

    Args:
        error: as `huggingface_hub` raised it.
        what: was to be downloaded, in the plural.
        where: file and repository, for the message; the repository comes after "of".
        page: path of the repository's kind on the site, such as `datasets/`.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository = where.rpartition(" of ")[2]
    if isinstance(error, GatedRepoError):
        return NetworkError(
            f"{what} are gated: their owner wants to know who takes them",
            found=where,
            hint=f"accept the terms at huggingface.co/{page}{repository}, then set HF_TOKEN",
        )
    if isinstance(error, RepositoryNotFoundError):
        return NetworkError(
            "the hub has no such repository, or it is private",
            found=where,
            hint="check the name; for a private one set HF_TOKEN",
        )
    missing = isinstance(error, EntryNotFoundError | RevisionNotFoundError)
    if missing and not isinstance(error, LocalEntryNotFoundError):  # which means: no connection
        return NetworkError("the hub's repository has no such file", found=where)
    return NetworkError(
        f"{what} could not be downloaded",
        found=f"{where}: {type(error).__name__}",
        hint="check the connection and try again; what was fetched so far is kept",
    )


def check_hub_reachable(what: str, hint: str) -> None:
    """Fail within seconds where the hub's client would retry for half a minute.

    Args:
        what: must be downloaded, in the plural.
        hint: what to do where nobody answers.

    Raises:
        NetworkError: nobody answers at the hub's address. Behind a proxy nothing is tried.
    """
    if urllib.request.getproxies():
        return
    address = urllib.parse.urlsplit(find_endpoint())
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise NetworkError(
            f"{what} must be downloaded and the hub does not answer",
            found=f"{address.hostname}: {error}",
            hint=hint,
        ) from error

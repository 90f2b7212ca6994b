"""Every test gets its own empty home; nothing may reach the real one or the network."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
for name in [n for n in os.environ if n.startswith("EVP_")]:
    del os.environ[name]

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def evp_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty EVP_HOME; the person's own folders are put out of reach."""
    home = tmp_path / "evp-home"
    nowhere = tmp_path / "no-such-user"
    monkeypatch.setenv("EVP_HOME", str(home))
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(nowhere / name.lower()))
    return home


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections beyond this machine fail the test that tries them."""
    connect = socket.socket.connect

    def connect_nearby(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_nearby)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Material beside the project; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the material beside the project is not here")
    return SHARED

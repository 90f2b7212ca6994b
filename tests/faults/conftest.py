"""Fixtures of the fault harness."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from evpcli.engine.prompts.registry import layout as registry_layout
from tests.faults.actions import make_home

Point = TypeVar("Point")
COUNTS: Counter[str] = Counter()
FULL = bool(os.environ.get("TORTURE"))


@pytest.fixture(scope="session")
def scratch_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one, for fsync costs nothing there."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("faults")
    with tempfile.TemporaryDirectory(dir=place, prefix="evp-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def template(scratch_disk: Path) -> Path:
    """A prepared home that is only copied."""
    return make_home(scratch_disk / "template")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch, scratch_disk: Path) -> None:
    """Nobody waits long for a writer that the test itself has stopped."""
    monkeypatch.setattr(registry_layout, "LOCK_WAIT_S", 0.0)
    monkeypatch.setenv("EVP_HOME", str(scratch_disk / "home"))


@pytest.fixture
def thin(request: pytest.FixtureRequest) -> Callable[[Sequence[Point], int], Sequence[Point]]:
    """Every n-th of many points, from another one in each test; in a full run all of them."""
    first = zlib.crc32(request.node.name.encode())

    def choose(points: Sequence[Point], step: int) -> Sequence[Point]:
        chosen = points if FULL else points[first % step :: step]
        COUNTS[f"points of {request.module.__name__}"] += len(chosen)
        return chosen

    return choose


@pytest.fixture
def count() -> Callable[[str, int], None]:
    """Adds to a number that the run tells at its end."""

    def add(what: str, number: int) -> None:
        COUNTS[what] += number

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, number in sorted(COUNTS.items()):
        terminalreporter.write_line(f"{what}: {number}")

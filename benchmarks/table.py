"""The one table: a row for each figure, its target, and whether it is met."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from evpcli import __version__

HEADERS = ("", "case", "evp", "compared with", "ratio", "target", "met")


@dataclass(frozen=True)
class Target:
    """What a figure should be.

    Args:
        limit: of the figure.
        is_least: whether the figure should be at least the limit, else at most.
        unit: of the figure, for the table.
    """

    limit: float
    is_least: bool = True
    unit: str = ""

    def is_met(self, figure: float) -> bool:
        """Whether the figure, before it is rounded, is on the right side of the limit."""
        return figure >= self.limit if self.is_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{self.unit}"


@dataclass(frozen=True)
class Row:
    """One measured case.

    Args:
        part: letter of the part of the suite.
        case: what was done.
        evp: what evp reached, with its unit.
        compared_with: what that is compared with, and what it reached.
        ratio: evp's figure by the other one; nothing where there is none.
        ratios: of each round, for their spread.
        target: what the ratio, or `judged`, should be; nothing where nothing was promised.
        judged: what the target speaks of, where that is not the ratio.
        failure: why there are no figures.
    """

    part: str
    case: str
    evp: str = ""
    compared_with: str = ""
    ratio: float | None = None
    ratios: Sequence[float] = field(default=())
    target: Target | None = None
    judged: float | None = None
    failure: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is met, in a word."""
        if self.failure:
            return "failed"
        figure = self.ratio if self.judged is None else self.judged
        if self.target is None or figure is None:
            return ""
        return "met" if self.target.is_met(figure) else "**not met**"

    def to_cells(self) -> tuple[str, ...]:
        """The row's texts, in the order of `HEADERS`."""
        evp = f"failed: {self.failure}" if self.failure else self.evp
        target = "" if self.target is None else str(self.target)
        ratio = describe_ratio(self.ratio, self.ratios)
        return (self.part, self.case, evp, self.compared_with, ratio, target, self.verdict)


@dataclass(frozen=True)
class Case:
    """What will be measured.

    Args:
        part: letter of the part of the suite.
        title: what its row is called if it fails.
        measure: gives the row.
    """

    part: str
    title: str
    measure: Callable[[], Row]

    def run(self) -> Row:
        """The row; one that says why where the measurement fails."""
        try:
            return self.measure()
        except Exception as error:  # one case must not take the others with it
            return Row(self.part, self.title, failure=explain_failure(error))


def describe_ratio(ratio: float | None, ratios: Sequence[float]) -> str:
    """The ratio, with the lowest and highest of its rounds if there were several."""
    if ratio is None:
        return ""
    if len(ratios) < 2:
        return f"{ratio:.3g}"
    return f"{ratio:.3g} ({min(ratios):.3g} to {max(ratios):.3g})"


def explain_failure(error: BaseException) -> str:
    """An error in one line that fits into a cell."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text[:160].replace("|", "/")


def format_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEADERS, ("---",) * len(HEADERS), *(row.to_cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def describe_machine(device: torch.device, *, is_quick: bool) -> str:
    """Where and when the figures were taken, in one paragraph without names of hosts or folders."""
    parts = [f"{_name_cpu()}, {os.cpu_count()} logical CPUs"]
    if device.type == "cuda":
        parts.append(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}")
    parts += [
        f"torch {torch.__version__} with {torch.get_num_threads()} threads",
        f"Python {platform.python_version()} on {platform.system()}",
        f"evp {__version__}",
        f"{datetime.now(UTC):%Y-%m-%d}",
    ]
    if hasattr(os, "getloadavg"):
        parts.append(f"load of the machine before the start {os.getloadavg()[0]:.1f}")
    text = "; ".join(parts) + "."
    if is_quick:
        text += " Taken with --quick: tiny sizes, to try the suite out; the figures mean nothing."
    return text


def _name_cpu() -> str:
    """The processor's own name where Linux tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

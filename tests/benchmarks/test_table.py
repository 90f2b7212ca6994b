"""A figure is judged before it is rounded, and a case that fails leaves a row that says why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_OWN = ("table", "timing")


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in _OWN:
        sys.modules.pop(name, None)


def test_a_ratio_just_below_its_target_is_not_met_though_it_looks_equal() -> None:
    from table import Row, Target

    row = Row("a", "case", ratio=0.89999, target=Target(0.9))
    assert row.to_cells()[4:] == ("0.9", "≥ 0.9", "**not met**")
    assert Row("a", "case", ratio=0.9, target=Target(0.9)).verdict == "met"


def test_an_upper_limit_judges_what_the_row_says_it_judges() -> None:
    from table import Row, Target

    limit = Target(0.4, is_least=False, unit=" s")
    assert str(limit) == "≤ 0.4 s"
    assert Row("d", "case", target=limit, judged=0.4).verdict == "met"
    assert Row("d", "case", target=limit, judged=0.41).verdict == "**not met**"


def test_without_a_target_nothing_is_met_or_missed() -> None:
    from table import Row

    assert Row("c", "case", ratio=0.2).verdict == ""


def test_a_failed_case_becomes_a_row_of_one_line() -> None:
    from table import Case, Row, format_table

    def fail() -> Row:
        raise RuntimeError("CUDA | out of memory\nand more")

    row = Case("a", "case", fail).run()
    assert row.verdict == "failed"
    text = format_table([row])
    assert "failed: RuntimeError: CUDA / out of memory |" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_the_machine_is_described_without_its_name_or_folders() -> None:
    import platform

    from table import describe_machine

    text = describe_machine(torch.device("cpu"), is_quick=True)
    assert torch.__version__ in text and "--quick" in text
    assert platform.node() not in text.split() and str(Path.home()) not in text


def test_rounds_alternate_and_the_first_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import timing

    clock, calls = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def make(name: str, seconds: float, pictures: int) -> timing.Work:
        def work() -> int:
            calls.append(name)
            clock[0] += seconds if len(calls) > 2 else 100
            return pictures

        return work

    ours, theirs = make("ours", 2, 10), make("theirs", 1, 10)
    speeds = timing.alternate(ours, theirs, 2, torch.device("cpu"))
    assert calls == ["theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert speeds.ours == (5, 5) and speeds.theirs == (10, 10)
    assert speeds.ratio == 0.5


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians() -> None:
    from timing import Speeds

    speeds = Speeds((10, 20, 90), (10, 40, 90))
    assert speeds.ratios == (1, 0.5, 1)
    assert speeds.ratio == 1

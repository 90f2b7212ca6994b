from __future__ import annotations

from evpcli.domain.curve import draw_sparkline, thin_out


def test_thinning_keeps_both_ends_and_the_limit() -> None:
    kept = thin_out(range(1000), 7)
    assert len(kept) == 7
    assert (kept[0], kept[-1]) == (0, 999)
    assert list(kept) == sorted(set(kept))


def test_thinning_leaves_short_curves_alone() -> None:
    assert thin_out([3, 1, 2], 3) == (3, 1, 2)


def test_sparkline_spans_all_blocks() -> None:
    assert draw_sparkline(range(8)) == "▁▂▃▄▅▆▇█"


def test_sparkline_of_equal_or_no_values() -> None:
    assert draw_sparkline([0.5, 0.5, 0.5]) == "▄▄▄"
    assert draw_sparkline([]) == ""


def test_sparkline_is_at_most_as_long_as_asked() -> None:
    assert len(draw_sparkline([float(i % 13) for i in range(5000)], 40)) == 40

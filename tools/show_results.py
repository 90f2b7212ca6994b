"""Tables and the shots curve of docs/results.md from what `evp benchmark` wrote.

usage: show_results.py rows TABLE.json            Markdown rows for the page
       show_results.py shots TABLE.json FIGURE.png
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

_SHOTS = re.compile(r"--shots (\d+)")
_STYLES = {"evp": ("#1b6ca8", "o"), "vp": ("#c1631b", "s"), "linear-probe": ("#4d4d4d", "^")}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The table's rows that have a result."""
    rows = json.loads(path.read_text())["rows"]
    return [row for row in rows if row["top1"] is not None]


def format_row(row: dict[str, Any]) -> str:
    """One row: method, mean, spread, interval, gain and the command of its first seed."""
    low, high = (f"{100 * bound:.1f}" for bound in row["interval"])
    least, most = (f"{100 * share:.1f}" for share in row["spread"])
    spread = f"{least} to {most}" if len(row["seeds"]) > 1 else ""
    cells = (
        f"`{row['method']}`",
        f"{100 * row['top1']:.1f}",
        spread,
        f"{low} to {high}",
        f"{row['difference']:+.1f}",
        f"`{row['command']}`",
    )
    return f"| {' | '.join(cells)} |"


def draw_shots(rows: list[dict[str, Any]], figure: Path) -> None:
    """Accuracy against pictures of each class, mean and range of the seeds, on a log axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves: dict[str, list[tuple[int, float, float, float]]] = defaultdict(list)
    flat = {}
    for row in rows:
        match = _SHOTS.search(row["method"])
        shares = [100 * row["top1"], *(100 * share for share in row["spread"])]
        if match:
            curves[row["method"].split()[0]].append((int(match[1]), *shares))
        else:
            flat[row["method"]] = shares[0]
    axes = pyplot.figure(figsize=(6.4, 4), dpi=120).gca()
    for name, points in curves.items():
        shots, mean, low, high = zip(*sorted(points), strict=True)
        colour, marker = _STYLES[name]
        axes.plot(shots, mean, color=colour, marker=marker, label=name)
        axes.fill_between(shots, low, high, color=colour, alpha=0.15, linewidth=0)
    for (name, share), style in zip(flat.items(), (":", "-."), strict=False):
        axes.axhline(share, color="#777777", linestyle=style, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.set_xlabel("training pictures of each class (shots)")
    axes.set_ylabel("test top-1, %")
    n, seeds = rows[0]["n"], max(len(row["seeds"]) for row in rows)
    axes.set_title(
        f"{rows[0]['dataset']}, {rows[0]['backbone']}: {seeds} seeds, n = {n}", loc="left"
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.figure.tight_layout()
    axes.figure.savefig(figure)


def main(words: list[str]) -> None:
    match words:
        case ["rows", table]:
            print("\n".join(map(format_row, read_rows(Path(table)))))
        case ["shots", table, figure]:
            draw_shots(read_rows(Path(table)), Path(figure))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

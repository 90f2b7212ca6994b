"""Accuracy against epochs of short and long schedules, from what `evp benchmark` wrote.

usage: show_epochs.py FIGURE.png FOLDER [FOLDER ...]      one panel a folder, one curve a method
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from evpcli.domain.reference import parse_prompt_ref
from evpcli.engine.prompts.prompt_file import decode_prompt
from evpcli.engine.prompts.registry.registry import Registry

_COLOURS = ("#1b6ca8", "#c1631b", "#2e8b57", "#8a4fbf", "#777777")


@dataclass(frozen=True)
class Curve:
    """The seeds of one method.

    Args:
        method: as the benchmark names it.
        test: top-1 on test of each seed, a share.
        selection: of each seed, top-1 on the selection split after each epoch.
    """

    method: str
    test: list[float]
    selection: list[list[float]]

    @property
    def label(self) -> str:
        return f"{self.method}: test {100 * mean(self.test):.1f} % ({len(self.test)} seeds)"


def read_curves(folder: Path) -> tuple[str, list[Curve]]:
    """The pair that a folder measured, and its finished methods, fewest epochs first."""
    registry = Registry(folder / "registry")
    cells = [json.loads(path.read_text()) for path in sorted(folder.glob("cells/*.json"))]
    cells = [cell for cell in cells if cell["status"] == "finished" and cell["prompt"]]
    curves = []
    for method in sorted({cell["method"] for cell in cells}):
        own = [cell for cell in cells if cell["method"] == method]
        histories = [_read_history(registry, cell["prompt"]) for cell in own]
        curves.append(Curve(method, [_read_test(cell) for cell in own], histories))
    curves.sort(key=lambda curve: len(curve.selection[0]))
    return f"{cells[0]['dataset']}, {cells[0]['backbone']}", curves


def _read_history(registry: Registry, name: str) -> list[float]:
    entry = registry.find(parse_prompt_ref(name))
    history = decode_prompt(registry.read(entry)).manifest.history
    return [record.val_top1 for record in history if record.val_top1 is not None]


def _read_test(cell: dict[str, Any]) -> float:
    [found] = [
        one for one in cell["measurements"] if (one["what"], one["split"]) == ("prompted", "test")
    ]
    return float(found["top1_correct"] / found["n"])


def draw(folders: list[Path], figure: Path) -> None:
    """One panel for each folder: mean over the seeds, and their range, on a log axis of epochs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    canvas, panels = pyplot.subplots(
        1, len(folders), figsize=(6.4 * len(folders), 4.4), dpi=110, squeeze=False
    )
    for axes, folder in zip(panels[0], folders, strict=True):
        title, curves = read_curves(folder)
        for curve, colour in zip(curves, _COLOURS, strict=False):
            columns = list(zip(*curve.selection, strict=True))
            epochs = range(1, len(columns) + 1)
            axes.plot(epochs, [100 * mean(c) for c in columns], color=colour, label=curve.label)
            low, high = ([100 * f(c) for c in columns] for f in (min, max))
            axes.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("epochs")
        axes.set_ylabel("top-1 on the selection split, %")
        axes.set_title(title, loc="left")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    canvas.tight_layout()
    canvas.savefig(figure)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    draw([Path(word) for word in sys.argv[2:]], Path(sys.argv[1]))

"""Part (e): the most memory that `evp fit` holds, beside the size of its pixel store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from processes import measure_folder, measure_peak
from table import Case, Row, Target

_ALLOWED_BYTES = 10**9
"""On top of the store's size."""


def list_memory_cases(folder: Path, find_photos: Callable[[], str]) -> list[Case]:
    """`digits` and photos, each with and without a store.

    Args:
        folder: for the homes of these processes.
        find_photos: gives a dataset's folder, made when it is first needed.
    """
    runs = MemoryRuns(folder)
    cases = []
    for name, find in (("digits", lambda: "digits"), ("photos", find_photos)):
        for has_store in (True, False):
            title = f"fit: mini, {name}, 2 epochs, {_word(has_store)}, cpu"
            cases.append(Case("e", title, partial(runs.measure, find, has_store, title)))
    return cases


class MemoryRuns:
    """Fits in processes of their own, each with an empty home.

    Args:
        folder: for the homes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fit = cache(self._fit_anew)

    def measure(self, find_dataset: Callable[[], str], has_store: bool, title: str) -> Row:
        """The peak by what is allowed: the size that the store has, or would have, and 1 GB."""
        dataset = find_dataset()
        peak, _ = self._fit(dataset, has_store)
        _, store = self._fit(dataset, True)
        allowed = store + _ALLOWED_BYTES
        return Row(
            "e",
            title,
            evp=f"peak of {peak / 1e9:.3f} GB",
            compared_with=f"store of {store / 1e9:.3f} GB and 1 GB",
            ratio=peak / allowed,
            target=Target(1.0, is_least=False),
        )

    def _fit_anew(self, dataset: str, has_store: bool) -> tuple[int, int]:
        """Bytes at the peak, and of the store afterwards."""
        home = self._folder / f"{Path(dataset).name}{_word(has_store)}"
        home.mkdir(parents=True)
        words = ["fit", "-d", dataset, "-b", "mini", "--epochs", "2", "--device", "cpu"]
        peak = measure_peak([*words, _word(has_store)], home)
        return peak, measure_folder(home / "cache" / "pixels")


def _word(has_store: bool) -> str:
    return "--store" if has_store else "--no-store"

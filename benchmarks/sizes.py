"""How much is measured: everything, or so little that only the suite itself is tried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Sizes:
    """Numbers of rounds, steps, pictures and classes.

    Args:
        rounds: that count, of most cases.
        heavy_rounds: of cases whose steps take many seconds on a CPU.
        vit_batches: batch sizes of ViT-B/32 in part (a).
        step_pictures: of a round in parts (a) and (c), roughly.
        mini_pictures: the same for `mini`, which is soon done with them.
        narrow: classes and batch size of the first ViT case of part (b).
        wide: the same of the second.
        narrow_per_class: pictures of each class by split.
        wide_per_class: the same of the second.
        plain_steps: steps a round in part (b), with ViT-B/32.
        photos_per_class: pictures of each of the ten classes of photos, by split.
        applied: photos that `apply` works on.
        starts: runs of each command in part (d), after the first.
        peak_batches: batch sizes of the share of a GPU's peak.
        peak_side: side of the square matrices that find the peak.
    """

    rounds: int = 5
    heavy_rounds: int = 3
    vit_batches: tuple[int, ...] = (32,)
    step_pictures: int = 128
    mini_pictures: int = 1280
    narrow: tuple[int, int] = (100, 32)
    wide: tuple[int, int] = (397, 64)
    narrow_per_class: Mapping[str, int] = field(
        default_factory=lambda: {"train": 4, "val": 1, "test": 1}
    )
    wide_per_class: Mapping[str, int] = field(
        default_factory=lambda: {"train": 2, "val": 1, "test": 1}
    )
    plain_steps: int = 2
    photos_per_class: Mapping[str, int] = field(
        default_factory=lambda: {"train": 42, "val": 6, "test": 12}
    )
    applied: int = 128
    starts: int = 7
    peak_batches: tuple[int, ...] = ()
    peak_side: int = 8192

    @classmethod
    def choose(cls, device_type: str, *, is_quick: bool, rounds: int | None) -> Sizes:
        """What fits the device; a GPU gets more to do in a round, since it is done sooner.

        Args:
            device_type: `cpu` or `cuda`.
            is_quick: so little that the figures mean nothing.
            rounds: in place of both numbers of rounds.
        """
        is_gpu = device_type == "cuda"
        found = _ON_GPU if is_gpu else cls()
        if is_quick:
            found = replace(_QUICK, peak_batches=(8,) if is_gpu else ())
        return replace(found, rounds=rounds, heavy_rounds=rounds) if rounds else found


_QUICK = Sizes(
    rounds=1,
    heavy_rounds=1,
    vit_batches=(4,),
    step_pictures=8,
    mini_pictures=128,
    narrow=(10, 4),
    wide=(12, 8),
    narrow_per_class={"train": 2, "val": 1, "test": 1},
    plain_steps=1,
    photos_per_class={"train": 4, "val": 1, "test": 2},
    applied=4,
    starts=1,
    peak_side=64,
)

_ON_GPU = Sizes(
    heavy_rounds=5,
    vit_batches=(32, 64, 128, 256, 512),
    step_pictures=4096,
    mini_pictures=12_800,
    narrow_per_class={"train": 41, "val": 1, "test": 20},
    plain_steps=12,
    applied=600,
    peak_batches=(256, 512),
)

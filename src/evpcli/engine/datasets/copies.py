"""Images that lie in several splits: what is measured on them was learned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from evpcli.domain.counts import say_count
from evpcli.engine.datasets.interface import Pictures, SplitName

_ORDER: tuple[SplitName, ...] = ("train", "val", "test")


def describe_copies(
    splits: Mapping[SplitName, Pictures],
    sizes: Mapping[str, int],
    hash_files: Callable[[Sequence[str]], Mapping[str, str]],
) -> tuple[str, ...]:
    """One sentence for each pair of splits that share files of the same bytes.

    Only files whose size occurs in several splits are read.

    Args:
        splits: whose `describe` gives a file's name.
        sizes: bytes of each file by name.
        hash_files: names to hashes; files that cannot be read may be missing.
    """
    names = {
        split: [splits[split].describe(i) for i in range(len(splits[split]))]
        for split in _ORDER
        if split in splits
    }
    splits_of_size: dict[int, set[SplitName]] = defaultdict(set)
    for split, members in names.items():
        for name in members:
            splits_of_size[sizes[name]].add(split)
    wanted = [n for members in names.values() for n in members if len(splits_of_size[sizes[n]]) > 1]
    hashes = hash_files(wanted)
    found = (
        _describe_pair(one, other, names[one], names[other], hashes)
        for one, other in combinations(names, 2)
    )
    return tuple(sentence for sentence in found if sentence)


def _describe_pair(
    one: SplitName,
    other: SplitName,
    own: Sequence[str],
    others: Sequence[str],
    hashes: Mapping[str, str],
) -> str | None:
    originals = {hashes[name]: name for name in reversed(own) if name in hashes}
    copies = [name for name in others if hashes.get(name) in originals]
    if not copies:
        return None
    first, original = copies[0], originals[hashes[copies[0]]]
    effect = f"accuracy on {other} is too high" if one == "train" else "they are not independent"
    several = say_count(len(copies), f"image of {other} is", f"images of {other} are")
    return f"{several} in {one} as well, such as {first} and {original}: {effect}"

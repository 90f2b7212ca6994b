"""What a classifier's own outputs are called."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_CHARACTERS = 200  # as a manifest's names


def name_source_classes(count: int, given: Sequence[str] = ()) -> tuple[str, ...]:
    """One name an output: those given, else ImageNet's for its label spaces, else `class 17`.

    Args:
        count: outputs of the classifier.
        given: names from the weights' own description; used where they are as many.
    """
    names = given if len(given) == count else _describe_imagenet(count)
    return tuple(clip_name(name) or f"class {i}" for i, name in enumerate(names))


def clip_name(name: str) -> str:
    """A name without line breaks and as short as a manifest needs it."""
    return " ".join(name.split())[:_MAX_CHARACTERS].strip()


def _describe_imagenet(count: int) -> list[str]:
    """The first synonym of each class of the ImageNet subset of that many classes."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return [""] * count
    info = ImageNetInfo(subset)
    found = [str(text).partition(",")[0] for text in info.label_descriptions()]
    return found if len(found) == count else [""] * count

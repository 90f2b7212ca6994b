"""Class names as sentences, and as one unit vector a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from evpcli.domain.errors import UsageError

_CHUNK = 512


def fill_template(template: str, class_name: str) -> str:
    """The sentence with the class name in place of `{}`."""
    return template.replace("{}", class_name)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Give the templates back if each has exactly one place for the class name.

    Raises:
        UsageError: there is none, or one lacks `{}`.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(
                "a template needs `{}` once, where the class name goes", found=repr(template[:120])
            )
    if not templates:
        raise UsageError("there is no template", hint='try --template "this is a photo of a {}"')
    return tuple(templates)


def encode_classes(
    embed_texts: Callable[[Sequence[str]], Tensor],
    class_names: Sequence[str],
    templates: Sequence[str],
) -> Tensor:
    """One unit vector a class: the mean of its sentences' unit vectors, scaled to length 1.

    Args:
        embed_texts: sentences to (sentences, width) unit vectors.
        class_names: in label order.
        templates: sentences with `{}`; several make the ensemble of the CLIP paper (section 3.1.4).

    Returns:
        (classes, width) float32.
    """
    sentences = [fill_template(t, name) for name in class_names for t in templates]
    parts = [embed_texts(sentences[i : i + _CHUNK]) for i in range(0, len(sentences), _CHUNK)]
    features = torch.cat(parts).float().view(len(class_names), len(templates), -1)
    return functional.normalize(features.mean(dim=1), dim=-1)

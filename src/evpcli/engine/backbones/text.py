"""Class names as sentences, as one unit vector a class, and classes by their best sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from evpcli.domain.templates import fill_template

_CHUNK = 512


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
    features = encode_sentences(embed_texts, sentences).view(len(class_names), len(templates), -1)
    return functional.normalize(features.mean(dim=1), dim=-1)


def encode_sentences(
    embed_texts: Callable[[Sequence[str]], Tensor], sentences: Sequence[str]
) -> Tensor:
    """Sentences to (sentences, width) float32 unit vectors, a limited number at a time."""
    parts = [embed_texts(sentences[i : i + _CHUNK]) for i in range(0, len(sentences), _CHUNK)]
    return torch.cat(parts).float()


class BestSentences(nn.Module):
    """Scores of classes from similarities to sentences: the mean of each class's best (AttrVR).

    Args:
        counts: sentences of each class; the sentences lie one class after the other.
        best_of: how many of a class's most similar sentences count; all where it has fewer.
        device: where the similarities will be.
    """

    places: Tensor  # (classes, most): where each class's sentences lie, 0 where it has fewer
    is_missing: Tensor  # (classes, most)
    chosen: Tensor  # (classes,): how many count

    def __init__(self, counts: Sequence[int], best_of: int, device: torch.device) -> None:
        super().__init__()
        sizes = torch.tensor(counts, device=device)
        slots = torch.arange(max(counts), device=device)
        starts = sizes.cumsum(0) - sizes
        is_missing = slots >= sizes[:, None]
        self._best_of = min(best_of, max(counts))
        self.register_buffer("is_missing", is_missing)
        self.register_buffer("places", (starts[:, None] + slots).masked_fill(is_missing, 0))
        self.register_buffer("chosen", sizes.clamp(max=best_of))

    def forward(self, similarities: Tensor) -> Tensor:
        """(batch, sentences) to (batch, classes)."""
        of_class = similarities[:, self.places]  # (batch, classes, most)
        of_class = of_class.masked_fill(self.is_missing, float("-inf"))
        best = of_class.topk(self._best_of, dim=-1).values
        return best.masked_fill(best.isinf(), 0).sum(dim=-1) / self.chosen

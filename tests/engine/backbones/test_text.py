from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from evpcli.engine.backbones.text import BestSentences, encode_classes


def embed(texts: Sequence[str]) -> Tensor:
    """A unit vector that depends on the letters of each text."""
    counts = torch.tensor([[t.count(c) + 0.1 for c in "abcdefgh"] for t in texts])
    return functional.normalize(counts, dim=-1)


def test_one_template_gives_the_sentences_own_vectors() -> None:
    found = encode_classes(embed, ["bad", "cafe"], ["a photo of a {}"])
    assert torch.allclose(found, embed(["a photo of a bad", "a photo of a cafe"]))


def test_several_templates_are_averaged_and_scaled_to_length_one() -> None:
    templates = ["a {}", "head of {}"]
    found = encode_classes(embed, ["bad", "cafe"], templates)
    mean = torch.stack([embed([t.format(n) for t in templates]).mean(0) for n in ("bad", "cafe")])
    assert torch.allclose(found, functional.normalize(mean, dim=-1))
    assert torch.allclose(found.norm(dim=-1), torch.ones(2))


def test_many_classes_are_encoded_in_parts_without_a_difference() -> None:
    names = [f"class {chr(97 + i % 8)}{i}" for i in range(700)]
    assert torch.allclose(encode_classes(embed, names, ["{}"]), embed(names))


@pytest.mark.parametrize("best_of", [1, 2, 9])
def test_a_class_scores_the_mean_of_its_best_sentences(best_of: int) -> None:
    counts = [3, 1, 4]
    similarities = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    found = BestSentences(counts, best_of, torch.device("cpu"))(similarities)
    for row in range(5):
        start = 0
        for column, count in enumerate(counts):
            values = sorted(similarities[row, start : start + count].tolist(), reverse=True)
            best = values[:best_of]
            assert found[row, column].item() == pytest.approx(sum(best) / len(best), abs=1e-6)
            start += count

from __future__ import annotations

import numpy as np
import pytest
import torch

from evpcli.domain.errors import IncompatibleError
from evpcli.domain.manifest import Manifest
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.rendering.prediction import build_predictor
from tests.builders import build_manifest, build_pixels
from tests.shelf import build_mini_manifest, load_mini

CPU = torch.device("cpu")


def store(manifest: Manifest) -> StoredPrompt:
    return StoredPrompt(build_pixels(manifest.to_geometry()), manifest, "0" * 64)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    manifest = build_mini_manifest()
    canvas = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = build_predictor(store(manifest), load_mini(), CPU, top=9)(canvas[None])[0]
    classifier = load_mini().build_classifier(manifest.class_names, manifest.templates)
    logits = classifier(canvas[None])[0].double().numpy()
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    expected = sorted(zip(shares, manifest.class_names, strict=True), reverse=True)
    assert [p.class_name for p in found] == [name for _, name in expected]
    assert [p.probability for p in found] == pytest.approx([share for share, _ in expected])


def test_only_the_best_classes_are_given() -> None:
    predict = build_predictor(store(build_mini_manifest()), load_mini(), CPU, top=1)
    assert [len(found) for found in predict(torch.zeros(2, 3, 64, 64))] == [1, 1]


def test_another_canvas_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="learned for another"):
        build_predictor(store(build_manifest()), load_mini(), CPU, top=1)


def test_a_prompt_without_classes_is_refused() -> None:
    manifest = build_mini_manifest(class_names=())
    with pytest.raises(IncompatibleError, match="which classes") as caught:
        build_predictor(store(manifest), load_mini(), CPU, top=1)
    assert "--classnames FILE" in str(caught.value.hint)

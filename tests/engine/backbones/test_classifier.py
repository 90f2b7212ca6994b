from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from evpcli.domain.errors import UsageError
from evpcli.engine.backbones.classifier import (
    NormalisedTower,
    count_outputs,
    leave_out,
)
from evpcli.engine.backbones.source_classes import name_source_classes
from evpcli.engine.backbones.timm_model import TimmFeatures, _find_last_layers

CPU = torch.device("cpu")
FAMILIES = [
    "resnet18",
    "mobilenetv3_small_050",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "regnetx_002",
    "efficientvit_b0",
]


def test_a_layer_is_left_out_of_the_twin_only() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    twin = leave_out(model, ["1.1"])
    images = torch.rand(5, 4)
    assert twin(images).shape == (5, 3) and model(images).shape == (5, 2)
    assert torch.equal(model[1][1](twin(images)), model(images))
    assert twin[0] is model[0] and isinstance(model[1][1], nn.Linear)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_features_without_its_last_layer(name: str) -> None:
    model = timm.create_model(name, num_classes=5).eval().requires_grad_(False)
    tower = TimmFeatures(leave_out(model, _find_last_layers(model))).eval()
    encoder = NormalisedTower(tower, (0.5,) * 3, (0.25,) * 3, CPU)
    images = torch.rand(2, 3, 224, 224)
    expected = model.forward_head(model.forward_features((images - 0.5) / 0.25), pre_logits=True)
    torch.testing.assert_close(encoder(images), expected)
    learner = copy.deepcopy(encoder).requires_grad_(True)
    learner(images).square().sum().backward()
    assert all(p.grad is not None for p in learner.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert model(images).shape == (2, 5)


def test_an_answer_that_is_not_one_score_a_class_is_refused() -> None:
    with pytest.raises(UsageError, match="one score a class"):
        count_outputs(nn.Conv2d(3, 4, 1), "thing", 8, CPU)
    with pytest.raises(UsageError, match="cannot read a canvas of 8 px"):
        count_outputs(nn.Linear(7, 4), "thing", 8, CPU)


def test_source_classes_have_imagenets_first_synonym_or_a_number() -> None:
    names = name_source_classes(1000)
    assert (names[0], names[999]) == ("tench", "toilet tissue")
    assert len(name_source_classes(11_821)) == 11_821
    assert len(name_source_classes(21_841)) == 21_841
    assert name_source_classes(3) == ("class 0", "class 1", "class 2")


def test_given_names_are_used_where_they_are_as_many_and_made_fit() -> None:
    assert name_source_classes(2, ["a\nb", "  "]) == ("a b", "class 1")
    assert name_source_classes(2, ["a", "b", "c"]) == ("class 0", "class 1")
    assert name_source_classes(1, ["x" * 999]) == ("x" * 200,)

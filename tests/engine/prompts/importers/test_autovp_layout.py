"""AutoVP: the canvas is the original project's, and what cannot be kept is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from evpcli.domain.errors import EvpError
from evpcli.engine.prompts.importers.foreign_names import ImportNames
from evpcli.engine.prompts.importers.prompt_layouts import import_prompt
from tests.engine.prompts.importers.checkpoints import Delta, build_autovp
from tests.hostile_files import save

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
CLASSES = ("cat", "dog")
CLIP = ImportNames("pets", "ViT-B/32", CLASSES)
RESNET = ImportNames("pets", "torchvision/resnet18", CLASSES)
HEAD, TEXT_HEAD = nn.Linear(1000, 2), nn.Linear(162, 2)
SINGLE, DOUBLE = [[281], [207]], [[281, 5], [207, 9]]
CLIP_KEYS = {"pretrained_model": "clip", "init_scale": 1.25}


def build_clip(mapping, **changes):
    return build_autovp(Delta(), TEXT_HEAD, mapping, **(CLIP_KEYS | changes))


def test_the_border_for_clip_lies_beside_the_mean_colour():
    document = build_clip([[0], [3]])
    delta = document["perturb_dict"]["delta"]
    prompt = import_prompt(save(document), CLIP).prompt
    assert prompt.manifest.to_geometry().window_px == 160
    images = torch.rand(2, 3, 160, 160)
    mask = functional.pad(torch.zeros(160, 160), [32] * 4, value=1)
    shown = functional.pad((images - MEAN) / STD, [32] * 4) + delta * mask
    framed = prompt.to_visual_prompt().frame(images).detach()
    assert torch.allclose(framed, shown * STD + MEAN, rtol=0, atol=1e-6)


def test_the_border_for_classifiers_is_a_sigmoid():
    document = build_autovp(Delta(), HEAD, SINGLE)
    delta = document["perturb_dict"]["delta"]
    imported = import_prompt(save(document), RESNET)
    images = torch.rand(2, 3, 192, 192)
    mask = functional.pad(torch.zeros(192, 192), [16] * 4, value=1)
    shown = functional.pad(images, [16] * 4) + delta.sigmoid() * mask
    framed = imported.prompt.to_visual_prompt().frame(images).detach()
    assert torch.allclose(framed, shown, rtol=0, atol=1e-6)
    assert imported.layout.startswith("AutoVP for classifiers")
    assert imported.prompt.manifest.method == "autovp"


def test_a_single_source_class_is_kept_as_indices():
    manifest = import_prompt(save(build_autovp(Delta(), HEAD, SINGLE)), RESNET).prompt.manifest
    assert manifest.label_map.indices == (281, 207)


def test_several_source_classes_are_averaged():
    label_map = import_prompt(save(build_autovp(Delta(), HEAD, DOUBLE)), RESNET).prompt.label_map
    outputs = torch.randn(4, 1000)
    expected = torch.stack([outputs[:, row].mean(dim=1) for row in DOUBLE], dim=1)
    assert torch.allclose(label_map(outputs), expected, atol=1e-6)


def test_a_linear_layer_is_kept():
    label_map = import_prompt(save(build_autovp(Delta(), HEAD, None)), RESNET).prompt.label_map
    outputs = torch.randn(4, 1000)
    assert torch.allclose(label_map(outputs), HEAD(outputs).detach(), atol=1e-5)


def test_texts_of_clip_are_averaged():
    imported = import_prompt(save(build_clip([[0, 2], [1, 161]])), CLIP)
    descriptions = imported.prompt.manifest.descriptions
    assert descriptions.best_of == 2
    assert descriptions.sentences[1] == ("This is a photo of a dog.", "a tattoo of the dog.")


REFUSED = {
    "trained scale": ({"resize_dict": {"scale": torch.tensor(1.2)}}, "learned its picture's scale"),
    "odd scale": ({"resize_dict": torch.zeros(2)}, "learned its picture's scale"),
    "odd picture": ({"init_scale": 1.4}, "no border of equal width"),
    "no border": ({"init_scale": 2}, "no border of equal width"),
    "huge scale": ({"init_scale": 10**400}, "no border of equal width"),
    "more sources than can be": (
        {"outmap_dict": {"layers.weight": torch.zeros(2, 50_001), "layers.bias": torch.zeros(2)}},
        "not one-to-one",
    ),
    "no scale": ({"init_scale": float("nan")}, "no size"),
    "infinite scale": ({"init_scale": float("inf")}, "no size"),
    "text as scale": ({"init_scale": "1.5"}, "no size"),
    "features": ({"pretrained_model": "clip_ViT_B_32"}, "image features"),
    "another kind of model": ({"pretrained_model": "clip"}, "another backbone"),
    "no map yet": ({"freq_check": False}, "before its label map"),
    "ragged map": ({"output_mapping": [[1], [2, 3]]}, "output_mapping"),
    "short map": ({"output_mapping": [[1]]}, "output_mapping"),
    "no map": ({"output_mapping": None}, "output_mapping"),
    "source class out of range": ({"output_mapping": [[1], [1000]]}, "source class"),
    "no head": ({"outmap_dict": {}}, "no linear layer"),
    "two deltas": ({"perturb_dict": {}}, "not one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_evp_cannot_keep_is_refused(name):
    changes, problem = REFUSED[name]
    with pytest.raises(EvpError, match=problem):
        import_prompt(save(build_autovp(Delta(), HEAD, SINGLE, **changes)), RESNET)


def test_other_refusals():
    with pytest.raises(EvpError, match="weighs 81 texts"):
        import_prompt(save(build_clip(None)), CLIP)
    with pytest.raises(EvpError, match="more texts a class"):
        import_prompt(save(build_clip([[0] * 1_001, [1] * 1_001])), CLIP)
    with pytest.raises(EvpError, match="another backbone"):
        import_prompt(save(build_clip(SINGLE)), ImportNames("pets", "ViT-B/16", CLASSES))
    with pytest.raises(EvpError, match="triangle"):
        import_prompt(save(build_autovp(Delta(), HEAD, SINGLE)), ImportNames("abide", "timm/x"))

"""VP, ILM-VP, BLM and AttrVR: what is imported makes the canvas that its own project makes."""

import pytest
import torch
from torch.nn import functional

from evpcli.domain.errors import DamagedError, EvpError, IncompatibleError, UsageError
from evpcli.engine.prompts.exporters import export_prompt
from evpcli.engine.prompts.importers.foreign_names import ImportNames
from evpcli.engine.prompts.importers.prompt_layouts import import_prompt
from evpcli.engine.prompts.prompt_file import decode_prompt, encode_prompt
from tests.engine.prompts.importers.checkpoints import (
    Pads,
    Program,
    build_attrvr,
    build_blm,
    build_ilm,
    build_vp,
)
from tests.hostile_files import save

SIDE, BORDER = 224, 30
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
CLASSES = ("cat", "dog", "sea lion")
CLIP = ImportNames("pets", "ViT-B/32", CLASSES, "best.pth")
RESNET = ImportNames("pets", "torchvision/resnet18", CLASSES, "best.pth")
MAPPING = torch.tensor([281, 207, 150])
MATRIX = torch.rand(3, 1000, generator=torch.Generator().manual_seed(1)).t()  # as BLM+ leaves it
PROGRAM = Program(SIDE, BORDER)
PADS = Pads(SIDE, BORDER)


def draw_images(side):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(5))


def add_pads(images, mean, std):
    """VP: four strips added to the normalised full picture."""
    shown = (images - mean) / std
    shown[:, :, :BORDER] += PADS.pad_up.detach()
    shown[:, :, -BORDER:] += PADS.pad_down.detach()
    shown[:, :, BORDER:-BORDER, :BORDER] += PADS.pad_left.detach()
    shown[:, :, BORDER:-BORDER, -BORDER:] += PADS.pad_right.detach()
    return shown * std + mean


def add_program(images):
    """ILM-VP and BLM for CLIP: a masked program added to the normalised full picture."""
    shown = (images - MEAN) / STD + PROGRAM.program.detach() * PROGRAM.mask
    return shown * STD + MEAN


def pad_with_sigmoid(images):
    """Padded prompts: a masked sigmoid around the picture in [0, 1]."""
    return functional.pad(images, [BORDER] * 4) + PROGRAM.program.detach().sigmoid() * PROGRAM.mask


def add_pads_imagenet(images):
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    return add_pads(images, mean, torch.tensor([0.229, 0.224, 0.225])[:, None, None])


CASES = {
    "VP for CLIP": (lambda: build_vp(PADS), CLIP, "vp", lambda x: add_pads(x, MEAN, STD)),
    "VP for classifiers": (lambda: build_vp(PADS), RESNET, "vp", add_pads_imagenet),
    "ILM-VP for CLIP": (
        lambda: build_ilm(PROGRAM, torch.tensor([0, 4, 242]), torch.optim.SGD),
        CLIP,
        "ilm-vp",
        add_program,
    ),
    "ILM-VP for classifiers": (
        lambda: build_ilm(PROGRAM, MAPPING),
        RESNET,
        "ilm-vp",
        pad_with_sigmoid,
    ),
    "BLM for classifiers": (lambda: build_blm(PROGRAM, MATRIX), RESNET, "blm", pad_with_sigmoid),
    "BLM for CLIP": (
        lambda: build_blm(PROGRAM, torch.tensor([0, 4, 8])),
        CLIP,
        "blm",
        add_program,
    ),
    "AttrVR": (lambda: build_attrvr(PROGRAM), CLIP, "attrvr", pad_with_sigmoid),
}


@pytest.mark.parametrize("name", CASES)
def test_the_canvas_is_the_original_projects(name):
    build, names, method, compose = CASES[name]
    imported = import_prompt(save(build()), names)
    prompt = imported.prompt
    images = draw_images(prompt.manifest.to_geometry().image_px)
    framed = prompt.to_visual_prompt().frame(images).detach()
    assert torch.allclose(framed, compose(images), rtol=0, atol=1e-6)
    assert imported.layout.startswith(name)
    assert (prompt.manifest.method, prompt.manifest.origin) == (method, "import")
    assert prompt.manifest.composition == ("frame" if compose is pad_with_sigmoid else "overlay")
    again = decode_prompt(encode_prompt(prompt.pixels, prompt.manifest, prompt.label_map))
    assert torch.equal(again.pixels, prompt.pixels)
    assert again.digest == prompt.digest


def read_answers(document, names):
    prompt = import_prompt(save(document), names).prompt
    return prompt.manifest, prompt.label_map


def test_a_one_to_one_map_is_kept_as_indices():
    manifest, label_map = read_answers(build_ilm(PROGRAM, MAPPING), RESNET)
    assert manifest.label_map.indices == (281, 207, 150)
    assert (manifest.label_map.kind, manifest.label_map.source_classes) == ("iterative", 1000)
    outputs = torch.randn(4, 1000)
    assert torch.equal(label_map(outputs), outputs[:, MAPPING])
    manifest, _ = read_answers(build_blm(PROGRAM, MAPPING), RESNET)
    assert (manifest.label_map.kind, manifest.label_map.indices) == ("frequency", (281, 207, 150))


def test_a_matrix_is_kept_as_tensors():
    manifest, label_map = read_answers(build_blm(PROGRAM, MATRIX), RESNET)
    outputs = torch.randn(4, 1000)
    assert torch.allclose(label_map(outputs), outputs @ MATRIX, atol=1e-5)
    assert manifest.label_map.kind == "bayesian"
    assert manifest.label_map.sha256


def test_vp_takes_a_classifiers_first_outputs():
    manifest, _ = read_answers(build_vp(PADS), RESNET)
    assert manifest.label_map.indices == (0, 1, 2)
    assert manifest.preprocessing.mean == (0.485, 0.456, 0.406)
    with pytest.raises(UsageError, match="first outputs"):
        read_answers(build_vp(PADS), ImportNames("pets", "torchvision/resnet18"))


def test_chosen_texts_become_descriptions():
    mapping = torch.tensor([0, 3 + 1, 80 * 3 + 2])  # sentence by sentence, class by class
    manifest, _ = read_answers(build_ilm(PROGRAM, mapping), CLIP)
    assert manifest.descriptions.sentences == (
        ("This is a photo of a cat.",),
        ("a bad photo of a dog.",),
        ("a tattoo of the sea lion.",),
    )
    assert (manifest.descriptions.best_of, manifest.label_map) == (1, None)


def test_a_prompt_with_one_sentence_has_no_map():
    document = build_ilm(PROGRAM, MAPPING)
    del document["mapping_sequence"]
    imported = import_prompt(save(document), CLIP)
    assert imported.prompt.manifest.descriptions is None
    assert "which sentence" in imported.notes[0]


def test_an_overlay_is_not_exported_as_reference():
    prompt = import_prompt(save(build_vp(PADS)), CLIP).prompt
    with pytest.raises(UsageError, match="on top of the picture"):
        export_prompt(prompt, "reference")


def change_mask(change):
    module = Program(SIDE, BORDER)
    change(module.mask)
    return build_blm(module, MATRIX)


def shift(mask):
    mask.copy_(torch.roll(mask, 1, dims=1))


MASKS = {
    "shifted": shift,
    "oblong": lambda mask: mask[:, 100, :].fill_(1),
    "full": lambda mask: mask.fill_(1),
    "empty": lambda mask: mask.zero_(),
    "soft": lambda mask: mask.mul_(0.5),
    "one colour": lambda mask: mask[1].zero_(),
    "nan": lambda mask: mask[:, 0].fill_(float("nan")),
}


@pytest.mark.parametrize("name", MASKS)
def test_other_masks_than_an_even_border_are_refused(name):
    with pytest.raises(DamagedError, match="mask"):
        import_prompt(save(change_mask(MASKS[name])), RESNET)


def without(document, *keys):
    return {key: value for key, value in document.items() if key not in keys}


REFUSED = {
    "VP patch": (lambda: {"state_dict": {"patch": torch.zeros(1, 3, 9, 9)}}, CLIP, DamagedError),
    "uneven pads": (
        lambda: build_vp(PADS) | {"state_dict": PADS.state_dict() | {"pad_up": torch.zeros(1)}},
        CLIP,
        DamagedError,
    ),
    "nan": (
        lambda: (
            build_vp(PADS)
            | {"state_dict": {k: v * float("nan") for k, v in PADS.state_dict().items()}}
        ),
        CLIP,
        DamagedError,
    ),
    "matrix for CLIP": (lambda: build_blm(PROGRAM, MATRIX), CLIP, UsageError),
    "no class names": (
        lambda: build_ilm(PROGRAM, MAPPING),
        ImportNames("pets", "ViT-B/32"),
        UsageError,
    ),
    "too many classes": (
        lambda: build_ilm(PROGRAM, torch.arange(4)),
        RESNET,
        IncompatibleError,
    ),
    "source class out of range": (
        lambda: build_ilm(PROGRAM, torch.tensor([0, 1, 1000])),
        RESNET,
        DamagedError,
    ),
    "more classes than outputs": (
        lambda: build_ilm(PROGRAM, torch.zeros(1_001, dtype=torch.int64)),
        ImportNames("pets", "torchvision/resnet18"),
        DamagedError,
    ),
    "text out of range": (
        lambda: build_ilm(PROGRAM, torch.tensor([0, 1, 243])),
        CLIP,
        DamagedError,
    ),
    "float indices": (
        lambda: build_ilm(PROGRAM, torch.tensor([0.0, 1.0, 2.0])),
        RESNET,
        DamagedError,
    ),
    "infinite matrix": (lambda: build_blm(PROGRAM, MATRIX / 0), RESNET, DamagedError),
    "classifier without a map": (lambda: build_attrvr(PROGRAM), RESNET, UsageError),
    "reference for a classifier": (
        lambda: {"perturbation": PROGRAM.mask * 1.0},
        RESNET,
        UsageError,
    ),
    "another canvas": (
        lambda: build_attrvr(PROGRAM),
        ImportNames("pets", "ViT-L/14@336px", CLASSES),
        IncompatibleError,
    ),
    "mini": (lambda: build_attrvr(PROGRAM), ImportNames("pets", "mini", CLASSES), UsageError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_evp_cannot_keep_is_refused(name):
    build, names, error = REFUSED[name]
    with pytest.raises(EvpError) as caught:
        import_prompt(save(build()), names)
    assert type(caught.value) is error


def test_small_canvases_are_read_where_the_backbone_leaves_it_open():
    imported = import_prompt(save(build_ilm(Program(16, 3), MAPPING)), RESNET)
    assert imported.prompt.manifest.to_geometry().window_px == 10

"""A stranger's file made a prompt: evp's own and the reference implementation's."""

import pytest
import torch

from evpcli.domain.errors import DamagedError, IncompatibleError, NotFoundError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompts.exporters import export_prompt
from evpcli.engine.prompts.importers.foreign_frames import read_frame
from evpcli.engine.prompts.importers.foreign_names import ImportNames
from evpcli.engine.prompts.importers.prompt_layouts import import_prompt
from evpcli.engine.prompts.prompt_file import decode_prompt, encode_prompt
from tests.builders import build_manifest, build_pixels
from tests.hostile_files import build_code_pickles, build_pickle_zip, build_tensor_pickle, save

PIXELS = build_pixels()
PROMPT = decode_prompt(encode_prompt(PIXELS, build_manifest()))
PAPER = FrameGeometry(224, 30)
NAMES = ImportNames("pets", "ViT-B/32", ("cat", "dog"), "reference.pth")


def import_pixels(pixels):
    return import_prompt(save({"perturbation": pixels}), NAMES).prompt


def test_a_checkpoint_of_the_reference_layout_is_imported():
    pixels = build_pixels(PAPER)
    prompt = import_pixels(pixels)
    manifest = prompt.manifest
    assert torch.equal(prompt.pixels, pixels)
    assert manifest.to_geometry() == PAPER
    assert str(manifest.key) == "pets/ViT-B/32"
    assert (manifest.origin, manifest.source) == ("import", "reference.pth")
    assert manifest.class_names == ("cat", "dog")
    assert manifest.backbone.activation == "quick-gelu"
    assert manifest.preprocessing.mean == (0.48145466, 0.4578275, 0.40821073)
    assert manifest.metrics == ()
    assert encode_prompt(prompt.pixels, manifest) is not None


@pytest.mark.shared
def test_the_public_checkpoint_is_imported(shared_folder):
    path = shared_folder / "fixtures" / "evp_format_checkpoint.pth"
    if not path.is_file():
        pytest.skip("the public checkpoint is not here")
    prompt = import_prompt(path.read_bytes(), NAMES).prompt
    expected = torch.load(path, weights_only=True)["perturbation"]
    assert torch.equal(prompt.pixels, expected)
    assert prompt.manifest.to_geometry() == PAPER


@pytest.mark.parametrize(("side", "border"), [(224, 30), (224, 1), (224, 111), (64, 9), (65, 3)])
def test_the_border_is_read_from_the_zeros(side, border):
    geometry = FrameGeometry(side, border)
    assert read_frame(build_pixels(geometry)) == geometry


def shift():
    return torch.roll(build_pixels(PAPER), 5, dims=2)


BAD_PIXELS = {
    "all zero": lambda: torch.zeros(3, 224, 224),
    "no zero": lambda: torch.ones(3, 224, 224),
    "shifted window": shift,
    "a value in the window": lambda: build_pixels(PAPER).index_fill_(2, torch.tensor([112]), 1.0),
    "oblong": lambda: torch.zeros(3, 224, 200),
    "one channel": lambda: build_pixels(PAPER)[:1],
    "two axes": lambda: torch.zeros(224, 224),
    "huge": lambda: torch.zeros(3, 2049, 2049),
    "nan": lambda: build_pixels(PAPER) * float("nan"),
    "half": lambda: build_pixels(PAPER).half(),
    "text": lambda: "perturbation",
}


@pytest.mark.parametrize("name", BAD_PIXELS)
def test_checkpoints_without_a_clean_frame_are_refused(name):
    with pytest.raises(DamagedError):
        import_pixels(BAD_PIXELS[name]())


def test_code_in_a_checkpoint_never_runs(tmp_path):
    for pickle in build_code_pickles(f"touch {tmp_path / 'canary'}").values():
        with pytest.raises(DamagedError):
            import_prompt(build_pickle_zip(pickle), NAMES)
    assert list(tmp_path.glob("canary")) == []


def test_a_checkpoint_that_lies_about_its_size_is_refused():
    pickle = build_tensor_pickle(1, (3, 2000, 2000), (0, 0, 0), key=b"perturbation")
    with pytest.raises(DamagedError):
        import_prompt(build_pickle_zip(pickle, bytes(4)), NAMES)


def test_a_checkpoint_needs_names_and_a_prompt_refuses_them():
    with pytest.raises(UsageError, match="does not say"):
        import_prompt(save({"perturbation": build_pixels(PAPER)}))
    with pytest.raises(UsageError, match="names its own"):
        import_prompt(encode_prompt(PIXELS, build_manifest()), NAMES)


@pytest.mark.parametrize(
    ("backbone", "error"),
    [
        ("ViT-X/9", NotFoundError),
        ("mini", UsageError),
        ("hf-hub:attacker/x", NotFoundError),
        ("ViT-L/14@336px", IncompatibleError),
    ],
)
def test_the_backbone_must_be_one_the_reference_knows(backbone, error):
    with pytest.raises(error):
        import_prompt(save({"perturbation": build_pixels(PAPER)}), ImportNames("pets", backbone))


def test_our_own_file_is_imported_as_it_is():
    imported = import_prompt(encode_prompt(PIXELS, build_manifest()))
    assert imported.prompt.digest == PROMPT.digest
    assert imported.data == encode_prompt(PIXELS, build_manifest())
    assert (imported.layout, imported.notes) == ("evp", ())


def test_a_checkpoint_of_no_known_layout_is_refused():
    for document in ({"weights": PIXELS}, {"format": PIXELS}, {"perturbation": PIXELS, "more": 1}):
        with pytest.raises(DamagedError, match="no prompt of a known layout"):
            import_prompt(save(document), NAMES)


def test_reference_goes_out_and_comes_in():
    pixels = build_pixels(PAPER)
    data = export_prompt(import_pixels(pixels), "reference").data
    assert torch.equal(import_prompt(data, NAMES).prompt.pixels, pixels)

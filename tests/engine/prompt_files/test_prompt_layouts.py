"""Other projects' checkpoints in, and prompts out in other formats."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from evpcli.domain.errors import DamagedError, IncompatibleError, NotFoundError, UsageError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.prompt_files.prompt_file import decode_prompt, encode_prompt
from evpcli.engine.prompt_files.prompt_layouts import (
    ImportNames,
    export_prompt,
    import_prompt,
    read_frame,
)
from tests.builders import build_manifest, build_pixels
from tests.hostile_files import build_code_pickles, build_pickle_zip, build_tensor_pickle, save

PIXELS = build_pixels()
PROMPT = decode_prompt(encode_prompt(PIXELS, build_manifest()))
PAPER = FrameGeometry(224, 30)
NAMES = ImportNames("pets", "ViT-B/32", ("cat", "dog"), "reference.pth")


def import_pixels(pixels):
    return import_prompt(save({"perturbation": pixels}), NAMES)


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
    prompt = import_prompt(path.read_bytes(), NAMES)
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
    prompt = import_prompt(encode_prompt(PIXELS, build_manifest()))
    assert prompt.digest == PROMPT.digest


def test_pt_is_exported_as_the_canonical_bytes():
    exported = export_prompt(PROMPT, "pt")
    assert exported.data == encode_prompt(PIXELS, build_manifest())
    assert exported.lost_share == 0


def test_safetensors_comes_back_as_the_same_prompt():
    data = export_prompt(PROMPT, "safetensors").data
    again = decode_prompt(data)
    assert torch.equal(again.pixels, PIXELS)
    assert (again.manifest, again.digest) == (PROMPT.manifest, PROMPT.digest)
    assert torch.equal(load_safetensors(data)["pixels"], PIXELS)


def test_npz_is_read_by_numpy():
    with np.load(io.BytesIO(export_prompt(PROMPT, "npz").data)) as archive:
        assert np.array_equal(archive["pixels"], PIXELS.numpy())
        assert json.loads(str(archive["manifest"]))["origin"] == "fit"


def test_png_holds_what_fits_and_tells_what_does_not():
    exported = export_prompt(PROMPT, "png")
    picture = np.asarray(Image.open(io.BytesIO(exported.data)))
    expected = PIXELS.clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(picture - expected).max() <= 0.5
    border = PIXELS[:, PIXELS.any(0)]
    assert exported.lost_share == pytest.approx(
        float(((border < 0) | (border > 1)).float().mean()), abs=1e-6
    )


def test_reference_is_one_key_that_torch_loads():
    document = torch.load(io.BytesIO(export_prompt(PROMPT, "reference").data), weights_only=True)
    assert list(document) == ["perturbation"]
    assert torch.equal(document["perturbation"], PIXELS)


def test_reference_goes_out_and_comes_in():
    pixels = build_pixels(PAPER)
    data = export_prompt(import_pixels(pixels), "reference").data
    assert torch.equal(import_prompt(data, NAMES).pixels, pixels)


def test_an_unknown_format_is_refused():
    with pytest.raises(UsageError, match="no such format"):
        export_prompt(PROMPT, "jpg")


def make_safetensors(**changes):
    manifest = build_manifest().model_dump_json()
    metadata = {"format": "evp-prompt", "schema_version": "1", "manifest": manifest} | changes
    return save_safetensors({"pixels": PIXELS}, metadata)


def test_every_truncation_of_a_safetensors_file_is_refused():
    data = make_safetensors()
    for percent in range(100):
        with pytest.raises(DamagedError):
            decode_prompt(data[: len(data) * percent // 100])


@pytest.mark.parametrize(
    "data",
    [
        make_safetensors() + b"\0",
        make_safetensors(format="other"),
        make_safetensors(manifest="{}"),
        make_safetensors(extra="x"),
        make_safetensors(schema_version="2"),
        make_safetensors(schema_version="x"),
        make_safetensors(pixels="a name that is also a tensor"),
        save_safetensors({"pixels": PIXELS}),
        save_safetensors({"pixels": PIXELS.half()}, {"format": "evp-prompt"}),
        save_safetensors({"pixels": PIXELS, "more": PIXELS.clone()}, {"format": "evp-prompt"}),
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (5).to_bytes(8, "little") + b"{1:2}",
        (14).to_bytes(8, "little") + b'{"pixels": {}}',
        (2).to_bytes(8, "little") + b"{]",
    ],
)
def test_odd_safetensors_are_refused(data):
    with pytest.raises(DamagedError):
        decode_prompt(data)

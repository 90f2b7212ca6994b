"""Prompts out in other formats."""

import io
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from evpcli.domain.errors import DamagedError, UsageError
from evpcli.engine.prompts.exporters import export_prompt
from evpcli.engine.prompts.label_map import LabelMap, hash_map
from evpcli.engine.prompts.prompt_file import decode_prompt, encode_prompt
from tests.builders import build_manifest, build_pixels

PIXELS = build_pixels()
PROMPT = decode_prompt(encode_prompt(PIXELS, build_manifest()))


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


def test_reference_cannot_hold_an_overlay():
    manifest = build_manifest(composition="overlay", method="vp")
    prompt = decode_prompt(encode_prompt(PIXELS, manifest))
    with pytest.raises(UsageError, match="on top of the picture"):
        export_prompt(prompt, "reference")
    assert decode_prompt(export_prompt(prompt, "pt").data).digest == prompt.digest


@pytest.mark.parametrize("format_name", ["pt", "safetensors"])
def test_a_label_map_goes_along(format_name):
    matrix = LabelMap(torch.randn(3, 5), torch.randn(3))
    record = {
        "kind": "linear",
        "source_classes": 5,
        "sha256": hash_map(matrix.weight, matrix.bias),
    }
    manifest = build_manifest(label_map=record)
    prompt = decode_prompt(encode_prompt(PIXELS, manifest, matrix))
    again = decode_prompt(export_prompt(prompt, format_name).data)
    assert again.digest == prompt.digest
    assert torch.equal(again.label_map.weight, matrix.weight)


def test_an_unknown_format_is_refused():
    with pytest.raises(UsageError, match="no such format"):
        export_prompt(PROMPT, "jpg")


def make_safetensors(**changes):
    manifest = build_manifest().model_dump_json()
    metadata = {"format": "evp-prompt", "schema_version": "1", "manifest": manifest} | changes
    return save_safetensors({"pixels": PIXELS}, metadata)


def test_every_changed_byte_of_a_safetensors_export_is_noticed():
    data = export_prompt(PROMPT, "safetensors").data
    for place, bit in itertools.product(range(len(data)), (0, 3, 6)):
        mutant = bytearray(data)
        mutant[place] ^= 1 << bit
        with pytest.raises(DamagedError):
            decode_prompt(bytes(mutant))


@pytest.mark.parametrize("told", ["", "0" * 64, "A" * 64, "0" * 63])
def test_a_wrong_seal_is_refused(told):
    with pytest.raises(DamagedError, match="changed since it was written"):
        decode_prompt(make_safetensors(sha256=told))


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

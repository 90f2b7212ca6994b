"""The prompt file and its guarded reader."""

import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from evpcli.domain.errors import DamagedError, NotFoundError
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES
from evpcli.engine.files.strict_json import MAX_JSON_BYTES
from evpcli.engine.prompts import prompt_file
from evpcli.engine.prompts.baseline_maps import BaselineMaps
from evpcli.engine.prompts.exporters import export_prompt
from evpcli.engine.prompts.label_map import MAX_MAP_VALUES, LabelMap
from evpcli.engine.prompts.prompt_file import decode_prompt, encode_prompt, read_prompt_file
from tests.builders import SMALL, build_manifest, build_pixels
from tests.hostile_files import (
    HEAD,
    build_code_pickles,
    build_pickle_zip,
    build_tensor_pickle,
    build_zip,
    save,
    save_prompt,
)

PIXELS = build_pixels()
MANIFEST = build_manifest()
SOUND = encode_prompt(PIXELS, MANIFEST)


def change_text(**changes):
    """The sound manifest's JSON text with some values replaced."""
    return json.dumps(MANIFEST.model_dump(mode="json") | changes)


def test_a_prompt_comes_back_as_it_was():
    prompt = decode_prompt(SOUND)
    assert torch.equal(prompt.pixels, PIXELS)
    assert prompt.manifest == MANIFEST
    assert prompt.digest == hashlib.sha256(SOUND).hexdigest()
    assert torch.equal(prompt.to_visual_prompt().pixels, PIXELS)


def test_equal_prompts_give_equal_bytes():
    view = torch.stack([PIXELS, PIXELS])[1].requires_grad_()
    assert encode_prompt(view, MANIFEST.model_copy()) == SOUND
    again = decode_prompt(SOUND)
    assert encode_prompt(again.pixels, again.manifest) == SOUND


def test_equal_prompts_give_equal_bytes_in_another_process():
    code = "import sys; from tests.engine.prompts.test_prompt_file import SOUND;"
    code += "sys.stdout.buffer.write(SOUND)"
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert told.stdout == SOUND


def test_anybody_can_load_it_without_evp():
    document = torch.load(io.BytesIO(SOUND), weights_only=True)
    assert document["format"] == "evp-prompt"
    assert torch.equal(document["tensors"]["pixels"], PIXELS)
    assert json.loads(document["manifest"])["class_names"] == ["zero", "one", "two"]


@pytest.mark.parametrize("side", [3, 64, 224])
def test_canvases_of_any_size(side):
    geometry = FrameGeometry(side, max(1, side // 8))
    pixels = build_pixels(geometry)
    manifest = build_manifest(geometry=geometry)
    assert torch.equal(decode_prompt(encode_prompt(pixels, manifest)).pixels, pixels)


def test_pixels_of_another_manifest_are_not_encoded():
    with pytest.raises(DamagedError):
        encode_prompt(build_pixels(seed=1), MANIFEST)


def test_a_file_is_read_through_a_link(tmp_path):
    (tmp_path / "prompt.pt").write_bytes(SOUND)
    (tmp_path / "link.pt").symlink_to("prompt.pt")
    assert read_prompt_file(tmp_path / "link.pt").digest == decode_prompt(SOUND).digest


def test_errors_name_the_file(tmp_path):
    (tmp_path / "bad.pt").write_bytes(b"")
    with pytest.raises(DamagedError) as caught:
        read_prompt_file(tmp_path / "bad.pt")
    assert caught.value.found == str(tmp_path / "bad.pt")


@pytest.mark.parametrize("way", sorted(build_code_pickles("true")))
@pytest.mark.parametrize("wrapped", [True, False], ids=["zip", "bare"])
@pytest.mark.parametrize("force", ["", "1"])
def test_code_never_runs(tmp_path, monkeypatch, way, wrapped, force):
    """P1, with the environment variable that makes torch.load unsafe by default."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    canary = tmp_path / "canary"
    pickle = build_code_pickles(f"touch {canary}")[way]
    with pytest.raises(DamagedError):
        decode_prompt(build_pickle_zip(pickle) if wrapped else pickle)
    assert not canary.exists()


def test_the_attack_would_work_on_an_ordinary_unpickler(tmp_path):
    """The harness can go red: the same file runs code where nothing guards it."""
    canary = tmp_path / "canary"
    data = build_pickle_zip(build_code_pickles(f"touch {canary}")["reduce"])
    torch.load(io.BytesIO(data), weights_only=False)
    assert canary.exists()


def deflate():
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", build_tensor_pickle(1 << 25, (1 << 25,), (1,)))
        archive.writestr("archive/data/0", bytes(1 << 27))
    return memory.getvalue()


BOMBS = {
    "bytearray": lambda: build_pickle_zip(HEAD + b"cbuiltins\nbytearray\nJ\0\0\0\x7f\x85R."),
    "nested key": lambda: build_pickle_zip(HEAD + b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."),
    "deep list": lambda: build_pickle_zip(HEAD + b"]" * 200_000 + b"a" * 199_999 + b"."),
    "deflated": deflate,
    "stride 0": lambda: build_pickle_zip(
        build_tensor_pickle(1, (40_000, 40_000), (0, 0)), bytes(4)
    ),
    "constructor": lambda: build_pickle_zip(
        HEAD + b"ctorch\nFloatTensor\nJ\x40\x9c\0\0J\x40\x9c\0\0\x86R."
    ),
    "json": lambda: save_prompt(PIXELS, "[" * 1_000_000),
    "json lists": lambda: save_prompt(PIXELS, "[" + "[]," * 1_300_000 + "1]"),
    "json number": lambda: save_prompt(PIXELS, "9" * 1_000_000),
    "long text": lambda: save_prompt(PIXELS, change_text(created_at="x" * (1 << 20))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_do_not_become_large(name):
    """P2 to P6 and P13: measured on the process's largest memory so far."""
    data = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(DamagedError):
        decode_prompt(data)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - before.ru_maxrss < 48 << 10  # KiB
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def poke(value):
    pixels = PIXELS.clone()
    pixels[0, 0, 0] = value
    return pixels


WRONG_TENSORS = {
    "half": PIXELS.half,
    "double": PIXELS.double,
    "complex": lambda: PIXELS.to(torch.complex64),
    "integer": PIXELS.int,
    "sparse": PIXELS.to_sparse,
    "meta": lambda: PIXELS.to("meta"),
    "empty": lambda: torch.empty(0),
    "view": lambda: torch.zeros(1).expand(3, 16, 16),
    "transposed": lambda: PIXELS.transpose(1, 2),
    "channels last": lambda: PIXELS.permute(1, 2, 0),
    "part of a storage": lambda: torch.stack([PIXELS, PIXELS])[1],
    "canvas": lambda: build_pixels(FrameGeometry(18, 2)),
    "four axes": lambda: PIXELS[None],
    "nan": lambda: poke(float("nan")),
    "inf": lambda: poke(float("inf")),
    "changed": lambda: poke(0.25),
    "no tensor": lambda: "pixels",
    "list": lambda: [PIXELS],
    "parameter": lambda: torch.nn.Parameter(PIXELS),
}


@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_wrong_tensors_are_refused(name):
    """P7, P8 and P10: every one is made by torch itself."""
    with pytest.raises(DamagedError):
        decode_prompt(save_prompt(WRONG_TENSORS[name](), MANIFEST))


def test_a_value_in_the_window_is_refused():
    pixels = PIXELS.clone()
    pixels[0, 8, 8] = 1
    with pytest.raises(DamagedError, match="where the image should be"):
        decode_prompt(save_prompt(pixels, build_manifest(pixels=pixels)))


WRONG_DOCUMENTS = {
    "no dict": lambda: save(PIXELS),
    "text": lambda: save("prompt"),
    "state dict": lambda: save({"weight": PIXELS, "bias": PIXELS[0]}),
    "format": lambda: save_prompt(PIXELS, MANIFEST, format="other"),
    "extra key": lambda: save_prompt(PIXELS, MANIFEST, extra=1),
    "no tensors": lambda: save_prompt(PIXELS, MANIFEST, tensors=None),
    "two tensors": lambda: save_prompt(0, MANIFEST, tensors={"pixels": PIXELS, "more": PIXELS}),
    "true as schema": lambda: save_prompt(PIXELS, MANIFEST, schema_version=True),
    "schema 0": lambda: save_prompt(PIXELS, MANIFEST, schema_version=0),
    "manifest is a number": lambda: save_prompt(PIXELS, 5),
    "manifest is a list": lambda: save_prompt(PIXELS, "[]"),
    "manifest is empty": lambda: save_prompt(PIXELS, "{}"),
    "no JSON": lambda: save_prompt(PIXELS, "{"),
    "duplicate key": lambda: save_prompt(PIXELS, change_text()[:-1] + ',"origin":"fit"}'),
    "NaN": lambda: save_prompt(PIXELS, change_text().replace("2.0", "NaN")),
    "1e999": lambda: save_prompt(PIXELS, change_text().replace("2.0", "1e999")),
    "surrogate": lambda: save_prompt(PIXELS, change_text(source="@").replace("@", "\\ud800")),
    "unknown field": lambda: save_prompt(PIXELS, change_text(run="rm -rf")),
    "canvas too small": lambda: save_prompt(
        PIXELS, change_text(geometry={"canvas_px": 16, "border_px": 8})
    ),
    "huge canvas": lambda: save_prompt(
        PIXELS, change_text(geometry={"canvas_px": 10**9, "border_px": 8})
    ),
    "more right than asked": lambda: save_prompt(
        PIXELS,
        change_text(
            metrics=[{"what": "prompted", "split": "test", "n": 0, "top1_correct": 5}],
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG_DOCUMENTS)
def test_wrong_documents_are_refused(name):
    with pytest.raises(DamagedError) as caught:
        decode_prompt(WRONG_DOCUMENTS[name]())
    assert "\n" not in caught.value.what + (caught.value.found or "")
    assert len(caught.value.what + (caught.value.found or "")) < 400


@pytest.mark.parametrize("inside", [True, False])
def test_a_newer_schema_is_told(inside):
    text = change_text(schema_version=2, novelty=1)
    data = save_prompt(PIXELS, text) if inside else save_prompt(PIXELS, text, schema_version=2)
    with pytest.raises(DamagedError, match="made by a newer evp"):
        decode_prompt(data)


STRANGERS = {
    "empty": (b"", "empty"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html>", "raw file"),
    "numpy": (b"\x93NUMPY\x01\x00", "NumPy"),
    "legacy pickle": (HEAD + b"}.", "bare pickle"),
    "png": (b"\x89PNG\r\n\x1a\n", "picture"),
    "text": (b"hello, world", "starts with"),
    "zeros": (bytes(1000), "starts with"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_strangers_are_named(name):
    data, word = STRANGERS[name]
    with pytest.raises(DamagedError) as caught:
        decode_prompt(data)
    error = caught.value
    assert word in f"{error.what} {error.found} {error.hint}"


def test_torchscript_and_npz_are_named():
    script, archive = io.BytesIO(), io.BytesIO()
    script.write(build_zip({"data.pkl": b"", "code/__torch__.py": b"", "constants.pkl": b""}))
    np.savez(archive, pixels=np.zeros(3), more=np.zeros(3))
    with pytest.raises(DamagedError, match="TorchScript"):
        decode_prompt(script.getvalue())
    with pytest.raises(DamagedError, match="NumPy"):
        decode_prompt(archive.getvalue())


@pytest.mark.parametrize("percent", range(100))
def test_truncated_at_every_percent(percent):
    with pytest.raises(DamagedError):
        decode_prompt(SOUND[: len(SOUND) * percent // 100])


def test_one_byte_too_short_or_too_long():
    for data in (SOUND[:-1], SOUND[1:], SOUND + b"\0", b"\0" + SOUND):
        with pytest.raises(DamagedError):
            decode_prompt(data)


def test_every_flipped_bit_is_noticed():
    """3,000 of the file's places, which a slower run showed for every one of 49,480."""
    places = random.Random(0).sample(range(8 * len(SOUND)), 3_000)
    for place in places:
        flipped = bytearray(SOUND)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            decode_prompt(bytes(flipped))


def test_random_mutants_raise_nothing_else():
    """Blocks cut, doubled and overwritten: refused, or a file that means the same."""
    dice = random.Random(1)
    for _ in range(1_500):
        mutant = bytearray(SOUND)
        start, length = dice.randrange(len(mutant)), dice.randrange(1, 200)
        block = dice.choice(
            [b"", dice.randbytes(length), bytes(mutant[start : start + length]) * 2]
        )
        mutant[start : start + length] = block
        try:
            assert torch.equal(decode_prompt(bytes(mutant)).pixels, PIXELS)
        except DamagedError:
            continue


def test_a_folder_pipe_device_and_loop_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(DamagedError, match="no regular file"):
            read_prompt_file(tmp_path / place)
    with pytest.raises(DamagedError):
        read_prompt_file(tmp_path / "loop")


def test_a_sparse_file_of_ten_gigabytes_is_refused_unread(tmp_path):
    with (tmp_path / "sparse.pt").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(DamagedError, match="too large"):
        read_prompt_file(tmp_path / "sparse.pt")


@pytest.mark.parametrize("name", ["absent.pt", "x" * 5_000, "a\0b", "file/below.pt"])
def test_a_missing_file_is_not_found(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotFoundError):
        read_prompt_file(tmp_path / name)


def test_the_small_geometry_is_what_the_tests_say():
    assert PIXELS.shape == (3, SMALL.canvas_px, SMALL.canvas_px)


WEIGHT = torch.linspace(-2, 2, 12).view(3, 4)
BIAS = torch.tensor([0.5, -1.0, 0.0])


def hash_values(weight=WEIGHT, bias=BIAS):
    values = (v.contiguous().numpy().astype("<f4").tobytes() for v in (weight, bias))
    return hashlib.sha256(b"".join(values)).hexdigest()


def build_map_manifest(**changes):
    """A manifest of a prompt whose label map is a matrix of three classes by four sources."""
    record = {"kind": "bayesian", "source_classes": 4, "sha256": hash_values()}
    return build_manifest(label_map=record | changes)


INDEXED = build_manifest(label_map={"kind": "frequency", "source_classes": 9, "indices": (8, 0, 3)})
MAPPED = build_map_manifest()
TENSORS = {"pixels": PIXELS, "map_weight": WEIGHT, "map_bias": BIAS}
MAP = LabelMap(WEIGHT, BIAS)
SOUND_MAP = encode_prompt(PIXELS, MAPPED, MAP)


def change_value(values):
    changed = values.clone()
    changed.view(-1)[1] += 1e-6
    return changed


def without(name):
    return {key: value for key, value in TENSORS.items() if key != name}


def test_a_matrix_map_comes_back_to_the_last_bit():
    prompt = decode_prompt(SOUND_MAP)
    assert torch.equal(prompt.label_map.weight, WEIGHT)
    assert torch.equal(prompt.label_map.bias, BIAS)
    assert prompt.manifest == MAPPED
    view = LabelMap(WEIGHT.T.contiguous().T.requires_grad_(), torch.stack([BIAS, BIAS])[1])
    assert encode_prompt(PIXELS, MAPPED, view) == SOUND_MAP
    assert encode_prompt(prompt.pixels, prompt.manifest, prompt.label_map) == SOUND_MAP


def test_a_map_of_indices_needs_no_tensor():
    label_map = LabelMap.from_indices((8, 0, 3), 9)
    data = encode_prompt(PIXELS, INDEXED, label_map)
    assert data == encode_prompt(PIXELS, INDEXED)
    assert set(torch.load(io.BytesIO(data), weights_only=True)["tensors"]) == {"pixels"}
    assert torch.equal(decode_prompt(data).label_map.weight, label_map.weight)


@pytest.mark.parametrize("manifest", [MANIFEST, INDEXED, MAPPED], ids=["none", "indices", "matrix"])
def test_safetensors_keeps_the_map(manifest):
    label_map = LabelMap(WEIGHT, BIAS) if manifest is MAPPED else None
    prompt = decode_prompt(encode_prompt(PIXELS, manifest, label_map))
    again = decode_prompt(export_prompt(prompt, "safetensors").data)
    assert again.digest == prompt.digest
    assert (again.label_map is None) == (manifest is MANIFEST)
    if again.label_map:
        assert torch.equal(again.label_map.weight, prompt.label_map.weight)
        assert torch.equal(again.label_map.bias, prompt.label_map.bias)


BASELINES = BaselineMaps(WEIGHT + 1, WEIGHT + 2)
COMPARED = build_map_manifest(baseline_sha256=BASELINES.sha256)
SOUND_BASELINES = encode_prompt(PIXELS, COMPARED, MAP, BASELINES)


def test_baseline_maps_come_back_to_the_last_bit_in_every_format():
    prompt = decode_prompt(SOUND_BASELINES)
    assert prompt.encode() == SOUND_BASELINES
    again = decode_prompt(export_prompt(prompt, "safetensors").data)
    assert again.digest == prompt.digest
    for kept in (prompt.baselines, again.baselines):
        assert torch.equal(kept.full, BASELINES.full)
        assert torch.equal(kept.blank, BASELINES.blank)


def save_baselines(**changes):
    tensors = {**TENSORS, **BASELINES.to_tensors(), **changes}
    return save_prompt(0, COMPARED, tensors={k: v for k, v in tensors.items() if v is not None})


WRONG_BASELINES = {
    "none": lambda: save_baselines(full_weight=None),
    "other": lambda: save_baselines(blank_weight=change_value(BASELINES.blank)),
    "swapped": lambda: save_baselines(full_weight=BASELINES.blank, blank_weight=BASELINES.full),
    "smaller": lambda: save_baselines(full_weight=WEIGHT[:2].clone()),
    "double": lambda: save_baselines(full_weight=BASELINES.full.double()),
    "unnamed": lambda: save_prompt(0, MAPPED, tensors=TENSORS | BASELINES.to_tensors()),
    "nan": lambda: save_prompt(
        0,
        build_map_manifest(baseline_sha256=BaselineMaps(WEIGHT.log(), WEIGHT).sha256),
        tensors=TENSORS | BaselineMaps(WEIGHT.log(), WEIGHT).to_tensors(),
    ),
}


def test_the_harness_of_wrong_baselines_can_be_sound():
    assert decode_prompt(save_baselines()).baselines is not None


@pytest.mark.parametrize("name", WRONG_BASELINES)
def test_wrong_baseline_maps_are_refused(name):
    with pytest.raises(DamagedError):
        decode_prompt(WRONG_BASELINES[name]())


def test_a_one_to_one_map_has_no_weighted_baselines():
    with pytest.raises(ValueError, match="no weighted baselines"):
        build_manifest(
            label_map={
                "kind": "frequency",
                "source_classes": 9,
                "indices": (8, 0, 3),
                "baseline_sha256": "0" * 64,
            }
        )


WRONG_MAPS = {
    "changed weight": lambda: (TENSORS | {"map_weight": change_value(WEIGHT)}, MAPPED),
    "changed bias": lambda: (TENSORS | {"map_bias": change_value(BIAS)}, MAPPED),
    "no weight": lambda: (without("map_weight"), MAPPED),
    "no bias": lambda: (without("map_bias"), MAPPED),
    "no map": lambda: ({"pixels": PIXELS}, MAPPED),
    "one more": lambda: (TENSORS | {"map_scale": BIAS.clone()}, MAPPED),
    "beside indices": lambda: (TENSORS, INDEXED),
    "without a record": lambda: (TENSORS, MANIFEST),
    "turned": lambda: (
        TENSORS | {"map_weight": WEIGHT.T.contiguous()},
        build_map_manifest(sha256=hash_values(WEIGHT.T)),
    ),
    "fewer classes": lambda: (
        TENSORS | {"map_weight": WEIGHT[:2].clone(), "map_bias": BIAS[:2].clone()},
        build_map_manifest(sha256=hash_values(WEIGHT[:2], BIAS[:2])),
    ),
    "bias of one": lambda: (
        TENSORS | {"map_bias": BIAS[:1].clone()},
        build_map_manifest(sha256=hash_values(bias=BIAS[:1])),
    ),
    "bias is a matrix": lambda: (TENSORS | {"map_bias": BIAS[None]}, MAPPED),
    "more source classes": lambda: (TENSORS, build_map_manifest(source_classes=5)),
    "double": lambda: (TENSORS | {"map_weight": WEIGHT.double()}, MAPPED),
    "no tensor": lambda: (TENSORS | {"map_bias": [0.5, -1.0, 0.0]}, MAPPED),
    "hash": lambda: (TENSORS, build_map_manifest(sha256="0" * 64)),
    "nan": lambda: (
        TENSORS | {"map_weight": WEIGHT.log()},
        build_map_manifest(sha256=hash_values(WEIGHT.log())),
    ),
    "inf": lambda: (
        TENSORS | {"map_bias": 1 / BIAS},
        build_map_manifest(sha256=hash_values(bias=1 / BIAS)),
    ),
}


@pytest.mark.parametrize("name", WRONG_MAPS)
def test_wrong_maps_are_refused(name):
    tensors, manifest = WRONG_MAPS[name]()
    with pytest.raises(DamagedError):
        decode_prompt(save_prompt(0, manifest, tensors=tensors))


@pytest.mark.parametrize("name", [name for name in WRONG_MAPS if name != "no tensor"])
def test_wrong_maps_are_refused_in_safetensors_too(name):
    tensors, manifest = WRONG_MAPS[name]()
    told = {"format": "evp-prompt", "schema_version": "1", "manifest": manifest.model_dump_json()}
    with pytest.raises(DamagedError):
        decode_prompt(save_safetensors(tensors, told))


def test_the_safetensors_harness_can_be_sound():
    told = {"format": "evp-prompt", "schema_version": "1", "manifest": MAPPED.model_dump_json()}
    assert decode_prompt(save_safetensors(TENSORS, told)).digest == decode_prompt(SOUND_MAP).digest
    assert set(load_safetensors(save_safetensors(TENSORS, told))) == set(TENSORS)


@pytest.mark.parametrize("label_map", [None, LabelMap(WEIGHT + 1, BIAS), LabelMap(WEIGHT.T, BIAS)])
def test_a_map_of_another_manifest_is_not_encoded(label_map):
    with pytest.raises(DamagedError):
        encode_prompt(PIXELS, MAPPED, label_map)
    with pytest.raises(DamagedError):
        encode_prompt(PIXELS, MANIFEST, LabelMap(WEIGHT, BIAS))


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_truncated_map_is_refused(percent):
    with pytest.raises(DamagedError):
        decode_prompt(SOUND_MAP[: len(SOUND_MAP) * percent // 100])


def test_the_largest_map_on_the_largest_canvas_can_be_written_and_read():
    geometry = FrameGeometry(2048, 1023)
    pixels, side = build_pixels(geometry), 4096
    assert side**2 == MAX_MAP_VALUES
    label_map = LabelMap(torch.rand(side, side), torch.rand(side))
    baselines = BaselineMaps(torch.rand(side, side), torch.rand(side, side))
    manifest = build_manifest(
        geometry=geometry,
        pixels=pixels,
        class_names=tuple(f"class {number}" for number in range(side)),
        label_map={
            "kind": "bayesian",
            "source_classes": side,
            "sha256": hash_values(label_map.weight, label_map.bias),
            "baseline_sha256": baselines.sha256,
        },
    )
    data = encode_prompt(pixels, manifest, label_map, baselines)
    assert len(data) + MAX_JSON_BYTES < MAX_PROMPT_BYTES
    assert torch.equal(decode_prompt(data).label_map.weight, label_map.weight)


def test_what_could_not_be_read_is_not_written(monkeypatch):
    """A file one byte too large, and a map one row too large."""
    bound = f"{prompt_file.__name__}.MAX_PROMPT_BYTES"
    monkeypatch.setattr(bound, len(SOUND_MAP) - 1)
    for refuse in (lambda: encode_prompt(PIXELS, MAPPED, MAP), lambda: decode_prompt(SOUND_MAP)):
        with pytest.raises(DamagedError, match="prompt file is too large"):
            refuse()
    monkeypatch.undo()
    monkeypatch.setattr(f"{prompt_file.__name__}.MAX_MAP_VALUES", 11)
    for refuse in (
        lambda: encode_prompt(PIXELS, MAPPED, MAP),
        lambda: decode_prompt(SOUND_MAP),
        lambda: encode_prompt(PIXELS, INDEXED),
    ):
        with pytest.raises(DamagedError, match="label map is too large"):
            refuse()

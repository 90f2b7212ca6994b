"""`evp fit` and what follows it, for a classifier with classes of its own and for VP's overlay."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from evpcli.cli import main
from evpcli.domain.manifest import Manifest
from evpcli.domain.settings import FitSettings
from evpcli.engine.datasets.catalog import load_dataset
from evpcli.engine.datasets.division import divide_dataset
from evpcli.engine.datasets.loader import PixelSource, Reading
from evpcli.engine.prompts.prompt_file import read_prompt_file
from tests.engine.backbones.test_timm_model import CFG, NAME, make_folder
from tests.small_data import write_digit_folder

SOURCES, CANVAS = 12, 32
CLASSES = ("one", "three", "two", "zero")
MAPS = {
    "frequency": [],
    "iterative": ["--label-map", "iterative"],
    "bayesian": ["--label-map", "bayesian"],
    "bayesian-plus": ["--label-map", "bayesian+"],
    "linear": ["--label-map", "linear"],
    "residual": ["--residual"],
}
WAYS = (*MAPS, "vp")
WEIGHTED = ("bayesian", "bayesian-plus")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, pictures of digits, a model's folder, and a prompt file for each way.

    VP's is for the packaged backbone, the others for a small model with random weights.
    """
    root = tmp_path_factory.mktemp("fitted")
    folder = write_digit_folder(root / "numbers", 4, 8)
    make_folder(root / "model", classes=SOURCES)
    common = [
        "fit",
        "-d",
        str(folder),
        "-b",
        "mini",
        "--epochs",
        "2",
        "--batch-size",
        "8",
        "--workers",
        "1",
        "--no-probe",
    ]
    model = ["-b", NAME, "--weights", str(root / "model"), "--canvas", str(CANVAS)]
    ways = {way: [*model, *words] for way, words in MAPS.items()} | {"vp": ["--method", "vp"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVP_HOME", str(root / "home"))
        for way, words in ways.items():
            assert main([*common, *words, "-o", str(root / f"{way}.pt")]) == 0
    return root


@pytest.fixture
def place(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, and its home in use."""
    monkeypatch.setenv("EVP_HOME", str(fitted / "home"))
    return fitted


def name_weights(way: str, place: Path) -> list[str]:
    return [] if way == "vp" else ["--weights", str(place / "model")]


def read_manifest(place: Path, way: str) -> Manifest:
    return read_prompt_file(place / f"{way}.pt").manifest


def read_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_fits_numbers_come_back(
    way: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(place, way)
    names = ["zero-shot" if way == "vp" else "mapped", "blank", "prompted"]
    if way in WEIGHTED:
        names.insert(1, "one-to-one")
    for split in ("val", "test"):
        words = ["evaluate", str(place / f"{way}.pt"), "--split", split, *name_weights(way, place)]
        found = read_json(capsys, *words)
        kept = [m for m in manifest.metrics if m.split == split]
        assert [m.what for m in kept] == names
        assert [(m["what"], m["n"], m["top1"]) for m in found["metrics"]] == [
            (m.what, m.n, m.top1) for m in kept
        ]
        assert set(found["classes"][0]) >= {names[0].replace("-", "_"), "blank", "prompted"}


def ask_timm(canvas: Tensor, folder: Path) -> Tensor:
    """The model's own scores of one canvas, without evp."""
    model = timm.create_model(NAME.removeprefix("timm/"), num_classes=SOURCES).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    mean, std = (torch.tensor(CFG[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        scores: Tensor = model((canvas[None] - mean) / std)[0]
    return scores


@pytest.mark.parametrize("way", MAPS)
def test_apply_says_what_the_files_own_numbers_say(
    way: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt, image = place / f"{way}.pt", place / "numbers" / "three" / "000.png"
    words = ["apply", str(prompt), str(image), "-o", str(tmp_path), "--to", "safetensors"]
    found = read_json(capsys, *words, "--predict", "--top", "4", *name_weights(way, place))
    [applied] = found["images"]
    canvas = load_file(applied["output"])["canvas"]
    assert canvas.shape == (3, CANVAS, CANVAS)
    scores = ask_timm(canvas, place / "model")
    document = torch.load(prompt, weights_only=True)
    record = json.loads(document["manifest"])["label_map"]
    if record["indices"]:
        assert way in ("frequency", "iterative")
        logits = scores[record["indices"]]
    else:
        logits = document["tensors"]["map_weight"] @ scores + document["tensors"]["map_bias"]
    expected = dict(zip(CLASSES, logits.softmax(0).tolist(), strict=True))
    told = {p["class"]: p["probability"] for p in applied["predictions"]}
    assert told == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("way", MAPS)
def test_inspect_shows_the_map(way: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", str(place / f"{way}.pt")]) == 0
    out = capsys.readouterr().out
    kind = {"bayesian-plus": "bayesian+", "residual": "frequency"}.get(way, way)
    assert f"{kind}, from {SOURCES} source classes" in out
    assert ("(not EVP)" in out) is (way == "residual")
    rows = dict(line.split("\t") for line in out.splitlines() if line.count("\t") == 1)
    record = read_manifest(place, way).label_map
    assert record is not None
    for name, sources in zip(CLASSES, record.sources, strict=True):
        assert rows[name] == "; ".join(sources)
        assert len(sources) == 1 if record.indices else 1 <= len(sources) <= 3


def test_the_next_command_works_as_printed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "-d", str(place / "numbers"), "-b", NAME, "--weights", str(place / "model")]
    assert main([*words, "--canvas", str(CANVAS), "--epochs", "1", "--shots", "1"]) == 0
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("next: evp inspect ")
    image = place / "numbers" / "three" / "000.png"
    for command in line.removeprefix("next: ").replace("IMAGE", str(image)).split("; "):
        extra = ["-o", str(tmp_path)] if " apply " in command else []
        assert main([*shlex.split(command)[1:], *extra]) == 0


def test_a_one_to_one_map_names_the_classes_that_it_reads(place: Path) -> None:
    record = read_manifest(place, "frequency").label_map
    assert record is not None
    assert record.sources == tuple((f"class {index}",) for index in record.indices)
    assert record.blank_indices == record.indices  # nothing moved it
    assert len(set(record.full_indices)) == len(CLASSES)
    settings = read_manifest(place, "frequency").settings
    assert (settings["label_map"].value, settings["label_map"].source) == ("frequency", "default")
    assert (settings["canvas_px"].value, settings["canvas_px"].source) == (CANVAS, "flag")


@pytest.mark.parametrize("way", [way for way in MAPS if way != "frequency"])
def test_all_maps_are_measured_against_the_same_frequency_maps(way: str, place: Path) -> None:
    plain, other = read_manifest(place, "frequency"), read_manifest(place, way)
    assert plain.label_map is not None and other.label_map is not None
    assert other.label_map.full_indices == plain.label_map.full_indices
    assert other.label_map.blank_indices == plain.label_map.blank_indices
    if way in WEIGHTED:
        kept, mapped = other.find_measurement("one-to-one"), plain.find_measurement("mapped")
        assert kept is not None and mapped is not None
        assert kept == mapped.model_copy(update={"what": "one-to-one"})
        return
    for what in ("mapped", "blank"):
        assert other.find_measurement(what) == plain.find_measurement(what)


@pytest.mark.parametrize("way", MAPS)
def test_a_weighted_map_is_measured_against_its_own_kind_on_full_images(
    way: str, place: Path
) -> None:
    """Counted here from the model's own answers to the training images, without evp's counts."""
    stored = read_prompt_file(place / f"{way}.pt")
    assert (stored.baselines is not None) is (way in WEIGHTED)
    if stored.baselines is None:
        return
    images, labels = load_training_images(place)
    answers = torch.stack([ask_timm(image, place / "model") for image in images])
    shares = answers.softmax(1)
    if way == "bayesian":
        shares = torch.nn.functional.one_hot(shares.argmax(1), SOURCES).float()
    else:  # 15 % of four classes, at least one: the largest probability of each image
        shares = torch.where(shares == shares.max(1, keepdim=True).values, shares, 0.0)
    joint = shares.T @ torch.nn.functional.one_hot(labels, len(CLASSES)).float()
    likely = joint / (joint.sum(1, keepdim=True) + 1)
    expected = (likely / likely.sum(0)).T
    torch.testing.assert_close(stored.baselines.full, expected, atol=1e-5, rtol=1e-4)


def load_training_images(place: Path) -> tuple[list[Tensor], Tensor]:
    """Full training images as the model sees them, and their labels."""
    dataset = divide_dataset(
        load_dataset(str(place / "numbers"), root=place, offline=True),
        FitSettings(lr=1.0, epochs=1, batch_size=8),
    )
    source = PixelSource(dataset.splits["train"], CANVAS, Reading(threads=1))
    with closing(source):
        batches = list(source.center_batches(64))
    images = torch.cat([batch.images for batch in batches]).float() / 255
    return list(images), torch.cat([batch.labels for batch in batches])


def test_the_probe_stands_beside_the_prompt_unless_it_is_not_wanted(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "-d", str(place / "numbers"), "-b", "mini", "--epochs", "1"]
    found = read_json(capsys, *words)
    probes = [m for m in found["metrics"] if m["what"] == "linear-probe"]
    assert [m["split"] for m in probes] == ["val", "test"]
    again = read_json(capsys, "evaluate", found["prompt"], "--baseline", "linear-probe")
    assert probes[1] in again["metrics"]
    capsys.readouterr()
    assert main(["inspect", found["prompt"]]) == 0
    assert "linear-probe" in capsys.readouterr().out
    without = read_json(capsys, *words, "--no-probe")
    assert "linear-probe" not in {m["what"] for m in without["metrics"]}


def test_another_number_of_source_classes_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_folder(tmp_path / "other", classes=SOURCES + 1)
    code = main(["evaluate", str(place / "frequency.pt"), "--weights", str(other)])
    assert code == 5
    assert "these weights differ" in capsys.readouterr().err.splitlines()[-1]


def test_vp_is_an_overlay_of_its_own_rate_and_start(place: Path) -> None:
    manifest = read_manifest(place, "vp")
    assert (manifest.method, manifest.composition) == ("vp", "overlay")
    assert manifest.to_geometry().image_px == manifest.geometry.canvas_px == 64
    found = {n: (manifest.settings[n].value, manifest.settings[n].source) for n in VP_SETTINGS}
    assert found == VP_SETTINGS
    blank, full = (manifest.find_measurement(what) for what in ("blank", "zero-shot"))
    assert blank is not None and full is not None
    assert blank.model_copy(update={"what": "zero-shot"}) == full


VP_SETTINGS = {
    "lr": (40.0, "method"),
    "init": ("normal", "method"),
    "augment": ("none", "method"),
    "flip": (False, "dataset"),
}


def test_vps_first_pixels_are_normal_values_behind_the_normalisation(
    place: Path, tmp_path: Path
) -> None:
    """A rate too small to move anything leaves the start: values over std have variance 1."""
    words = ["fit", "-d", str(place / "numbers"), "-b", "mini", "--method", "vp", "--lr", "1e-9"]
    assert main([*words, "--epochs", "1", "-o", str(tmp_path / "start.pt")]) == 0
    stored = read_prompt_file(tmp_path / "start.pt")
    border = stored.pixels[stored.to_visual_prompt().mask.expand_as(stored.pixels)].view(3, -1)
    values = border / torch.tensor(stored.manifest.preprocessing.std)[:, None]
    assert values.mean(1).abs().max() < 0.1
    assert values.std(1).tolist() == pytest.approx([1, 1, 1], abs=0.1)


def test_apply_lays_vps_border_over_the_whole_picture(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = place / "numbers" / "three" / "000.png"
    canvases = {}
    for what in ("canvas", "prompted"):
        words = ["apply", str(place / "vp.pt"), str(image), "--what", what, "--predict"]
        found = read_json(capsys, *words, "-o", str(tmp_path), "--to", "safetensors")
        canvases[what] = load_file(found["images"][0]["output"])["canvas"]
        assert len(found["images"][0]["predictions"]) == 3
    picture = Image.open(image).convert("RGB")
    assert picture.size == (24, 20)
    wide = picture.resize((77, 64), Image.Resampling.BICUBIC).crop((6, 0, 70, 64))
    expected = torch.tensor(list(wide.tobytes())).view(64, 64, 3).permute(2, 0, 1) / 255
    assert float((canvases["canvas"] - expected).abs().mean()) < 0.02  # to the canvas's edges
    pixels = read_prompt_file(place / "vp.pt").pixels
    torch.testing.assert_close(canvases["prompted"] - canvases["canvas"], pixels)

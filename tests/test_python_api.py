from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import evpcli
from evpcli.api import LoadedPrompt, Preprocess
from evpcli.cli import main
from evpcli.domain.errors import DamagedError, EvpError, ImageError, NotFoundError, UsageError
from evpcli.engine.images.decoder import decode_image, load_square
from evpcli.engine.rendering.prediction import build_predictor
from tests.engine.backbones.test_timm_model import NAME, make_folder
from tests.shelf import build_mini_manifest, load_mini, save_image, store_prompt

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


class Files(Dataset[torch.Tensor]):
    def __init__(self, files: list[Path], transform: Preprocess) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.files[index])


@pytest.fixture
def prompt() -> LoadedPrompt:
    store_prompt(build_mini_manifest())
    return evpcli.load_prompt("digits/mini")


def test_importing_the_package_loads_no_torch() -> None:
    script = "import sys, evpcli; dir(evpcli); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert "load_prompt" in dir(evpcli)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evpcli.nothing


def test_logits_are_those_of_apply(prompt: LoadedPrompt, tmp_path: Path) -> None:
    stored = store_prompt(build_mini_manifest())
    image = prompt.preprocess(save_image(tmp_path / "cat.png"))
    with torch.no_grad():
        canvas = prompt(image[None])
        shares = prompt.load_classifier()(canvas).double().softmax(dim=1)[0]
    found = build_predictor(stored, load_mini(), torch.device("cpu"), top=3)(canvas)[0]
    assert [p.class_name for p in found] == [
        prompt.class_names[i] for i in shares.argsort(descending=True).tolist()
    ]
    assert [p.probability for p in found] == pytest.approx(sorted(shares.tolist(), reverse=True))


def test_preprocess_is_the_projects_own_rule(prompt: LoadedPrompt, tmp_path: Path) -> None:
    path = save_image(tmp_path / "cat.jpg")
    expected = load_square(decode_image(path), 48).float() / 255
    assert torch.equal(prompt.preprocess(path), expected)
    assert torch.equal(prompt.preprocess(decode_image(path)), expected)


def test_workers_give_the_same_images(prompt: LoadedPrompt, tmp_path: Path) -> None:
    files = [save_image(tmp_path / f"{seed}.png", seed) for seed in range(5)]
    there = DataLoader(
        Files(files, prompt.preprocess),
        batch_size=2,
        num_workers=1,
        multiprocessing_context="spawn",
    )
    with torch.inference_mode():
        found = torch.cat([prompt(images) for images in there])
        expected = prompt(torch.stack([prompt.preprocess(file) for file in files]))
    assert torch.equal(found, expected)


def test_copies_and_pickles_are_the_same_prompt(prompt: LoadedPrompt) -> None:
    images = torch.rand(2, 3, 48, 48)
    for other in (copy.deepcopy(prompt), pickle.loads(pickle.dumps(prompt))):
        assert torch.equal(other(images), prompt(images))
        assert other.digest == prompt.digest
    assert set(prompt.state_dict()) == {"border.pixels"}


def test_only_the_border_takes_gradients(prompt: LoadedPrompt) -> None:
    classify = prompt.load_classifier()
    classify(prompt(torch.rand(2, 3, 48, 48))).sum().backward()
    assert prompt.border.pixels.grad is not None
    assert [name for name, _ in prompt.named_parameters()] == ["border.pixels"]


def test_a_prompt_is_loaded_from_text_path_or_bytes(prompt: LoadedPrompt, tmp_path: Path) -> None:
    assert main(["export", "digits/mini", "-o", str(tmp_path / "p.pt")]) == 0
    odd = tmp_path / "no-ending"
    odd.write_bytes((tmp_path / "p.pt").read_bytes())
    for form in (str(tmp_path / "p.pt"), odd, odd.read_bytes(), bytearray(odd.read_bytes())):
        assert evpcli.load_prompt(form).digest == prompt.digest


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"", DamagedError),
        (b"junk", DamagedError),
        (b"\x80\x04cos\nsystem\n.", DamagedError),
        (Path("/no/such/file"), NotFoundError),
        (None, UsageError),
        (7, UsageError),
        ("digits", UsageError),
    ],
)
def test_what_is_no_prompt_is_the_projects_error(bad: object, kind: type[EvpError]) -> None:
    with pytest.raises(kind):
        evpcli.load_prompt(bad)  # type: ignore[arg-type]


def test_cut_or_flipped_bytes_are_damage(prompt: LoadedPrompt, tmp_path: Path) -> None:
    assert main(["export", "digits/mini", "-o", str(tmp_path / "p.pt")]) == 0
    whole = (tmp_path / "p.pt").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for data in (whole[:-10], whole[10:], flipped):
        with pytest.raises(DamagedError):
            evpcli.load_prompt(data)


def check_frozen_module(classify: torch.nn.Module, canvas: torch.Tensor) -> None:
    """A module like any other, but frozen; another type shows whether all of it moves."""
    assert isinstance(classify, torch.nn.Module) and not classify.training
    assert list(classify.parameters())
    assert not any(p.requires_grad for p in classify.parameters())
    expected = classify(canvas)
    assert not classify.train().training and torch.equal(classify(canvas), expected)
    kept = {name: value.clone() for name, value in classify.state_dict().items()}
    other = copy.deepcopy(classify)
    for value in other.state_dict().values():
        value.zero_()
    other.load_state_dict(kept)
    assert torch.equal(other(canvas), expected)
    assert torch.allclose(classify.to(torch.float64)(canvas.double()).float(), expected, atol=1e-3)
    moved = other.to("meta").state_dict().values()
    assert {value.device.type for value in moved} == {"meta"}


def test_the_classifier_is_a_frozen_module(prompt: LoadedPrompt) -> None:
    canvas = prompt(torch.rand(2, 3, 48, 48)).detach()
    check_frozen_module(prompt.load_classifier(), canvas)


def test_a_mapped_classifier_moves_with_its_label_map(tmp_path: Path) -> None:
    model = make_folder(tmp_path / "model", classes=12)
    words = ["-b", NAME, "--weights", str(model), "--canvas", "32", "--label-map", "bayesian+"]
    assert main(["fit", "-d", "digits", *words, "--epochs", "1", "--shots", "2"]) == 0
    prompt = evpcli.load_prompt(f"digits/{NAME}")
    classify = prompt.load_classifier(weights=model)
    assert {"map_weight", "map_bias"} <= set(classify.state_dict())
    check_frozen_module(classify, torch.rand(2, 3, 32, 32))


def test_mistakes_are_the_projects_errors(prompt: LoadedPrompt, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"must be \(batch, 3, 48, 48\)") as caught:
        prompt(torch.rand(1, 3, 64, 64))
    assert "to 48 px" in str(caught.value.hint)
    with pytest.raises(ImageError, match=r"must be \(batch, 3, 48, 48\)") as caught:
        prompt(torch.rand(3, 48, 48))
    assert "image[None]" in str(caught.value.hint)
    with pytest.raises(ImageError, match=r"in \[0, 1\]") as caught:
        prompt(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))
    assert (caught.value.found, caught.value.exit_code) == ("uint8", 1)
    assert caught.value.hint == "divide by 255: images.float() / 255"
    with pytest.raises(NotFoundError):
        evpcli.load_prompt("pets/mini")
    hostile = tmp_path / "x.pt"
    hostile.write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(DamagedError):
        evpcli.load_prompt(hostile)


def test_the_pages_programs_run(
    prompt: LoadedPrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "digit.png")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace("num_workers=2", "num_workers=0"), names)
    assert len(blocks) == 3
    assert len(names["answers"][0]) == 1  # type: ignore[index]

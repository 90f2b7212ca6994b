"""The packaged glyph CLIP loads offline through open_clip's own factory and reads glyphs."""

import subprocess
import sys
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from evpcli.engine.backbones import mini

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SEVEN = (
    "########",
    "      ##",
    "     ## ",
    "    ##  ",
    "   ##   ",
    "   ##   ",
    "  ##    ",
    "  ##    ",
)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    mini.register_mini()
    weights = str(mini.mini_weights_path())
    loaded = open_clip.create_model(mini.MINI_MODEL_NAME, pretrained=weights)
    return loaded.eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    mini.register_mini()
    return open_clip.get_tokenizer(mini.MINI_MODEL_NAME, **mini.mini_tokenizer_kwargs())


@torch.no_grad()
def encode_classes(model: Any, tokenizer: Any) -> torch.Tensor:
    return model.encode_text(
        tokenizer([f"this is a photo of a {word}" for word in DIGIT_WORDS]), normalize=True
    )


def test_importing_mini_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'timm', 'open_clip'}"
    code = f"import sys, evpcli.engine.backbones.mini; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_packaged_files_stay_small() -> None:
    assert (
        sum(path.stat().st_size for path in mini.mini_weights_path().parent.iterdir()) <= 8_000_000
    )


def test_registering_twice_changes_nothing() -> None:
    mini.register_mini()
    before = open_clip.list_models()
    mini.register_mini()
    assert open_clip.list_models() == before


def test_weights_load_as_float32(model: nn.Module) -> None:
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_model_reports_its_preprocessing(model: Any) -> None:
    reported = open_clip.get_model_preprocess_cfg(model)
    assert tuple(reported["size"]) == (64, 64)
    assert tuple(reported["mean"]) == open_clip.OPENAI_DATASET_MEAN
    assert tuple(reported["std"]) == open_clip.OPENAI_DATASET_STD
    assert reported["interpolation"] == "bicubic"


def test_nothing_in_the_model_depends_on_the_batch(model: Any) -> None:
    assert not model.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, alone = model.encode_image(images), model.encode_image(images[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)


def test_texts_of_different_digits_differ(model: Any, tokenizer: Any) -> None:
    texts = encode_classes(model, tokenizer)
    assert texts.shape == (10, 128)
    others = texts @ texts.T - torch.eye(10)
    assert others.max() < 0.8


def test_two_names_of_a_digit_mean_the_same(model: Any, tokenizer: Any) -> None:
    with torch.no_grad():
        names = model.encode_text(
            tokenizer([f"digit {word}" for word in DIGIT_WORDS]), normalize=True
        )
        figures = model.encode_text(
            tokenizer([f"the number {digit}" for digit in range(10)]), normalize=True
        )
    words = encode_classes(model, tokenizer)
    assert (names @ words.T).argmax(1).tolist() == list(range(10))
    assert (figures @ words.T).argmax(1).tolist() == list(range(10))


def test_a_drawn_seven_is_read(model: Any, tokenizer: Any) -> None:
    pixels = torch.tensor([[float(sign == "#") for sign in row] for row in SEVEN])
    image = nn.functional.interpolate(pixels[None, None], size=(64, 64), mode="bicubic").clamp(0, 1)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN)[:, None, None]
    std = torch.tensor(open_clip.OPENAI_DATASET_STD)[:, None, None]
    with torch.no_grad():
        feature = model.encode_image((image - mean) / std, normalize=True)
    assert (feature @ encode_classes(model, tokenizer).T).argmax().item() == 7


def test_every_border_pixel_can_move_the_feature(model: Any) -> None:
    canvas = torch.zeros(1, 3, 64, 64, requires_grad=True)
    model.encode_image(canvas).square().sum().backward()
    assert canvas.grad is not None
    ring = torch.ones(64, 64, dtype=torch.bool)
    ring[9:55, 9:55] = False
    assert (canvas.grad[0].abs().sum(0)[ring] > 0).float().mean() > 0.9


def test_the_end_of_text_is_the_highest_token(model: Any, tokenizer: Any) -> None:
    tokens = tokenizer(["this is a photo of a three"])
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1 == model.vocab_size - 1
    assert tokens.shape == (1, model.context_length)
    assert tokens.max() == tokenizer.eot_token_id


@pytest.mark.parametrize(
    "text", ["", "naïve café 東京 🙂", "a\x00b", "T-shirt & 'trousers' <b>", "word " * 200]
)
def test_any_text_can_be_read(model: Any, tokenizer: Any, text: str) -> None:
    with torch.no_grad():
        feature = model.encode_text(tokenizer([text]), normalize=True)
    assert torch.isfinite(feature).all()

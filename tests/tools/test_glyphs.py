"""Training scenes are seeded, coloured as captioned, and drawn from fonts alone."""

import ast
import random
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"
TOOL_FILES = ("captions.py", "fonts.py", "glyphs.py", "train_mini.py")
FORBIDDEN = {
    "sklearn",
    "torchvision",
    "datasets",
    "tensorflow",
    "keras",
    "mnist",
    "urllib",
    "requests",
}


@pytest.fixture(autouse=True)
def tools_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def make_bank() -> torch.Tensor:
    """Two made-up faces: a square for every sign, so that no font is needed."""
    bank = torch.zeros(2, 62, 64, 64, dtype=torch.uint8)
    bank[:, :, 16:48, 16:48] = 255
    return bank


@pytest.mark.parametrize("name", TOOL_FILES)
def test_the_tools_import_no_data_set(name: str) -> None:
    tree = ast.parse((TOOLS / name).read_text())
    imports = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    imports += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    parts = {part for module in imports for part in module.split(".")}
    assert not parts & FORBIDDEN


def test_training_leaves_the_held_out_fonts_out() -> None:
    from fonts import HELD_OUT_FONTS, TRAINING_FONTS

    trained = {package.package for package in TRAINING_FONTS}
    assert not trained & {package.package for package in HELD_OUT_FONTS}
    assert len(trained) == len(TRAINING_FONTS)


def test_the_model_card_lists_every_font_with_version_and_licence() -> None:
    from fonts import HELD_OUT_FONTS, TRAINING_FONTS

    card = (TOOLS.parent / "docs" / "mini.md").read_text()
    for font in TRAINING_FONTS + HELD_OUT_FONTS:
        assert f"| {font.package} | {font.version} | {font.licence} | {len(font.files)} |" in card


def test_missing_fonts_are_named_with_the_command_that_installs_them() -> None:
    from fonts import FontPackage, MissingFontsError, find_faces

    absent = FontPackage("fonts-nowhere", "1", "OFL-1.1", "truetype/nowhere", ("Nowhere.ttf",))
    with pytest.raises(MissingFontsError, match="apt-get install fonts-nowhere"):
        find_faces((absent,))


def test_scenes_have_the_promised_shape_and_range() -> None:
    from glyphs import render_scenes

    scenes = render_scenes(make_bank(), 32, torch.Generator().manual_seed(0))
    assert scenes.images.shape == (32, 3, 64, 64)
    assert scenes.images.dtype == torch.float32
    assert scenes.images.min() >= 0
    assert scenes.images.max() <= 1
    assert scenes.glyphs.shape == scenes.inks.shape == scenes.papers.shape == (32,)
    assert (scenes.inks != scenes.papers).all()


def test_equal_seeds_give_equal_scenes() -> None:
    from glyphs import render_scenes

    first = render_scenes(make_bank(), 16, torch.Generator().manual_seed(3))
    again = render_scenes(make_bank(), 16, torch.Generator().manual_seed(3))
    other = render_scenes(make_bank(), 16, torch.Generator().manual_seed(4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.glyphs, again.glyphs)
    assert not torch.equal(first.images, other.images)


def test_every_caption_is_true_of_its_own_scene() -> None:
    from captions import find_true_pairs, write_caption

    rng = random.Random(0)
    glyphs, inks, papers = torch.arange(62), torch.arange(62) % 12, (torch.arange(62) + 5) % 12
    facts = zip(glyphs.tolist(), inks.tolist(), papers.tolist(), strict=True)
    captions = [write_caption(glyph, ink, paper, rng) for glyph, ink, paper in facts]
    assert find_true_pairs(captions, glyphs, inks, papers).diagonal().all()


def test_a_caption_with_a_colour_is_true_of_that_colour_only() -> None:
    from captions import COLOUR_NAMES, Caption, find_true_pairs

    red, blue = COLOUR_NAMES.index("red"), COLOUR_NAMES.index("blue")
    caption = Caption("a red three", glyphs=(3,), ink=red)
    glyphs, inks, papers = (
        torch.tensor([3, 3, 4]),
        torch.tensor([red, blue, red]),
        torch.tensor([0, 0, 0]),
    )
    assert find_true_pairs([caption], glyphs, inks, papers)[:, 0].tolist() == [True, False, False]


def test_letters_without_a_case_of_their_own_are_named_without_case() -> None:
    from captions import GLYPHS, list_class_names

    assert {name for name, _ in list_class_names(GLYPHS.index("O"))} == {
        "o",
        "letter o",
        "the letter o",
    }
    assert ("capital a", (GLYPHS.index("A"),)) in list_class_names(GLYPHS.index("A"))


def test_the_packaged_merges_are_those_of_the_captions() -> None:
    import gzip

    from captions import list_words
    from evpcli.engine.backbones import mini
    from train_mini import build_merges

    packed = Path(mini.mini_tokenizer_kwargs()["bpe_path"]).read_bytes()
    kept = gzip.decompress(packed).decode().split("\n")[1:]
    assert kept == [" ".join(pair) for pair in build_merges(list_words())]

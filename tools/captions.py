"""Write captions about a glyph, and say of which scenes each caption is true."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SAME_SHAPE = (
    "cosuvwxz"  # upper and lower case look alike once the size is lost: never captioned with a case
)
GLYPHS = "0123456789" + LETTERS.upper() + LETTERS
COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (0.04, 0.04, 0.04),
    "white": (0.96, 0.96, 0.96),
    "grey": (0.5, 0.5, 0.5),
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.6, 0.15),
    "blue": (0.12, 0.2, 0.85),
    "yellow": (0.95, 0.9, 0.1),
    "orange": (0.95, 0.55, 0.1),
    "purple": (0.5, 0.1, 0.6),
    "pink": (0.95, 0.55, 0.75),
    "brown": (0.45, 0.27, 0.1),
    "cyan": (0.1, 0.85, 0.9),
}
COLOUR_NAMES = tuple(COLOURS)
DEFAULT_TEMPLATE = "this is a photo of a {}"
PLAIN_TEMPLATES = (
    DEFAULT_TEMPLATE,
    DEFAULT_TEMPLATE,
    DEFAULT_TEMPLATE,
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "an image of a {}",
    "a drawing of a {}",
    "this is a {}",
    "the {}",
    "a {}",
    "{}",
)
INK_TEMPLATES = (
    "this is a photo of a {ink} {}",
    "a {ink} {}",
    "a photo of a {ink} {}",
    "a {} in {ink}",
)
PAPER_TEMPLATES = ("a {} on a {paper} background", "a photo of a {} on {paper}", "a {} on {paper}")
FULL_TEMPLATES = ("a {ink} {} on {paper}", "this is a photo of a {ink} {} on a {paper} background")


@dataclass(frozen=True)
class Caption:
    """One sentence and what it claims.

    Attributes:
        text: The sentence.
        glyphs: Indices into `GLYPHS` of which the sentence is true.
        ink: Index into `COLOUR_NAMES`, or None where it says nothing of the glyph's colour.
        paper: The same for the background.
    """

    text: str
    glyphs: tuple[int, ...]
    ink: int | None = None
    paper: int | None = None


def list_class_names(glyph: int) -> list[tuple[str, tuple[int, ...]]]:
    """The names of a glyph, each with the glyphs that it fits."""
    sign = GLYPHS[glyph]
    if sign.isdigit():
        word = DIGIT_WORDS[int(sign)]
        names = (
            word,
            word,
            word,
            f"digit {word}",
            f"number {word}",
            f"the number {word}",
            f"digit {sign}",
            f"number {sign}",
            f"the number {sign}",
            sign,
        )
        return [(name, (glyph,)) for name in names]
    letter = sign.lower()
    both = (GLYPHS.index(letter.upper()), GLYPHS.index(letter))
    names_of_both = [(f"letter {letter}", both), (f"the letter {letter}", both), (letter, both)]
    if letter in SAME_SHAPE:
        return names_of_both
    cases = ("capital", "uppercase", "big") if sign.isupper() else ("lowercase", "small", "little")
    named = [(f"{case} {letter}", (glyph,)) for case in cases] + [
        (f"{case} letter {letter}", (glyph,)) for case in cases
    ]
    return names_of_both + named


def write_caption(glyph: int, ink: int, paper: int, rng: random.Random) -> Caption:
    """A random true sentence about a glyph drawn in `ink` on `paper`."""
    name, glyphs = rng.choice(list_class_names(glyph))
    kind = rng.random()
    if kind < 0.7:
        return Caption(rng.choice(PLAIN_TEMPLATES).format(name), glyphs)
    colours = {"ink": COLOUR_NAMES[ink], "paper": COLOUR_NAMES[paper]}
    if kind < 0.85:
        return Caption(rng.choice(INK_TEMPLATES).format(name, **colours), glyphs, ink=ink)
    if kind < 0.95:
        return Caption(rng.choice(PAPER_TEMPLATES).format(name, **colours), glyphs, paper=paper)
    return Caption(rng.choice(FULL_TEMPLATES).format(name, **colours), glyphs, ink, paper)


def find_true_pairs(
    captions: list[Caption], glyphs: Tensor, inks: Tensor, papers: Tensor
) -> Tensor:
    """Which caption is true of which scene.

    Args:
        captions: One per column.
        glyphs: (scenes,) indices into `GLYPHS`.
        inks: (scenes,) indices into `COLOUR_NAMES`.
        papers: (scenes,) indices into `COLOUR_NAMES`.

    Returns:
        (scenes, captions) boolean.
    """
    fits = torch.zeros(len(GLYPHS), len(captions), dtype=torch.bool)
    for column, caption in enumerate(captions):
        fits[list(caption.glyphs), column] = True
    said_ink = torch.tensor([-1 if c.ink is None else c.ink for c in captions])
    said_paper = torch.tensor([-1 if c.paper is None else c.paper for c in captions])
    ink_fits = (said_ink == -1) | (said_ink == inks[:, None])
    paper_fits = (said_paper == -1) | (said_paper == papers[:, None])
    return fits[glyphs] & ink_fits & paper_fits


def list_words() -> list[str]:
    """Every word that a caption can hold, sorted: what the tokenizer is built from."""
    names = [name for glyph in range(len(GLYPHS)) for name, _ in list_class_names(glyph)]
    templates = PLAIN_TEMPLATES + INK_TEMPLATES + PAPER_TEMPLATES + FULL_TEMPLATES
    text = " ".join([*names, *COLOUR_NAMES, *(t.format("", ink="", paper="") for t in templates)])
    return sorted(set(text.split()))

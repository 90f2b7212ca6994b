"""Train `mini`, the packaged glyph CLIP, again from fonts: `python tools/train_mini.py`."""

import argparse
import gzip
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from captions import (
    DEFAULT_TEMPLATE,
    DIGIT_WORDS,
    GLYPHS,
    find_true_pairs,
    list_class_names,
    list_words,
    write_caption,
)
from evpcli.engine.backbones import mini
from fonts import HELD_OUT_FONTS, TRAINING_FONTS, MissingFontsError, find_faces
from glyphs import CANVAS, Scenes, draw_bank, render_scenes


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the fonts and the versions of the libraries."""

    seed: int = 0
    threads: int = 2
    steps: int = 2000
    batch: int = 128
    lr: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    token_std: float = 0.3  # at open_clip's 0.02 all class texts start alike and learning stalls
    label_smoothing: float = 0.02
    max_logit_scale: float = 3.9  # the scale itself stays below 50
    embed_dim: int = 128
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    context_length: int = 24
    check_every: int = 500
    held_out_scenes: int = 2048


def build_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges that make one token of every word; others fall back to pieces and bytes."""
    spelled = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for parts in spelled.values() for pair in pairwise(parts))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = {word: _join(parts, best) for word, parts in spelled.items()}


def _join(parts: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for part in parts:
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def write_tokenizer_and_config(recipe: Recipe) -> None:
    """Write the merges and open_clip's model configuration into the package."""
    merges = build_merges(list_words())
    lines = ["# merges of evp-mini", *(" ".join(pair) for pair in merges)]
    packed = gzip.compress(
        "\n".join(lines).encode(), mtime=0
    )  # no last newline: it would be read as a merge
    Path(mini.mini_tokenizer_kwargs()["bpe_path"]).write_bytes(packed)
    config = {
        "embed_dim": recipe.embed_dim,
        "vision_cfg": {
            "timm_model_name": "evp_mini_tower",
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": CANVAS,
        },
        "text_cfg": {
            "context_length": recipe.context_length,
            "vocab_size": 2 * 256 + len(merges) + 2,
            "width": recipe.text_width,
            "heads": recipe.text_heads,
            "layers": recipe.text_layers,
        },
    }
    mini.mini_config_path().write_text(json.dumps(config, indent=2) + "\n")


def build_model(recipe: Recipe) -> nn.Module:
    """The untrained model, with a batch normalisation after each convolution while it trains."""
    mini.register_mini()
    model = open_clip.create_model(mini.MINI_MODEL_NAME)
    nn.init.normal_(model.token_embedding.weight, std=recipe.token_std)
    convs = model.visual.trunk.convs
    for index, layer in enumerate(convs):
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            convs[index] = nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))
    return model


def fold_batch_norm(model: nn.Module) -> None:
    """Put each batch normalisation into the convolution before it, in place."""
    model.eval()
    convs = model.visual.trunk.convs
    for index, layer in enumerate(convs):
        if isinstance(layer, nn.Sequential):
            convs[index] = fuse_conv_bn_eval(layer[0], layer[1])


def normalise(images: Tensor) -> Tensor:
    """[0, 1] to what the model expects: CLIP's own mean and deviation, which open_clip assumes."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (images - mean) / std


def measure_loss(
    model: nn.Module, scenes: Scenes, tokens: Tensor, truth: Tensor, smoothing: float
) -> Tensor:
    """CLIP's symmetric loss, where every caption that is true of an image counts as its pair."""
    image_features = model.encode_image(normalise(scenes.images), normalize=True)
    text_features = model.encode_text(tokens, normalize=True)
    logits = model.logit_scale.exp() * image_features @ text_features.T  # (images, captions)
    target = truth.float()
    to_text = functional.cross_entropy(
        logits, target / target.sum(1, keepdim=True), label_smoothing=smoothing
    )
    to_image = functional.cross_entropy(
        logits.T, target.T / target.T.sum(1, keepdim=True), label_smoothing=smoothing
    )
    return (to_text + to_image) / 2


@torch.no_grad()
def measure_accuracy(
    model: nn.Module, scenes: Scenes, tokenizer: open_clip.SimpleTokenizer
) -> dict[str, float]:
    """Share of scenes named rightly: digits among ten words, all glyphs among all names."""
    model.eval()
    images = torch.cat(
        [model.encode_image(normalise(part), normalize=True) for part in scenes.images.split(256)]
    )
    first_names = {}
    for glyph in range(len(GLYPHS)):
        name, fits = list_class_names(glyph)[0 if GLYPHS[glyph].isdigit() else -1]
        first_names[name] = fits
    names = list(first_names)
    texts = model.encode_text(
        tokenizer([DEFAULT_TEMPLATE.format(name) for name in names]), normalize=True
    )
    is_digit = scenes.glyphs < len(DIGIT_WORDS)
    of_ten = (images[is_digit] @ texts[: len(DIGIT_WORDS)].T).argmax(1)
    of_all = (images @ texts.T).argmax(1)
    right = [
        glyph in first_names[names[index]]
        for glyph, index in zip(scenes.glyphs.tolist(), of_all.tolist(), strict=True)
    ]
    model.train()
    return {
        "digits": (of_ten == scenes.glyphs[is_digit]).float().mean().item(),
        "all": sum(right) / len(right),
    }


def build_optimizer(
    model: nn.Module, recipe: Recipe
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, linear warm-up, then a cosine to zero; only matrices and kernels decay."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=recipe.warmup_steps)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.steps - recipe.warmup_steps
    )
    return optimizer, torch.optim.lr_scheduler.SequentialLR(
        optimizer, [warmup, cosine], [recipe.warmup_steps]
    )


def train(recipe: Recipe, checkpoint: Path) -> tuple[nn.Module, dict[str, float]]:
    """The trained model and its accuracy on fonts that it never saw.

    Args:
        recipe: The run.
        checkpoint: Where the unfolded weights are kept after every check.
    """
    torch.manual_seed(recipe.seed)
    rng, words = torch.Generator().manual_seed(recipe.seed), random.Random(recipe.seed)
    bank = draw_bank(find_faces(TRAINING_FONTS))
    held_out_rng = torch.Generator().manual_seed(recipe.seed + 1)
    held_out = render_scenes(
        draw_bank(find_faces(HELD_OUT_FONTS)), recipe.held_out_scenes, held_out_rng
    )
    model = build_model(recipe).train()
    tokenizer = open_clip.get_tokenizer(mini.MINI_MODEL_NAME, **mini.mini_tokenizer_kwargs())
    optimizer, schedule = build_optimizer(model, recipe)
    accuracy, started, losses = {"digits": 0.0, "all": 0.0}, time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        scenes = render_scenes(bank, recipe.batch, rng)
        facts = zip(
            scenes.glyphs.tolist(), scenes.inks.tolist(), scenes.papers.tolist(), strict=True
        )
        captions = [write_caption(glyph, ink, paper, words) for glyph, ink, paper in facts]
        truth = find_true_pairs(captions, scenes.glyphs, scenes.inks, scenes.papers)
        tokens = tokenizer([caption.text for caption in captions])
        loss = measure_loss(model, scenes, tokens, truth, recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=recipe.max_logit_scale)
        losses += loss.item()
        if step % 100 == 0:
            speed = step * recipe.batch / (time.monotonic() - started)
            print(f"step {step} loss {losses / 100:.3f} {speed:.0f} images/s", flush=True)
            losses = 0.0
        if step % recipe.check_every == 0 or step == recipe.steps:
            accuracy = measure_accuracy(model, held_out, tokenizer)
            print(f"step {step} held-out fonts: {accuracy}", flush=True)
            torch.save(model.state_dict(), checkpoint)
    return model, accuracy


def save_weights(model: nn.Module, recipe: Recipe, accuracy: dict[str, float]) -> None:
    """Fold, halve to float16 and write the weights with the recipe beside them."""
    fold_batch_norm(model)
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    metadata = {"recipe": json.dumps(asdict(recipe)), "held_out_fonts": json.dumps(accuracy)}
    save_file(tensors, mini.mini_weights_path(), metadata=metadata)
    mini.mini_weights_path().chmod(0o644)  # safetensors writes for the owner alone


def main() -> int:
    """Train with the recipe above; `--steps` is for a quick trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--checkpoint", type=Path, default=Path("mini_checkpoint.pt"))
    options = parser.parse_args()
    recipe = Recipe(steps=options.steps)
    torch.set_num_threads(recipe.threads)
    try:
        find_faces(TRAINING_FONTS + HELD_OUT_FONTS)
    except MissingFontsError as error:
        print(error, file=sys.stderr)
        return 1
    write_tokenizer_and_config(recipe)
    model, accuracy = train(recipe, options.checkpoint)
    save_weights(model, recipe, accuracy)
    return 0


if __name__ == "__main__":
    sys.exit(main())

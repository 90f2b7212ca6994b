"""Local weights set into a CLIP: every tensor must fit as it is, none is resampled."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from evpcli.domain.errors import IncompatibleError
from evpcli.engine.backbones.checkpoint import read_checkpoint
from evpcli.engine.backbones.classifier import build_fitting

_PROGRAM_SETTINGS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's programs keep among their weights; open_clip drops them, too."""

_POSITIONS = ("visual.positional_embedding", "visual.attnpool.positional_embedding")


def build_with_local(
    build: Callable[[], nn.Module], path: Path, name: str, canvas_px: int
) -> nn.Module:
    """A frozen CLIP with the tensors of a local file, in evaluation mode.

    Args:
        build: makes the model with random weights.
        path: a safetensors file, or a state dict or training checkpoint by `torch.save`.
        name: of the backbone, for errors.
        canvas_px: side of its input; 0 where it is not known.

    Raises:
        IncompatibleError: the file cannot be read, is for another canvas, or a tensor is missing,
            too many or of another shape; names the first.
    """
    tensors = read_checkpoint(path)
    with _quiet_open_clip():
        model = build()
    tensors = _follow_layout(model, tensors)
    _check_canvas(model, tensors, path, name, canvas_px)
    return build_fitting(lambda: model, tensors, path)


def _follow_layout(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers under the names and in the shapes of this model, as open_clip does it."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    wanted = model.state_dict()
    named: dict[str, Tensor] = convert_state_dict(model, tensors)
    if "positional_embedding" in named and "positional_embedding" not in wanted:
        named = convert_to_custom_text_state_dict(named)
    for setting in _PROGRAM_SETTINGS:
        if setting not in wanted:
            named.pop(setting, None)
    for scalar in ("logit_scale", "logit_bias"):
        if scalar in named and scalar in wanted and named[scalar].numel() == 1:
            named[scalar] = named[scalar].reshape(wanted[scalar].shape)
    return named


def _check_canvas(
    model: nn.Module, tensors: dict[str, Tensor], path: Path, name: str, canvas_px: int
) -> None:
    """Refuse the position embedding of another canvas, which open_clip would resample."""
    wanted = model.state_dict()
    for key in _POSITIONS:
        if key not in wanted or key not in tensors or wanted[key].shape == tensors[key].shape:
            continue
        own, given = (math.isqrt(max(0, len(t) - 1)) for t in (wanted[key], tensors[key]))
        px = f" of {canvas_px * given // own} px" if own and canvas_px else ""
        raise IncompatibleError(
            f"these weights are for another canvas{px}",
            found=f"{path.name}: {key} is {tuple(tensors[key].shape)}, {name} takes "
            f"{tuple(wanted[key].shape)}" + (f" ({canvas_px} px)" if canvas_px else ""),
            hint="evp does not resample a position embedding: pass weights of this canvas",
        )


@contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """Keep open_clip from warning that a model without weights has none."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

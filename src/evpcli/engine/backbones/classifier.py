"""Frozen classifiers with classes of their own, whichever library built them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evpcli.domain.errors import IncompatibleError, UsageError
from evpcli.domain.manifest import MAX_CLASSES, Descriptions
from evpcli.engine.backbones.interface import BackboneCard

BUILD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What model libraries raise for arguments, tensors and input sizes that cannot be."""

_COUNTER = "num_batches_tracked"  # batch normalisation's; torch fills it in where it is missing


class NormalisedTower(nn.Module):
    """A model behind its normalisation: takes canvases in pixel space.

    Args:
        tower: normalised canvases (batch, 3, canvas, canvas) to scores or features.
        mean: per RGB channel, for values in [0, 1].
        std: per RGB channel, for values in [0, 1].
        device: where the tower is.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, tower: nn.Module, mean: Sequence[float], std: Sequence[float], device: torch.device
    ) -> None:
        super().__init__()
        self.tower = tower
        self._layout = choose_layout(tower)
        tower.to(memory_format=self._layout)
        self.register_buffer("mean", torch.tensor(mean, device=device).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, device=device).view(1, 3, 1, 1))

    def forward(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space to the tower's (batch, classes or width)."""
        normalised = ((canvas - self.mean) / self.std).contiguous(memory_format=self._layout)
        answer: Tensor = self.tower(normalised)
        return answer


def choose_layout(tower: nn.Module) -> torch.memory_format:
    """How a model's pictures lie in memory: channels last for convolutional networks.

    Their convolutions are 1.4 times as fast then on a CPU (MobileNetV2, oneDNN) and need no
    rearranging for a GPU's tensor cores; transformers gain nothing.
    """
    is_convolutional = any(isinstance(part, nn.BatchNorm2d) for part in tower.modules())
    return torch.channels_last if is_convolutional else torch.contiguous_format


class ClassifierBackbone:
    """A frozen classifier behind the `Backbone` interface.

    Args:
        model: normalised canvases to (batch, source classes).
        features: normalised canvases to (batch, width); shares the model's weights.
        card: what it is.
        device: where both compute.
    """

    def __init__(
        self, model: nn.Module, features: nn.Module, card: BackboneCard, device: torch.device
    ) -> None:
        self._model, self._features = model, features
        self._card, self._device = card, device

    @property
    def card(self) -> BackboneCard:
        """What this backbone is."""
        return self._card

    def describe_cut_texts(self, texts: Sequence[str]) -> str | None:
        """Nothing: a classifier reads no text."""

    def build_classifier(
        self,
        class_names: Sequence[str],
        templates: Sequence[str],
        descriptions: Descriptions | None = None,
    ) -> NormalisedTower:
        """The model over its own `card.source_classes`; the arguments mean nothing here."""
        del class_names, templates, descriptions
        return self._normalise(self._model)

    def build_encoder(self) -> NormalisedTower:
        """The model up to its last layer, which is left out."""
        return self._normalise(self._features)

    def _normalise(self, tower: nn.Module) -> NormalisedTower:
        return NormalisedTower(tower, self._card.mean, self._card.std, self._device)


def leave_out(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """A twin of a model that shares all weights, with some layers replaced by nothing.

    Args:
        model: stays as it is.
        names: of the layers, as `named_modules` gives them.
    """
    twin = _copy_outside(model)
    for name in names:
        parent, (*inner, last) = twin, name.split(".")
        for step in inner:
            parent._modules[step] = _copy_outside(parent.get_submodule(step))
            parent = parent.get_submodule(step)
        parent._modules[last] = nn.Identity()
    return twin


def _copy_outside(module: nn.Module) -> nn.Module:
    """The module with a table of parts of its own; the parts themselves are shared."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def build_fitting(
    build: Callable[[], nn.Module], tensors: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """A frozen model with these tensors, in evaluation mode.

    Args:
        build: makes the model.
        tensors: by name.
        path: the file that they came from, for errors.

    Raises:
        IncompatibleError: a tensor does not fit; names the first.
    """
    model = build()
    _check_fit(model, tensors, path)
    model.load_state_dict(tensors)
    return model.requires_grad_(False).eval()


def check_outline(
    build: Callable[[], nn.Module], tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Refuse arguments of a stranger before they take memory: only shapes are made.

    Args:
        build: makes the model on torch's default device.
        tensors: by name.
        path: the file that they came from, for errors.

    Raises:
        IncompatibleError: the model cannot be built, or a tensor does not fit; names the first.
    """
    try:
        with torch.device("meta"):
            outline = build()
    except BUILD_ERRORS as error:
        raise IncompatibleError(
            "the model cannot be built",
            found=shorten_error(error),
            hint="check the arguments that its config.json gives",
        ) from error
    _check_fit(outline, tensors, path)


def _check_fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    misfit = _find_misfit(model.state_dict(), tensors)
    if misfit:
        raise IncompatibleError(
            "the weights do not fit the model",
            found=f"{path.name}: {misfit}",
            hint="pass the weights of exactly this model",
        )


def _find_misfit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    for name, tensor in wanted.items():
        if name in given and given[name].shape != tensor.shape:
            return f"{name} is {tuple(given[name].shape)}, needed is {tuple(tensor.shape)}"
        if name not in given and not name.endswith(_COUNTER):
            return f"there is no {name}"
    extra = next((name for name in given if name not in wanted), None)
    return None if extra is None else f"the model has no {extra[:120]}"


def shorten_error(error: Exception) -> str:
    """The first line of another library's message."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def count_outputs(model: nn.Module, card_name: str, canvas_px: int, device: torch.device) -> int:
    """How many classes a model scores, found by asking it about one black canvas.

    Raises:
        UsageError: it cannot read that canvas, its answer is not one score a class, or there are
            no classes or too many.
    """
    try:
        with torch.no_grad():
            answer: Any = model(torch.zeros(1, 3, canvas_px, canvas_px, device=device))
    except torch.OutOfMemoryError:
        raise
    except BUILD_ERRORS as error:
        raise UsageError(
            f"{card_name} cannot read a canvas of {canvas_px} px", found=shorten_error(error)
        ) from error
    shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if not isinstance(answer, Tensor) or answer.ndim != 2 or not 1 < answer.shape[1] <= MAX_CLASSES:
        raise UsageError(
            f"{card_name} does not give one score a class",
            found=f"for one canvas: {shape}",
            hint=f"a classifier with 2 to {MAX_CLASSES} outputs is needed",
        )
    return int(answer.shape[1])

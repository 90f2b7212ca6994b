from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule

from evpcli.domain.errors import UsageError
from evpcli.domain.events import Trouble
from evpcli.domain.geometry import FrameGeometry
from evpcli.engine.backbones.classifier import choose_layout
from evpcli.engine.backbones.clip import ClipClassifier
from evpcli.engine.datasets.loader import UNREADABLE, Batch
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.loop import take_step
from evpcli.engine.training.precision import FastForward, settle_precision

CPU = torch.device("cpu")
GEOMETRY = FrameGeometry.for_canvas(8, 2)


class Linear(nn.Module):
    """Three scores of a canvas of 8 px."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(3 * 64, 3, generator=generator)
        self.seen: list[int] = []

    def forward(self, canvas: Tensor) -> Tensor:
        self.seen.append(len(canvas))
        return canvas.flatten(1) @ self.weight


def draw_batch(n: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n, 3, 4, 4), generator=generator).to(torch.uint8)
    return Batch(images, torch.arange(n) % 3)


def test_automatic_precision_is_exact_without_a_gpu() -> None:
    assert settle_precision("auto", CPU) == settle_precision("float32", CPU) == "float32"
    with pytest.raises(UsageError, match="needs a CUDA GPU"):
        settle_precision("bfloat16", CPU)


def test_automatic_precision_is_half_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for known, best in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda *, including_emulation, known=known: known
        )
        assert settle_precision("auto", gpu) == best
        assert settle_precision("float32", gpu) == "float32"


def test_a_scaled_loss_gives_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Learner(VisualPrompt(GEOMETRY), FastForward(Linear(), CPU, "float32"))
    half = FastForward(Linear(), CPU, "float16")
    monkeypatch.setattr(half, "_autocast", plain.source._autocast)  # type: ignore[attr-defined]
    scaled = Learner(VisualPrompt(GEOMETRY), half)
    assert (plain.loss_scale, scaled.loss_scale) == (1.0, 1024.0)
    for learner in (plain, scaled):
        take_step(learner, draw_batch(), lr=1.0)
    assert torch.allclose(plain.prompt.pixels, scaled.prompt.pixels, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 7, 50])
@pytest.mark.parametrize("broken", [(), (0, 1, 2)])
def test_a_batch_in_parts_takes_the_same_step(parts: int, broken: tuple[int, ...]) -> None:
    batch = draw_batch()
    batch.labels[list(broken)] = UNREADABLE
    batch = Batch(batch.images, batch.labels, 7 - len(broken))
    found = []
    for count in (1, parts):
        source = Linear()
        learner = Learner(VisualPrompt(GEOMETRY), source, accumulate=count)
        step = take_step(learner, batch, lr=1.0)
        found.append((learner.prompt.pixels.detach(), step.loss, int(step.correct), step.seen))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert float(found[0][1]) == pytest.approx(float(found[1][1]), rel=1e-6)
    assert found[0][2:] == found[1][2:]
    assert max(source.seen) <= -(-7 // min(parts, 7))


def test_what_cannot_be_compiled_goes_on_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        def call(canvas: Tensor) -> Tensor:
            raise RuntimeError("no compiler\nand more")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    told: list[Trouble] = []
    source = FastForward(Linear(), CPU, "float32")
    source.compile(2, 8, told.append)
    assert [event.text for event in told] == [
        "the model cannot be compiled, going on without (no compiler)"
    ]
    assert source(torch.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_what_can_be_compiled_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda run: lambda canvas: run(canvas) + 1)
    told: list[Trouble] = []
    source, plain = FastForward(Linear(), CPU, "float32"), Linear()
    source.compile(2, 8, told.append)
    canvas = torch.rand(2, 3, 8, 8)
    assert torch.equal(source(canvas), plain(canvas) + 1) and not told
    assert torch.equal(source(canvas[:1]), plain(canvas[:1]))  # another size was not tried
    with torch.inference_mode():
        assert torch.equal(source(canvas), plain(canvas))


def test_what_torch_has_compiled_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch wraps it; only its own code generator, which wants a compiler, is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    told: list[Trouble] = []
    source, plain = FastForward(Linear(), CPU, "float32"), Linear()
    source.compile(2, 8, told.append)
    assert not told and isinstance(source._compiled, OptimizedModule)
    for n in (2, 1):
        canvas = torch.rand(n, 3, 8, 8, requires_grad=True)
        assert torch.allclose(source(canvas), plain(canvas))
        torch.autograd.grad(source(canvas).sum(), canvas)


def test_scores_are_computed_in_float32_behind_a_half_precision_tower() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3 * 64, 16, generator=generator)
    classes = torch.nn.functional.normalize(torch.randn(50, 16, generator=generator))
    zeros, ones = torch.zeros(3), torch.ones(3)

    def tower(canvas: Tensor) -> Tensor:
        return canvas.flatten(1) @ weight

    classifier = ClipClassifier(tower, classes, 100.0, 0.0, zeros, ones)
    canvas = torch.rand(4, 3, 8, 8, generator=generator)
    features = tower(canvas).bfloat16().float()  # what a half-precision tower would give
    rounded = ClipClassifier(lambda _: features.bfloat16(), classes, 100.0, 0.0, zeros, ones)
    with torch.autocast("cpu", torch.bfloat16):
        found = rounded(canvas)
    assert found.dtype == torch.float32
    expected = 100 * torch.nn.functional.normalize(features) @ classes.T
    assert torch.allclose(found, expected, atol=1e-4)
    assert (classifier(canvas) - found).abs().max() < 1


def test_convolutional_networks_have_their_channels_last() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert choose_layout(network) == torch.channels_last
    assert choose_layout(nn.Sequential(nn.Conv2d(3, 4, 3))) == torch.contiguous_format

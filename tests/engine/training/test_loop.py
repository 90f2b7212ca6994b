from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from evpcli.domain.errors import DivergedError, StoppedError
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.datasets.loader import Batch
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.loop import TrainingHooks, TrainingPlan, take_step, train_prompt
from evpcli.engine.training.state import TrainingState
from evpcli.engine.training.update_rules import EvpRule

FIXTURE = Path(__file__).parents[2] / "fixtures" / "reference_trajectory.safetensors"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAN = TrainingPlan(lr=70.0, epochs=3)
GEOMETRY = FrameGeometry.for_canvas(224)


class TinyClassifier(torch.nn.Module):
    """The fixture's frozen network: a strided convolution, tanh, and one matrix."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name in ("conv_weight", "conv_bias", "proj", "text_features", "log_logit_scale"):
            self.register_buffer(name, tensors[name])

    def forward(self, canvas: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        normalised = (canvas - mean) / std
        hidden = functional.conv2d(normalised, self.conv_weight, self.conv_bias, stride=16)
        features = functional.normalize(torch.tanh(hidden).flatten(1) @ self.proj, dim=-1)
        texts = functional.normalize(self.text_features, dim=-1)
        return self.log_logit_scale.exp() * features @ texts.T


class ReferenceTask:
    """The fixture's pictures in their order, without mirroring, eight at a time."""

    steps_per_epoch = 3

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.images, self.labels = tensors["images"], tensors["labels"]
        self.scores: list[float] = []

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for step in range(start, self.steps_per_epoch):
            part = slice(8 * step, 8 * step + 8)
            yield Batch(self.images[part], self.labels[part])

    def score(self, learner: Learner) -> SplitScore:
        return SplitScore(Accuracy(0, 1), self.scores.pop(0) if self.scores else 0.0)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return load_file(FIXTURE)


def new_learner(tensors: dict[str, Tensor]) -> Learner:
    return Learner(VisualPrompt(GEOMETRY), TinyClassifier(tensors))


def make_state(pixels: Tensor, epochs_done: int = 0) -> TrainingState:
    score = SplitScore(Accuracy(0, 1), 0.0)
    return TrainingState(pixels, pixels, score, epochs_done=epochs_done)


def run(tensors: dict[str, Tensor], state: TrainingState | None = None) -> list[TrainingState]:
    states: list[TrainingState] = []
    learner, task = new_learner(tensors), ReferenceTask(tensors)
    hooks = TrainingHooks(save=states.append)
    train_prompt(learner, task, PLAN, hooks, state)
    return states


def relative_distance(found: Tensor, expected: Tensor) -> float:
    return float(torch.linalg.vector_norm(found - expected) / expected.norm())


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_each_epoch_follows_the_reference(tensors: dict[str, Tensor], epoch: int) -> None:
    """From the reference's own prompt after the epoch before, the engine lands on its next one."""
    recorded = [torch.zeros(3, 224, 224), *tensors["delta_after_epoch"]]
    state = run(tensors, make_state(recorded[epoch], epoch))[0]
    assert state.epochs_done == epoch + 1
    assert relative_distance(state.pixels, recorded[epoch + 1]) <= 1e-5
    assert state.history[-1].train_loss == pytest.approx(float(tensors["train_loss"][epoch]), 1e-5)
    assert state.history[-1].train_top1 == pytest.approx(float(tensors["train_top1"][epoch]))


def test_whole_run_follows_the_reference_as_far_as_float32_allows(
    tensors: dict[str, Tensor],
) -> None:
    """The rounding of the first steps grows: exact float64 arithmetic is 5.5e-5 away at the end."""
    states = run(tensors)
    distances = [
        relative_distance(state.pixels, expected)
        for state, expected in zip(states, tensors["delta_after_epoch"], strict=True)
    ]
    assert distances[0] <= 1e-5
    assert max(distances) <= 1e-4


def test_evaluation_agrees_with_the_reference(tensors: dict[str, Tensor]) -> None:
    prompt = VisualPrompt(GEOMETRY, tensors["delta_after_epoch"][2])
    with torch.inference_mode():
        logits = TinyClassifier(tensors)(prompt.frame(tensors["images"].float() / 255))
    hits = logits.topk(5).indices == tensors["labels"][:, None]
    found = torch.stack([hits[:, 0].float().mean(), hits.any(1).float().mean()])
    torch.testing.assert_close(found, tensors["eval_top1_top5"])


def test_step_is_the_whole_canvas_gradient_scaled_to_length_lr() -> None:
    """Against a closed form: a linear classifier's gradient is known without autograd."""
    geometry = FrameGeometry(4, 1)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 3 * 16, generator=generator)
    images = torch.randint(0, 256, (5, 3, 2, 2), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 1, 0, 1])
    prompt = VisualPrompt(geometry)
    canvas = torch.zeros(5, 3, 4, 4)
    canvas[:, :, 1:3, 1:3] = images / 255
    wrong = (canvas.flatten(1) @ weight.T).softmax(1) - functional.one_hot(labels, 2)
    gradient = (wrong.mean(0) @ weight).view(3, 4, 4)
    expected = -7.0 * gradient / gradient.norm()
    expected[:, 1:3, 1:3] = 0
    learner = Learner(prompt, lambda c: c.flatten(1) @ weight.T)
    take_step(learner, Batch(images, labels), lr=7.0)
    torch.testing.assert_close(prompt.pixels.detach(), expected, rtol=1e-4, atol=1e-5)


def test_projection_keeps_the_border_in_the_unit_interval(tensors: dict[str, Tensor]) -> None:
    prompt = VisualPrompt(GEOMETRY)
    batch = next(ReferenceTask(tensors).batches(0, 0))
    learner = Learner(prompt, TinyClassifier(tensors), rule=EvpRule(project=True))
    take_step(learner, batch, lr=500.0)
    pixels = prompt.pixels.detach()
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


@pytest.mark.parametrize("stop_after", range(1, 9))
def test_stopping_anywhere_and_going_on_changes_no_bit(
    tensors: dict[str, Tensor], stop_after: int
) -> None:
    whole = run(tensors)[-1]
    saved: list[TrainingState] = []
    asked = iter([0] * (stop_after - 1) + [2])
    hooks = TrainingHooks(save=saved.append, stop_signal=lambda: next(asked))
    with pytest.raises(StoppedError):
        train_prompt(new_learner(tensors), ReferenceTask(tensors), PLAN, hooks)
    resumed = run(tensors, saved[-1])[-1]
    assert torch.equal(resumed.pixels, whole.pixels)
    assert torch.equal(resumed.best_pixels, whole.best_pixels)
    assert resumed.history == whole.history


def test_saving_within_an_epoch_changes_no_bit(tensors: dict[str, Tensor]) -> None:
    states: list[TrainingState] = []
    hooks = TrainingHooks(save=states.append, save_every_s=-1.0)
    task = ReferenceTask(tensors)
    train_prompt(new_learner(tensors), task, PLAN, hooks)
    assert len(states) == 12
    assert torch.equal(states[-1].pixels, run(tensors)[-1].pixels)
    assert states[-1].history == run(tensors)[-1].history


def test_best_epoch_is_kept_and_a_worse_one_is_not(tensors: dict[str, Tensor]) -> None:
    task = ReferenceTask(tensors)
    task.scores = [5.0, 4.0, 1.0, 3.0]  # losses of the start and of three epochs
    states: list[TrainingState] = []
    hooks = TrainingHooks(save=states.append)
    train_prompt(new_learner(tensors), task, PLAN, hooks)
    assert states[-1].best_epoch == 2
    assert torch.equal(states[-1].best_pixels, states[1].pixels)


def test_patience_stops_early(tensors: dict[str, Tensor]) -> None:
    task = ReferenceTask(tensors)
    task.scores = [0.0, 1.0, 2.0, 3.0]
    plan = replace(PLAN, epochs=50, patience=2)
    state = train_prompt(new_learner(tensors), task, plan)
    assert (state.epochs_done, state.best_epoch) == (2, 0)


def test_scoring_counts_for_the_longest_time(
    tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("evpcli.engine.training.loop.time.monotonic", lambda: clock[0])

    class SlowlyScored(ReferenceTask):
        def score(self, learner: Learner) -> SplitScore:
            clock[0] += 40.0
            return super().score(learner)

    plan = replace(PLAN, epochs=50, max_time_s=100.0)
    state = train_prompt(new_learner(tensors), SlowlyScored(tensors), plan)
    assert (state.epochs_done, state.elapsed_s) == (3, 120.0)


def test_values_that_are_not_finite_end_the_run(tensors: dict[str, Tensor]) -> None:
    saved: list[TrainingState] = []
    hooks = TrainingHooks(save=saved.append)
    task = ReferenceTask(tensors)

    def broken(canvas: Tensor) -> Tensor:
        return canvas.flatten(1)[:, :6] * math.nan

    with pytest.raises(DivergedError) as caught:
        train_prompt(Learner(VisualPrompt(GEOMETRY), broken), task, PLAN, hooks)
    assert caught.value.exit_code == 10
    assert saved == []

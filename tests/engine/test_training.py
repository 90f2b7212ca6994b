from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.pixels import Batch
from evpcli.engine.prompt import VisualPrompt
from evpcli.engine.training import TrainingHooks, TrainingPlan, TrainingState, train_prompt

FIXTURE = Path(__file__).parents[1] / "fixtures" / "reference_trajectory.safetensors"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAN = TrainingPlan(lr=70.0, epochs=3)


class TinyClassifier(torch.nn.Module):
    """The fixture's frozen network: a strided convolution, tanh, and one matrix."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name in ("conv_weight", "conv_bias", "proj", "text_features", "log_logit_scale"):
            self.register_buffer(name, tensors[name])

    def forward(self, canvas: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        hidden = functional.conv2d(
            (canvas - mean) / std, self.conv_weight, self.conv_bias, stride=16
        )
        features = functional.normalize(torch.tanh(hidden).flatten(1) @ self.proj, dim=-1)
        return self.log_logit_scale.exp() * features @ functional.normalize(self.text_features).T


class ReferenceTask:
    """The fixture's pictures in their order, without mirroring, eight at a time."""

    steps_per_epoch = 3

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.images, self.labels = tensors["images"], tensors["labels"]

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for step in range(start, self.steps_per_epoch):
            part = slice(8 * step, 8 * step + 8)
            yield Batch(self.images[part], self.labels[part])

    def score(self, prompt: VisualPrompt) -> SplitScore:
        return SplitScore(Accuracy(0, 1), 0.0)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return load_file(FIXTURE)


def make_prompt() -> VisualPrompt:
    return VisualPrompt(FrameGeometry.for_canvas(224))


def collect_epochs(tensors: dict[str, Tensor]) -> list[TrainingState]:
    states: list[TrainingState] = []
    train_prompt(
        make_prompt(),
        TinyClassifier(tensors),
        ReferenceTask(tensors),
        PLAN,
        TrainingHooks(save=states.append),
    )
    return states


def test_engine_follows_the_reference_trajectory(tensors: dict[str, Tensor]) -> None:
    states = collect_epochs(tensors)
    assert [s.epochs_done for s in states] == [1, 2, 3]
    for state, expected in zip(states, tensors["delta_after_epoch"], strict=True):
        assert torch.linalg.vector_norm(state.pixels - expected) <= 1e-5 * expected.norm()
    losses = torch.tensor([r.train_loss for r in states[-1].history])
    torch.testing.assert_close(losses, tensors["train_loss"], rtol=1e-4, atol=1e-4)

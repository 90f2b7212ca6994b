from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evpcli.domain.errors import DamagedError, StoppedError
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.statistics import Accuracy, SplitScore
from evpcli.engine.datasets.loader import Batch
from evpcli.engine.prompts.label_map import (
    AnswerCounts,
    LabelMap,
    count_top,
    estimate_map,
    map_by_frequency,
    read_indices,
)
from evpcli.engine.prompts.visual_prompt import VisualPrompt
from evpcli.engine.training.heads import (
    HEAD_RATE,
    AdaptiveHead,
    FixedHead,
    Head,
    LearnedHead,
    RecountedHead,
    build_head,
)
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.loop import TrainingHooks, TrainingPlan, take_step, train_prompt
from evpcli.engine.training.state import TrainingState
from evpcli.engine.training.state_file import decode_state, encode_state
from evpcli.engine.training.update_rules import EvpRule, VpRule

CPU = torch.device("cpu")
SOURCES, TASKS = 7, 3
GEOMETRY = FrameGeometry(8, 2)
STD = (0.5, 0.25, 0.2)
WAYS = ("frequency", "iterative", "bayesian", "bayesian+", "linear", "residual", "clip", "vp")
"""Every kind of map, a residual matrix behind a map and behind none, and VP's rule."""


class FrozenClassifier(nn.Module):
    """A small frozen network that knows seven classes; the tasks here have three."""

    def __init__(self, classes: int = SOURCES) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.layer = nn.Linear(3 * 64, classes)
        for values in self.layer.parameters():
            values.data = torch.randn(values.shape, generator=generator) / 4
        self.requires_grad_(False)

    def forward(self, canvas: Tensor) -> Tensor:
        return 3 * torch.tanh(self.layer(canvas.flatten(1)))


class TinyTask:
    """Twenty pictures in three batches, the last of them ragged; their loss selects."""

    steps_per_epoch = 3

    def __init__(self, geometry: FrameGeometry = GEOMETRY) -> None:
        side, generator = geometry.image_px, torch.Generator().manual_seed(5)
        self.images = torch.randint(
            0, 256, (20, 3, side, side), dtype=torch.uint8, generator=generator
        )
        self.labels = torch.arange(20) % TASKS

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for step in range(start, self.steps_per_epoch):
            part = slice(8 * step, 8 * step + 8)
            yield Batch(self.images[part], self.labels[part])

    @torch.no_grad()
    def score(self, learner: Learner) -> SplitScore:
        logits = learner.classifier(learner.prompt.frame(self.images.float() / 255))
        return SplitScore(Accuracy(0, 1), float(functional.cross_entropy(logits, self.labels)))


def count_blank(kind: str, source: nn.Module, task: TinyTask, prompt: VisualPrompt) -> AnswerCounts:
    counts = AnswerCounts(SOURCES, TASKS, CPU, count_top(TASKS) if kind == "bayesian+" else None)
    counts.add(source(prompt.frame(task.images.float() / 255)), task.labels)
    return counts


def build_learner(way: str) -> tuple[Learner, TinyTask]:
    geometry = FrameGeometry(8, 2, "overlay") if way == "vp" else GEOMETRY
    prompt, task = VisualPrompt(geometry), TinyTask(geometry)
    source = FrozenClassifier(TASKS if way == "clip" else SOURCES)
    kind = {"clip": "none", "residual": "frequency", "vp": "iterative"}.get(way, way)
    counts = None if way == "clip" else count_blank(kind, source, task, prompt)

    def recount() -> AnswerCounts:
        return count_blank(kind, source, task, prompt)

    residual = way in ("clip", "residual")
    head = build_head(kind, counts, TASKS, CPU, recount=recount, residual=residual)
    rule = VpRule(STD, prompt.pixels) if way == "vp" else EvpRule()
    return Learner(prompt, source, head, rule), task


def draw_border() -> Tensor:
    values = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(3))
    return values * VisualPrompt(GEOMETRY).mask


def draw_batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(12, SOURCES, generator=generator)
    return outputs, torch.arange(12) % TASKS


def draw_counts(kind: str = "frequency") -> AnswerCounts:
    counts = AnswerCounts(SOURCES, TASKS, CPU, count_top(TASKS) if kind == "bayesian+" else None)
    counts.add(*draw_batch())
    return counts


def follow(head: Head, outputs: Tensor, labels: Tensor, share: float) -> None:
    loss = functional.cross_entropy(head(outputs), labels)
    head.learn(torch.autograd.grad(loss, head.parameters), share)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("frequency", FixedHead),
        ("iterative", RecountedHead),
        ("bayesian", AdaptiveHead),
        ("bayesian+", AdaptiveHead),
        ("linear", LearnedHead),
    ],
)
def test_every_kind_begins_with_what_the_counts_say(kind: str, expected: type[Head]) -> None:
    outputs, _ = draw_batch(1)
    head = build_head(kind, draw_counts(kind), TASKS, CPU, recount=draw_counts)
    assert type(head) is expected
    label_map = estimate_map(kind, draw_counts(kind))
    assert torch.equal(head(outputs), label_map(outputs))
    exported = head.export()
    assert exported is not None
    assert torch.equal(exported.weight, label_map.weight)
    assert torch.equal(exported.bias, label_map.bias)


def test_outputs_that_are_class_scores_need_no_map() -> None:
    head, scores = build_head("none", None, TASKS, CPU, recount=draw_counts), draw_batch()[0]
    assert head(scores) is scores
    assert head.export() is None
    assert head.memory == {} and head.parameters == ()


def test_linear_is_a_torch_layer_under_torchs_adam() -> None:
    start = estimate_map("frequency", draw_counts())
    head, layer = (
        build_head("linear", draw_counts(), TASKS, CPU, recount=draw_counts),
        nn.Linear(SOURCES, TASKS),
    )
    layer.load_state_dict({"weight": start.weight, "bias": start.bias})
    optimizer = torch.optim.Adam(layer.parameters(), lr=HEAD_RATE)
    for step in range(10):
        outputs, labels = draw_batch(step)
        share = 1 - step / 10
        optimizer.param_groups[0]["lr"] = HEAD_RATE * share
        optimizer.zero_grad()
        functional.cross_entropy(layer(outputs), labels).backward()
        optimizer.step()
        follow(head, outputs, labels, share)
    exported = head.export()
    assert exported is not None
    torch.testing.assert_close(exported.weight, layer.weight.detach())
    torch.testing.assert_close(exported.bias, layer.bias.detach())
    assert not torch.equal(exported.weight, start.weight)


@pytest.mark.parametrize("with_map", [True, False])
def test_residual_begins_as_nothing_and_folds_into_one_map(with_map: bool) -> None:
    counts = draw_counts() if with_map else None
    head = build_head(
        "frequency" if with_map else "none", counts, TASKS, CPU, recount=draw_counts, residual=True
    )
    outputs, labels = draw_batch()
    if not with_map:
        outputs = outputs[:, :TASKS]
    first = estimate_map("frequency", counts)(outputs) if counts else outputs
    assert torch.equal(head(outputs), first)
    for _ in range(5):
        follow(head, outputs, labels, share=100.0)
    label_map = head.export()
    assert label_map is not None
    assert label_map.weight.shape == (TASKS, outputs.shape[1])
    assert not torch.allclose(head(outputs), first, atol=0.1)
    torch.testing.assert_close(label_map(outputs), head(outputs).detach())


@pytest.mark.parametrize("way", WAYS)
def test_gradients_do_not_reach_the_frozen_model(way: str) -> None:
    learner, task = build_learner(way)
    before = [values.clone() for values in learner.source.parameters()]
    train_prompt(learner, task, TrainingPlan(lr=3.0, epochs=1))
    for old, new in zip(before, learner.source.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.grad is None
    assert learner.prompt.pixels.grad is None
    assert learner.prompt.pixels.detach().any()


@pytest.mark.parametrize("kind", ["bayesian", "bayesian+"])
def test_an_epochs_end_estimates_from_all_of_its_own_answers(kind: str) -> None:
    head = build_head(kind, draw_counts(kind), TASKS, CPU, recount=draw_counts)
    for epoch in range(2):
        batches = [draw_batch(10 * epoch + step) for step in (1, 2, 3)]
        held = head.export()
        assert held is not None
        held = LabelMap(held.weight.clone(), held.bias.clone())
        for outputs, labels in batches:
            head.observe(outputs, labels)
            assert torch.equal(head(outputs), held(outputs))  # not before the epoch's end
        head.end_epoch()
        whole = draw_counts(kind)
        whole.clear()
        whole.add(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
        expected, found = estimate_map(kind, whole), head.export()
        assert found is not None
        torch.testing.assert_close(found.weight, expected.weight)
        assert not any(head.memory[name].any() for name in whole.tables)


def test_a_one_to_one_map_is_derived_again_from_the_current_prompt() -> None:
    learner, task = build_learner("iterative")
    with torch.no_grad():
        learner.prompt.pixels.add_(5 * draw_border())
    expected = map_by_frequency(count_blank("iterative", learner.source, task, learner.prompt))
    label_map = learner.head.export()
    assert label_map is not None
    before = read_indices(label_map)
    learner.head.end_epoch()  # changes the map in place
    assert read_indices(label_map) == expected != before
    assert learner.head.export() is label_map


def test_building_a_head_leaves_the_counts_alone() -> None:
    counts = draw_counts()
    head = build_head("bayesian", counts, TASKS, CPU, recount=draw_counts)
    head.observe(*draw_batch(4))
    assert torch.equal(counts.answers, draw_counts().answers)


def test_the_training_steps_are_what_is_counted() -> None:
    """Every batch's outputs before its step, none twice and none left out."""
    learner, task = build_learner("bayesian")
    seen: list[Tensor] = []

    def listen(canvas: Tensor) -> Tensor:
        outputs: Tensor = source(canvas)
        seen.append(outputs.detach())
        return outputs

    source, learner = learner.source, replace(learner, source=listen)
    for batch in task.batches(0, 0):
        take_step(learner, batch, 3.0)
    expected = AnswerCounts(SOURCES, TASKS, CPU)
    expected.add(torch.cat(seen), task.labels)
    assert torch.equal(learner.memory["head.answers"], expected.answers)
    assert int(expected.answers.sum()) == 20


PLAN = TrainingPlan(lr=0.1, epochs=3)


def plan_for(way: str) -> TrainingPlan:
    return replace(PLAN, schedule="step-warmup") if way == "vp" else PLAN


@pytest.mark.parametrize("way", WAYS)
def test_stopping_anywhere_and_going_on_changes_no_bit(way: str) -> None:
    """After each of the nine steps, with the state written to bytes and read again."""
    learner, task = build_learner(way)
    whole = train_prompt(learner, task, plan_for(way))
    assert whole.history[-1].train_loss != whole.history[0].train_loss
    for stop_after in range(1, 12):
        resumed = resume(way, stop_and_save(way, stop_after))
        check_equal(resumed, whole)


def stop_and_save(way: str, stop_after: int) -> bytes:
    saved: list[bytes] = []
    asked = iter([0] * (stop_after - 1) + [2])
    hooks = TrainingHooks(
        save=lambda state: saved.append(encode_state(state)), stop_signal=lambda: next(asked)
    )
    with pytest.raises(StoppedError):
        train_prompt(*build_learner(way), plan_for(way), hooks)
    return saved[-1]


def resume(way: str, data: bytes) -> TrainingState:
    learner, task = build_learner(way)
    return train_prompt(learner, task, plan_for(way), state=decode_state(data, "r"))


def check_equal(found: TrainingState, whole: TrainingState) -> None:
    assert torch.equal(found.pixels, whole.pixels)
    assert torch.equal(found.best_pixels, whole.best_pixels)
    assert (found.history, found.best_epoch) == (whole.history, whole.best_epoch)
    assert found.best_score == whole.best_score
    assert found.memory.keys() == whole.memory.keys()
    assert all(torch.equal(found.memory[name], whole.memory[name]) for name in whole.memory)
    assert (found.best_map is None) == (whole.best_map is None)
    if found.best_map and whole.best_map:
        assert torch.equal(found.best_map.weight, whole.best_map.weight)
        assert torch.equal(found.best_map.bias, whole.best_map.bias)


@pytest.mark.parametrize("way", WAYS)
def test_the_best_map_belongs_to_the_best_prompt(way: str) -> None:
    """The kept pair gives the score that it was kept for, whatever came after."""
    learner, task = build_learner(way)
    state = train_prompt(learner, task, plan_for(way))
    best = VisualPrompt(learner.prompt.geometry, state.best_pixels)
    again = replace(learner, prompt=best, head=FixedHead(state.best_map))
    score = task.score(again)
    assert state.best_epoch > 0
    assert score.loss == pytest.approx(state.best_score.loss, rel=1e-5)


@pytest.mark.parametrize("other", ["linear", "residual", "clip", "vp", "frequency"])
def test_a_state_of_another_head_or_rule_is_refused(other: str) -> None:
    learner, _ = build_learner("bayesian")
    pixels = learner.prompt.pixels.detach()
    with pytest.raises(DamagedError, match="another method or label map"):
        learner.restore(pixels, build_learner(other)[0].copy_memory())

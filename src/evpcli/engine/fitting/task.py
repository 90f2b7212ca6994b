"""One dataset and one backbone set up for training: batches, selection, measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from evpcli.domain.counts import say_count
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import LabelMapRecord, Measurement
from evpcli.domain.settings import FitRequest, FitSettings
from evpcli.domain.statistics import SplitScore
from evpcli.engine.backbones.interface import Backbone, BackboneCard
from evpcli.engine.compute.memory import find_fitting
from evpcli.engine.datasets.augment import augment_trivially
from evpcli.engine.datasets.crops import EpochPlan
from evpcli.engine.datasets.division import check_every_class
from evpcli.engine.datasets.interface import Dataset, SplitName
from evpcli.engine.datasets.loader import Batch, PixelSource, Reading
from evpcli.engine.evaluation.classifiers import TaskClassifiers, build_classifiers
from evpcli.engine.evaluation.predict import Gauge, compare_prompt, predict
from evpcli.engine.fitting.checks import settle_map_kind
from evpcli.engine.fitting.class_texts import TaskTexts
from evpcli.engine.fitting.map_record import MapDescriber
from evpcli.engine.fitting.starting import check_parent, take_head, take_pixels
from evpcli.engine.prompts.baseline_maps import BaselineMaps, StartCounts
from evpcli.engine.prompts.label_map import (
    AnswerCounts,
    LabelMap,
    check_map_size,
    check_one_to_one,
    count_top,
)
from evpcli.engine.prompts.prompt_file import StoredPrompt
from evpcli.engine.prompts.visual_prompt import VisualPrompt, pad_to_canvas
from evpcli.engine.training.heads import build_head
from evpcli.engine.training.learner import Learner
from evpcli.engine.training.precision import FastForward, settle_precision
from evpcli.engine.training.update_rules import EvpRule, UpdateRule, VpRule


class FitTask:
    """What the training loop learns from and is judged by.

    Args:
        dataset: already divided.
        backbone: the frozen model.
        texts: the classes in words.
        settings: of the run.
        reading: how pictures become pixels, and the device that computes.
        parent: a finished prompt to start from, if any.

    Raises:
        UsageError: the label map asked for cannot be, with this backbone or with these pictures.
        IncompatibleError: the prompt to start from is for another backbone, canvas or border.
    """

    def __init__(
        self,
        dataset: Dataset,
        backbone: Backbone,
        texts: TaskTexts,
        settings: FitSettings,
        reading: Reading,
        parent: StoredPrompt | None = None,
    ) -> None:
        card = backbone.card
        self.geometry = FrameGeometry.for_canvas(
            card.canvas_px, settings.border_px, "overlay" if settings.method == "vp" else "frame"
        )
        self.parent = parent
        if parent:
            check_parent(parent, card, self.geometry)
        self.map_kind = settle_map_kind(
            settings.label_map,
            card.record.name,
            is_classifier=bool(card.source_classes),
            residual=settings.residual,
        )
        if self.map_kind != "none":
            check_every_class(dataset)
        if self.map_kind in ("frequency", "iterative", "linear"):
            check_one_to_one(len(card.source_classes), len(texts.class_names))
        if self.map_kind != "none" or settings.residual:
            outputs = len(card.source_classes) or len(texts.class_names)
            check_map_size(outputs, len(texts.class_names))
        self.source = backbone.build_classifier(
            texts.class_names, texts.templates, texts.descriptions
        )
        self.arithmetic = settle_precision(settings.precision, reading.device)
        self._fast = FastForward(self.source, reading.device, self.arithmetic)
        self.selection_split: SplitName = "test" if settings.protocol == "paper" else "val"
        self._settings, self._dataset, self._device = settings, dataset, reading.device
        self._card, self._reading, self._classes = card, reading, len(texts.class_names)
        self._head_start = take_head(
            parent, self.map_kind, texts.class_names, residual=settings.residual
        )
        self._describer = MapDescriber(
            self.map_kind,
            settings.residual,
            card.source_classes,
            self._classes,
            from_parent=self._head_start.is_given,
        )
        self._part_size = -(-settings.batch_size // settings.accumulate)
        self._gauge = Gauge(reading, self._part_size)
        self._is_trivial = settings.augment == "trivial"
        for split in ("train", self.selection_split, "test"):
            reading.world.check_share(len(dataset.splits[split]), split)
        self._train = self._open_train()
        self._select = self._open(self.selection_split, self.geometry.image_px)
        mirrored = dataset.flip if settings.flip is None else settings.flip
        self.flip = mirrored and settings.augment != "none"
        self._start: StartCounts | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has; the last may be smaller."""
        return -(-len(self._train) // self._settings.batch_size)

    @property
    def needs_map(self) -> bool:
        """Whether the backbone's own classes must be mapped to the task's."""
        return self.map_kind != "none"

    def fill(self) -> None:
        """Decode now what is not kept from earlier runs, for training and selection."""
        self._train.fill()
        self._select.fill()

    def compile(self) -> None:
        """Compile the model for training, if that was asked for; see `FastForward.compile`."""
        if self._settings.compile:
            on_event = self._reading.on_event
            part_size = -(-self._part_size // self._reading.world.size)
            self._fast.compile(part_size, self.geometry.canvas_px, on_event)

    def suggest_batch(self) -> str:
        """What would fit into memory where a step does not, found by trying, as a hint."""
        settings, processes = self._settings, self._reading.world.size
        share = -(-settings.batch_size // processes)
        canvas_px = self.geometry.canvas_px
        fits = find_fitting(
            lambda size: self._fast.try_batch(size, canvas_px), -(-share // settings.accumulate)
        )
        if not fits:
            return "not even one picture fits: try a smaller backbone, or --device cpu"
        fit, parts = say_count(fits, "picture fits", "pictures fit"), -(-share // fits)
        return (
            f"{fit} at a time: use --accumulate {parts} (the same steps), "
            f"or --batch-size {fits * processes} (other steps)"
        )

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), from step `start` on; the same on every call."""
        plan = EpochPlan.draw(
            len(self._train),
            seed=self._settings.seed,
            epoch=epoch,
            flip=self.flip,
            crop=self._settings.augment != "none",
        )
        transform = augment_trivially if self._is_trivial else None
        return self._train.random_batches(plan, self._settings.batch_size, start, transform)

    def score(self, learner: Learner) -> SplitScore:
        """How well a prompt and its head do on the split that selects the best epoch."""
        return predict(
            learner.classifier,
            self._select,
            learner.prompt.frame,
            batch_size=self._part_size,
            device=self._device,
        ).to_score()

    def measure(self, prompt: VisualPrompt, label_map: LabelMap | None) -> tuple[Measurement, ...]:
        """Full, blank and prompted accuracy on the selection split and, once, on test."""
        classifiers = self.build_classifiers(label_map)
        measurements: tuple[Measurement, ...] = ()
        for split in dict.fromkeys((self.selection_split, "test")):
            comparison = compare_prompt(
                prompt, classifiers, self._dataset.splits[split], self._gauge
            )
            measurements += comparison.to_measurements(split)
        return measurements

    def build_classifiers(self, label_map: LabelMap | None) -> TaskClassifiers:
        """The model without and with a prompt whose label map this is."""
        record, baselines = self.describe_map(label_map), self.estimate_baselines()
        return build_classifiers(self.source, label_map, record, self._device, baselines)

    def estimate_baselines(self) -> BaselineMaps | None:
        """The label maps that the prompt is compared with, where indices do not say them."""
        return BaselineMaps.estimate(self.map_kind, self._count_start() if self.needs_map else None)

    def new_learner(self) -> Learner:
        """A fresh prompt, head and rule on the task's device; equal on every call."""
        settings = self._settings
        prompt = VisualPrompt(self.geometry, self._draw_start()).to(self._device)
        head = build_head(
            self.map_kind,
            self._count_start().blank if self.needs_map else None,
            self._classes,
            self._device,
            residual=settings.residual,
            recount=lambda: self._count_answers(self.geometry.image_px, prompt.frame),
            start=self._head_start.copy_to(self._device),
        )
        return Learner(
            prompt,
            self._fast,
            head,
            self._new_rule(prompt),
            self._reading.world,
            settings.accumulate,
        )

    def describe_map(self, label_map: LabelMap | None) -> LabelMapRecord | None:
        """What a manifest says of a label map; nothing where there is none."""
        if label_map is None:
            return None
        start = self._count_start() if self.needs_map else None
        return self._describer.describe(label_map, start)

    def foresee_maps(self) -> tuple[LabelMapRecord, ...]:
        """The largest that `describe_map` can give, before anything is learned."""
        return self._describer.foresee()

    def close(self) -> None:
        """End the decoding threads."""
        self._train.close()
        self._select.close()

    def _open(self, split: SplitName, side_px: int, working_px: int | None = None) -> PixelSource:
        pictures = self._dataset.splits[split]
        return PixelSource(pictures, side_px, self._reading, working_px=working_px)

    def _open_train(self) -> PixelSource:
        working_px = self.geometry.canvas_px if self._is_trivial else None
        return self._open("train", self.geometry.image_px, working_px)

    def _draw_start(self) -> Tensor | None:
        """The first pixels: nothing for zeros, the parent's, or VP's normal values, normalised."""
        if self.parent:
            return take_pixels(self.parent, project=self._settings.project)
        if self._settings.init == "zeros":
            return None
        side, border = self.geometry.canvas_px, self.geometry.border_px
        generator = torch.Generator().manual_seed(self._settings.seed)
        values = torch.randn(3, side, side, generator=generator)
        values[:, border : side - border, border : side - border] = 0
        values *= torch.tensor(self._card.std).view(3, 1, 1)
        return values.clamp_(0, 1) if self._settings.project else values

    def _new_rule(self, prompt: VisualPrompt) -> UpdateRule:
        settings = self._settings
        if settings.method == "vp":
            return VpRule(self._card.std, prompt.pixels)
        return EvpRule(settings.norm, settings.norm_area, project=settings.project)

    def _count_start(self) -> StartCounts:
        """The answers to the training pictures before training, counted at the first call."""
        if self._start is None:
            full = self._count_answers(self.geometry.canvas_px, lambda images: images)
            blank = full
            if self.geometry.composition == "frame":
                blank = self._count_answers(self.geometry.image_px, self._pad)
            self._start = StartCounts(full, blank)
        return self._start

    def _pad(self, images: Tensor) -> Tensor:
        return pad_to_canvas(images, self.geometry)

    def _count_answers(self, side_px: int, compose: Callable[[Tensor], Tensor]) -> AnswerCounts:
        if side_px == self.geometry.image_px and not self._is_trivial:
            return self._count(self._train, compose)  # what it decodes stays for the training
        with closing(self._open("train", side_px)) as source:
            return self._count(source, compose)

    @torch.no_grad()
    def _count(self, source: PixelSource, compose: Callable[[Tensor], Tensor]) -> AnswerCounts:
        top = count_top(self._classes) if self.map_kind == "bayesian+" else None
        counts = AnswerCounts(len(self._card.source_classes), self._classes, self._device, top)
        for host_batch in source.center_batches(self._part_size):
            batch = host_batch.to(self._device)
            counts.add(self.source(compose(batch.images.float() / 255)), batch.labels)
        self._reading.world.sum_in_place(*counts.tables.values())
        return counts


@dataclass(frozen=True)
class PreparedFit:
    """What a fit has loaded and settled before it trains."""

    request: FitRequest
    dataset: Dataset
    card: BackboneCard
    texts: TaskTexts
    task: FitTask
    reading: Reading
    backbone: Backbone

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.reading.device

    @property
    def parent(self) -> StoredPrompt | None:
        """The finished prompt that training starts from, if any."""
        return self.task.parent

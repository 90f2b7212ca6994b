"""How a cell is measured: a fit, or a baseline on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from evpcli.domain.errors import EvpError
from evpcli.domain.manifest import Measurement
from evpcli.domain.settings import FitSettings
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.backbones.interface import Classifier
from evpcli.engine.benchmark.cell import Cell, CellResult
from evpcli.engine.benchmark.fitting_cells import fit_cell
from evpcli.engine.benchmark.methods import MEASURED_AS, MethodName
from evpcli.engine.benchmark.running import MISSING_SOURCE, Measure, Records
from evpcli.engine.compute.memory import explained_memory
from evpcli.engine.datasets.interface import Pictures, SplitName
from evpcli.engine.evaluation.classifiers import TaskClassifiers, build_classifiers
from evpcli.engine.evaluation.fine_tuning import FineTuneSettings, fine_tune
from evpcli.engine.evaluation.linear_probe import fit_linear_probe
from evpcli.engine.evaluation.noise import make_noise_border
from evpcli.engine.evaluation.predict import Gauge, Predictions, classify_full, classify_prompted
from evpcli.engine.files.paths import Places
from evpcli.engine.fitting.downloads import check_offline, list_downloads
from evpcli.engine.fitting.fit import FitHooks
from evpcli.engine.fitting.inputs import Materials, load_materials
from evpcli.engine.fitting.task import FitTask
from evpcli.engine.prompts.opening import open_prompt
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.prompts.visual_prompt import VisualPrompt

_UNTRAINED = {
    "method": "evp",
    "init": "zeros",
    "augment": "none",
    "residual": False,
}
"""Settings of a border that is not learned."""


def build_measure(places: Places, hooks: FitHooks) -> Measure:
    """What `run_cells` calls: each method's own way of measuring.

    Args:
        places: registry and runs of the benchmark.
        hooks: told of events, asked for a signal.
    """
    ways: Mapping[MethodName, Callable[[_Bench], CellResult]] = {
        "zero-shot": _measure_full,
        "blank": _measure_blank,
        "noise": _measure_noise,
        "linear-probe": _measure_probe,
        "fine-tune": _measure_fine_tuning,
    }

    def measure(cell: Cell, records: Records) -> CellResult:
        request = cell.request
        entry = find_entry(request.backbone)
        downloads = list_downloads(request.dataset, entry, has_weights=request.weights is not None)
        check_offline(downloads, offline=request.offline)
        if cell.method.is_fitted:
            return fit_cell(cell, places, hooks)
        with explained_memory(request.settings.batch_size):
            bench = _set_up(cell, records, places, hooks)
            return ways[cell.method.name](bench)

    return measure


@dataclass(frozen=True)
class _Bench:
    """A baseline's cell with everything loaded.

    Args:
        cell: what is measured.
        materials: dataset, backbone and texts.
        records: of the cells before it.
        places: registry and runs of the benchmark.
        hooks: told of events, asked for a signal.
    """

    cell: Cell
    materials: Materials
    records: Records
    places: Places
    hooks: FitHooks

    @property
    def settings(self) -> FitSettings:
        """Those of a fit without training, its kind of label map among them."""
        return self.cell.request.settings.model_copy(update=_UNTRAINED)

    @property
    def splits(self) -> dict[SplitName, Pictures]:
        """The pictures that are measured: what would select a prompt, and test."""
        names: tuple[SplitName, ...] = ("val", "test")
        chosen = ("test",) if self.settings.protocol == "paper" else names
        return {name: self.materials.dataset.splits[name] for name in names if name in chosen}

    @property
    def gauge(self) -> Gauge:
        """How pictures are read."""
        return Gauge(self.materials.reading, self.cell.request.settings.batch_size)

    @contextmanager
    def open_task(self) -> Iterator[FitTask]:
        """The task as a fit sees it; its decoding threads end with the block."""
        own = self.materials
        parts = (own.dataset, own.backbone, own.texts, self.settings, own.reading)
        with closing(FitTask(*parts)) as task:
            yield task

    def conclude(self, taken: tuple[Measurement, ...], chosen_on: str = "") -> CellResult:
        """The cell's result from its measurements, all of one kind."""
        return CellResult(
            what=taken[0].what,
            measurements=taken,
            chosen_on=chosen_on,
            fingerprint=self.materials.dataset.fingerprint,
        )


def _set_up(cell: Cell, records: Records, places: Places, hooks: FitHooks) -> _Bench:
    return _Bench(cell, load_materials(cell.request, hooks.on_event), records, places, hooks)


def _start(task: FitTask) -> tuple[VisualPrompt, TaskClassifiers]:
    """A border of zeros, and the classifiers that answer without a learned prompt."""
    learner = task.new_learner()
    return learner.prompt, task.build_classifiers(learner.head.export())


def _measure_full(bench: _Bench) -> CellResult:
    """The full image; through a label map it is called `mapped`."""
    with bench.open_task() as task:
        prompt, classifiers = _start(task)
        taken = tuple(
            classify_full(prompt, classifiers, pictures, bench.gauge).to_measurement(
                classifiers.baseline, split
            )
            for split, pictures in bench.splits.items()
        )
    return bench.conclude(taken)


def _measure_blank(bench: _Bench) -> CellResult:
    """The picture on a blank border."""
    with bench.open_task() as task:
        prompt, classifiers = _start(task)
        return _classify_all(bench, prompt, classifiers.blank)


def _measure_noise(bench: _Bench) -> CellResult:
    """The picture in a border of noise as long as the prompt that the same seed learned.

    It is answered through that prompt's own label map, so that no map is estimated.
    """
    source = bench.records.get(bench.cell.source_id or "")
    if source is None or source.digest is None:
        raise EvpError(MISSING_SOURCE)
    stored = open_prompt(source.digest, Registry(bench.places.registry))
    own, device = bench.materials, bench.materials.device
    source_classifier = own.backbone.build_classifier(
        own.texts.class_names, own.texts.templates, own.texts.descriptions
    )
    classifiers = build_classifiers(
        source_classifier, stored.label_map, stored.manifest.label_map, device
    )
    noise = make_noise_border(stored.to_visual_prompt().to(device), seed=bench.cell.seed or 0)
    return _classify_all(bench, noise, classifiers.prompted)


def _classify_all(bench: _Bench, prompt: VisualPrompt, classifier: Classifier) -> CellResult:
    """The result of a border, whatever is on it."""
    what = MEASURED_AS[bench.cell.method.name]
    taken = tuple(
        classify_prompted(prompt, classifier, pictures, bench.gauge).to_measurement(what, split)
        for split, pictures in bench.splits.items()
    )
    return bench.conclude(taken)


def _measure_probe(bench: _Bench) -> CellResult:
    """Logistic regression on the features of full pictures; validation chooses its penalty."""
    probe = fit_linear_probe(
        bench.materials.backbone,
        bench.materials.dataset,
        splits=tuple(bench.splits),
        batch_size=bench.settings.batch_size,
        reading=bench.materials.reading,
    )
    return _conclude_trained(bench, probe.predictions)


def _measure_fine_tuning(bench: _Bench) -> CellResult:
    """Every weight trained; validation chooses rate and epoch."""
    settings = bench.settings
    tuned = fine_tune(
        bench.materials.backbone,
        bench.materials.dataset,
        FineTuneSettings(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            flip=settings.flip,
            seed=bench.cell.seed or 0,
        ),
        splits=tuple(bench.splits),
        reading=bench.materials.reading,
        on_event=bench.hooks.on_event,
        stop_signal=bench.hooks.stop_signal,
    )
    return _conclude_trained(bench, tuned.predictions)


def _conclude_trained(bench: _Bench, predictions: Mapping[SplitName, Predictions]) -> CellResult:
    what = MEASURED_AS[bench.cell.method.name]
    taken = tuple(answers.to_measurement(what, split) for split, answers in predictions.items())
    return bench.conclude(taken, chosen_on="val")

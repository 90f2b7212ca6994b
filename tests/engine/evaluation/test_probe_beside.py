from __future__ import annotations

import pytest

from evpcli.engine.datasets.interface import Dataset
from evpcli.engine.datasets.loader import Reading
from evpcli.engine.evaluation import probe_beside
from evpcli.engine.evaluation.probe_beside import measure_probe_beside
from tests.engine.evaluation.tasks import ChannelMeans, SmallBackbone, draw_plain, make_dataset


def measure(dataset: Dataset) -> probe_beside.ProbeBeside:
    return measure_probe_beside(
        SmallBackbone(ChannelMeans()),
        dataset,
        Reading(threads=1),
        splits=("val", "test"),
        batch_size=16,
    )


def make(train: int = 40, val: int = 20, test: int = 20) -> Dataset:
    splits = {
        name: draw_plain(size, 2, seed)
        for seed, (name, size) in enumerate((("train", train), ("val", val), ("test", test)))
        if size
    }
    return make_dataset(2, **splits)


def test_a_cheap_probe_is_measured_on_both_splits() -> None:
    found = measure(make())
    assert found.reason == ""
    assert [(m.what, m.split, m.n) for m in found.measurements] == [
        ("linear-probe", "val", 20),
        ("linear-probe", "test", 20),
    ]
    assert all(m.top1 == 1.0 for m in found.measurements)


@pytest.mark.parametrize(("test", "is_measured"), [(60, True), (61, False)])
def test_features_may_cost_as_much_as_an_epoch(test: int, is_measured: bool) -> None:
    """40 + 20 + 60 forward passes are three for each of 40 training images."""
    found = measure(make(test=test))
    assert bool(found.measurements) is is_measured
    assert ("more than an epoch" in found.reason) is not is_measured


def test_long_regressions_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_beside, "MAX_PRODUCTS", 40 * 2 * 3)
    assert measure(make()).measurements
    monkeypatch.setattr(probe_beside, "MAX_PRODUCTS", 40 * 2 * 3 - 1)
    assert "regressions" in measure(make()).reason


def test_without_validation_images_there_is_none() -> None:
    assert "no validation images" in measure(make(val=0)).reason


def test_a_class_without_a_training_image_is_a_reason_not_an_error() -> None:
    splits = {name: draw_plain(20, 2, 0) for name in ("train", "val", "test")}
    found = measure(make_dataset(3, **splits))
    assert found.measurements == () and found.reason

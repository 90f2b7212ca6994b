from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from evpcli.domain.errors import UsageError
from evpcli.engine.datasets.interface import Dataset, Pictures
from evpcli.engine.datasets.loader import Reading
from evpcli.engine.evaluation import linear_probe
from evpcli.engine.evaluation.linear_probe import (
    C_GRID,
    LinearProbe,
    fit_linear_probe,
    judge_logits,
)
from evpcli.engine.images.decoder import crop_center, shrink_image
from tests.engine.evaluation.tasks import (
    ChannelMeans,
    PlainPictures,
    SmallBackbone,
    draw_plain,
    load_mini,
    make_dataset,
    take_digits,
)


def probe_colours(dataset: Dataset) -> LinearProbe:
    backbone = SmallBackbone(ChannelMeans())
    return fit_linear_probe(backbone, dataset, batch_size=16, reading=Reading(threads=1))


def draw_suppressor(n: int) -> PlainPictures:
    """Red is class plus noise, green the noise alone: only both together tell the class surely."""
    noise = np.random.default_rng(0).uniform(-1, 1, n)
    labels = np.arange(n) % 2
    colours = 128 + np.stack([40 * labels - 20 + 60 * noise, 60 * noise, 0 * noise], 1)
    return PlainPictures(colours.astype(np.uint8), tuple(labels.tolist()))


LOOKS_RED = PlainPictures(np.array([[168, 208, 128], [88, 48, 128]], dtype=np.uint8), (1, 0))
"""Right by red alone, wrong by red minus green."""

LOOKS_GREEN = PlainPictures(LOOKS_RED.colours[::-1].copy(), (1, 0))
"""Wrong by red alone, right by red minus green."""


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_separable_features_are_told_apart(classes: int) -> None:
    splits = {name: draw_plain(70, classes, seed) for seed, name in enumerate(("train", "val"))}
    found = probe_colours(make_dataset(classes, **splits, test=draw_plain(42, classes, 9)))
    assert found.predictions["test"].top1.value == 1.0
    assert (found.predictions["test"].top5 is not None) is (classes >= 6)
    assert found.width == 3
    assert [trial.c for trial in found.trials] == list(C_GRID)


@pytest.mark.parametrize(("val", "test"), [(LOOKS_RED, LOOKS_GREEN), (LOOKS_GREEN, LOOKS_RED)])
def test_c_is_chosen_on_validation_whatever_test_would_like(val: Pictures, test: Pictures) -> None:
    found = probe_colours(make_dataset(2, train=draw_suppressor(200), val=val, test=test))
    assert found.predictions["val"].top1.value == 1.0
    assert found.predictions["test"].top1.value == 0.0
    other = probe_colours(make_dataset(2, train=draw_suppressor(200), val=test, test=test))
    assert other.predictions["test"].top1.value == 1.0  # another C was there to be found
    assert other.chosen.c != found.chosen.c


def test_probe_agrees_with_scikit_learn_called_directly() -> None:
    dataset, backbone = take_digits(150, 60, 60), load_mini()
    card, encoder = backbone.card, backbone.build_encoder()

    def encode(pictures: Pictures) -> np.ndarray:
        shrunk = [
            shrink_image(pictures.open_image(index), card.canvas_px, card.interpolation)
            for index in range(len(pictures))
        ]
        squares = torch.stack([crop_center(pixels, card.canvas_px) for pixels in shrunk])
        with torch.no_grad():
            return encoder(squares / 255).double().numpy()

    features = {name: encode(pictures) for name, pictures in dataset.splits.items()}
    labels = {name: np.array(pictures.labels) for name, pictures in dataset.splits.items()}
    scaler = StandardScaler().fit(features["train"])
    found = fit_linear_probe(backbone, dataset, batch_size=32, reading=Reading(threads=1))
    ranks = []
    for trial in found.trials:
        model = LogisticRegression(C=trial.c, max_iter=5000)
        model.fit(scaler.transform(features["train"]), labels["train"])
        shares = model.predict_proba(scaler.transform(features["val"]))
        correct = int((shares.argmax(1) == labels["val"]).sum())
        loss = log_loss(labels["val"], shares, labels=range(10))
        assert trial.score.top1.correct == correct
        assert trial.score.loss == pytest.approx(loss, rel=0.01)
        ranks.append((-correct, trial.score.loss, trial.c))
    assert found.chosen.c == min(ranks)[2]
    model = LogisticRegression(C=found.chosen.c, max_iter=5000)
    model.fit(scaler.transform(features["train"]), labels["train"])
    shares = model.predict_proba(scaler.transform(features["test"]))
    answers = found.predictions["test"]
    assert answers.answers.tolist() == shares.argmax(1).tolist()
    np.testing.assert_allclose(answers.confidence, shares.max(1), atol=0.01)


def test_a_fit_cut_short_is_told_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "MAX_ITERATIONS", 1)
    pictures = draw_plain(60, 3, 0)
    found = probe_colours(make_dataset(3, train=pictures, val=pictures, test=pictures))
    assert not any(trial.converged for trial in found.trials[-3:])


def test_only_the_splits_asked_for_are_read() -> None:
    pictures = draw_plain(20, 2, 0)
    backbone = SmallBackbone(ChannelMeans())
    dataset = make_dataset(2, train=pictures, val=pictures)
    found = fit_linear_probe(
        backbone, dataset, splits=("val",), batch_size=8, reading=Reading(threads=1)
    )
    assert set(found.predictions) == {"val"}
    with pytest.raises(UsageError, match="no test split"):
        probe_colours(dataset)


def test_a_dataset_without_validation_is_refused() -> None:
    pictures = draw_plain(20, 2, 0)
    with pytest.raises(UsageError, match="validation") as error:
        probe_colours(make_dataset(2, train=pictures, test=pictures))
    assert "--protocol validation" in (error.value.hint or "")


def test_a_class_without_a_training_picture_is_refused() -> None:
    pictures = draw_plain(20, 2, 0)
    with pytest.raises(UsageError, match="every class") as error:
        probe_colours(make_dataset(3, train=pictures, val=pictures, test=pictures))
    assert error.value.found == "none of class 2"


def test_logits_are_judged_by_their_softmax() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    found = judge_logits(logits, torch.tensor([1, 1]))
    assert found.answers.tolist() == [1, 0]
    assert found.in_top5 is None
    assert found.loss_sum == pytest.approx(np.log1p(np.exp(-2)) + np.log1p(np.exp(1)))

from __future__ import annotations

import pytest

from evpcli.domain.card import (
    compare_with_probe,
    describe_class_gain,
    describe_gain,
    describe_prompt,
    list_accuracies,
    list_mapped_classes,
)
from evpcli.domain.statistics import wilson_interval
from tests.builders import build_manifest


def list_fields(**changes: object) -> dict[str, str]:
    sections = describe_prompt(build_manifest(**changes), "ab" * 32, "digits/mini:v1")
    return {name: value for section in sections for name, value in section.fields}


def test_every_accuracy_stands_beside_both_baselines() -> None:
    rows = list_accuracies(build_manifest())
    assert [(row.split, row.what) for row in rows] == [
        (split, what) for split in ("test", "val") for what in ("zero-shot", "blank", "prompted")
    ]
    assert rows[1].to_cells() == ("test", "blank", "", "not measured", "", "", "", "")


def test_accuracy_cells_hold_n_and_interval() -> None:
    row = next(row for row in list_accuracies(build_manifest()) if row.what == "prompted")
    low, high = wilson_interval(160, 200)
    bounds = (f"{100 * low:.1f}", f"{100 * high:.1f}")
    assert row.to_cells() == ("test", "prompted", "200", "80.0", *bounds, "", "")
    assert row.note == "selected on val, epoch 3 of 5"


def test_gain_names_what_was_not_measured() -> None:
    gain = describe_gain(build_manifest())
    assert gain is not None
    assert "+20.0 points against zero-shot 60.0 %" in gain
    assert "blank not measured" in gain
    assert describe_gain(build_manifest(metrics=())) is None


def test_the_mean_per_class_stands_beside_top1_where_it_was_measured() -> None:
    assert describe_class_gain(build_manifest()) is None  # as in files of the first version
    old = build_manifest().metrics
    shares = {"zero-shot": 0.5, "prompted": 0.625}
    metrics = tuple(m.model_copy(update={"mean_per_class": shares[m.what]}) for m in old)
    manifest = build_manifest(metrics=metrics)
    said = "test: 62.5 % with the prompt, +12.5 points against zero-shot 50.0 %"
    assert describe_class_gain(manifest) == said
    row = next(row for row in list_accuracies(manifest) if row.what == "prompted")
    assert row.to_cells()[6:] == ("62.5", "")
    alone = tuple(m for m in metrics if m.what == "prompted")
    assert describe_class_gain(build_manifest(metrics=alone)) == "test: 62.5 % with the prompt"


def test_selection_on_test_is_called_optimistic() -> None:
    chosen = {"protocol": "paper", "split": "test", "epoch": 3, "epochs": 5}
    assert "optimistic" in list_fields(selection=chosen)["selection"]
    assert "optimistic" not in list_fields()["selection"]


def test_card_names_sources_sizes_and_what_is_missing() -> None:
    fields = list_fields()
    assert fields["lr"] == "2.0 (catalog)"
    assert fields["images"] == "train 1000, val 200, test 200"
    assert fields["learned_values"] == str(3 * (16**2 - 12**2))
    assert fields["weights_sha256"] == "not recorded"


def test_many_classes_are_counted_not_listed() -> None:
    names = tuple(f"class {number}" for number in range(500))
    assert list_fields(class_names=names)["classes"].endswith("class 11, and 488 more")


def test_values_are_said_in_words() -> None:
    values = {"flip": False, "project": True, "patience": None, "epochs": 1}
    settings = {name: {"value": value, "source": "default"} for name, value in values.items()}
    fields = list_fields(settings=settings)
    assert fields["flip"] == "no (default)"
    assert fields["project"] == "yes (default)"
    assert fields["patience"] == "not set (default)"
    assert fields["epochs"] == "1 (default)"


MAP = {
    "kind": "frequency",
    "source_classes": 1000,
    "indices": (3, 0, 1),
    "sources": (("tench",), ("cat", "lynx"), ()),
    "estimated_from": "pictures",
}


def test_a_classifiers_baseline_is_called_mapped() -> None:
    taken = {"split": "test", "n": 200}
    metrics = (
        taken | {"what": "mapped", "top1_correct": 100},
        taken | {"what": "prompted", "top1_correct": 150},
    )
    manifest = build_manifest(label_map=MAP, metrics=metrics)
    assert [row.what for row in list_accuracies(manifest)] == ["mapped", "blank", "prompted"]
    assert "+25.0 points against mapped 50.0 %" in str(describe_gain(manifest))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (150, "reaches 75.0 %, as much as the prompt"),
        (120, "reaches 60.0 %, 15.0 points below the prompt"),
        (170, "reaches 85.0 %, 10.0 points above the prompt, but it needs the model's features"),
    ],
)
def test_the_probe_is_compared_with_the_prompt(right: int, said: str) -> None:
    taken = {"split": "test", "n": 200}
    prompted = taken | {"what": "prompted", "top1_correct": 150}
    probe = taken | {"what": "linear-probe", "top1_correct": right}
    manifest = build_manifest(metrics=(prompted, probe))
    assert str(compare_with_probe(manifest)).endswith(said)
    row = list_accuracies(manifest)[-1]
    assert (row.what, row.note) == ("linear-probe", "selected on val")
    assert compare_with_probe(build_manifest(metrics=(prompted,))) is None


def test_the_label_map_is_said_in_words_and_rows() -> None:
    fields = list_fields(label_map=MAP)
    assert fields["label_map"] == "frequency, from 1000 source classes"
    assert fields["estimated_from"] == "pictures"
    rows = list_mapped_classes(build_manifest(label_map=MAP))
    assert rows == (("zero", "tench"), ("one", "cat; lynx"), ("two", ""))
    assert list_mapped_classes(build_manifest()) == ()
    assert "label_map" not in list_fields()


def test_only_sentences_that_are_asked_are_shown() -> None:
    described = {"sentences": (("a",), ("c",), ("d",)), "best_of": 1}
    assert list_fields()["templates"] == "this is a photo of a {}"
    assert "templates" not in list_fields(descriptions=described)
    assert "templates" not in list_fields(label_map=MAP)


def test_what_is_learned_behind_the_backbone_is_counted_too() -> None:
    border = 3 * (16**2 - 12**2)
    learned = {"kind": "linear", "source_classes": 1000, "sha256": "ab" * 32}
    assert list_fields(label_map=MAP)["learned_values"] == str(border)
    text = list_fields(label_map=learned)["learned_values"]
    assert text == f"{border} in the border, {3 * 1001} behind the backbone"
    residual = learned | {"kind": "frequency", "residual": True}
    text = list_fields(label_map=residual)["learned_values"]
    assert text == f"{border} in the border, {3 * 4} behind the backbone"


def test_threads_that_decode_are_told_from_torchs() -> None:
    fields = list_fields(
        settings={"threads": {"value": 2, "source": "flag"}},
        provenance={"evp": "0.0.0", "threads": 8},
    )
    assert (fields["workers"], fields["torch_threads"]) == ("2 (flag)", "8")
    assert "threads" not in fields


def test_a_residual_matrix_is_not_called_evp() -> None:
    residual = {"kind": "none", "residual": True, "source_classes": 3, "sha256": "ab" * 32}
    assert list_fields(label_map=residual)["method"].endswith("(not EVP)")
    assert list_fields(method="vp", composition="overlay")["method"] == "vp, composed as overlay"


def test_descriptions_are_counted() -> None:
    described = {"sentences": (("a", "b"), ("c",), ("d",)), "best_of": 2}
    text = "4 sentences in place of templates, mean of the best 2"
    assert list_fields(descriptions=described)["descriptions"] == text
    assert "descriptions" not in list_fields()

"""What a prompt file says of itself, in sections and rows that are ready to be shown.

The texts come from the file as they are; whoever shows them makes them safe for the place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evpcli.domain.counts import say_count
from evpcli.domain.manifest import LabelMapRecord, Manifest, Measurement, What
from evpcli.domain.statistics import Accuracy

_SPLITS: tuple[Literal["test", "val", "train"], ...] = ("test", "val", "train")
_SHOWN_CLASSES = 12
_SHOWN_TEMPLATES = 4
_SETTING_NAMES = {"threads": "workers"}
"""Settings that the card calls as their option is called: torch's threads are another number."""

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """A heading and its lines.

    Args:
        title: one or two words.
        fields: name and value of each line.
    """

    title: str
    fields: Fields


@dataclass(frozen=True)
class AccuracyRow:
    """One accuracy as text, or the fact that it was not measured.

    Args:
        split: which pictures.
        what: `zero-shot`, or `mapped` and perhaps `one-to-one`; `blank`, `prompted`; perhaps
            `linear-probe`.
        measurement: the counts behind it, if there are any.
        note: what selected the prompt, where that bears on this number.
    """

    split: str
    what: str
    measurement: Measurement | None
    note: str = ""

    def to_cells(self) -> tuple[str, str, str, str, str, str, str, str]:
        """Split, kind, n, top-1, its two bounds, mean per class and top-5, in percent."""
        taken = self.measurement
        if taken is None:
            return self.split, self.what, "", "not measured", "", "", "", ""
        shares = (
            taken.top1,
            *taken.interval,
            taken.mean_per_class,
            None if taken.top5_correct is None else taken.top5_correct / taken.n,
        )
        top1, low, high, by_class, top5 = (
            "" if share is None else f"{100 * share:.1f}" for share in shares
        )
        return self.split, self.what, str(taken.n), top1, low, high, by_class, top5


def list_accuracies(manifest: Manifest) -> tuple[AccuracyRow, ...]:
    """All kinds for every measured split: no accuracy stands without its baseline."""
    stamps = {
        "prompted": manifest.selection.label if manifest.selection else "selection unknown",
        "linear-probe": "selected on val",
    }
    known = {taken.what for taken in manifest.metrics if not taken.condition}
    more: tuple[What, ...] = ("one-to-one", "linear-probe")
    simpler, probe = ((what,) if what in known else () for what in more)
    whats = (manifest.baseline, *simpler, "blank", "prompted", *probe)
    return tuple(
        AccuracyRow(split, what, manifest.find_measurement(what, split), stamps.get(what, ""))
        for split in _SPLITS
        if any(taken.split == split for taken in manifest.metrics)
        for what in whats
    )


def describe_gain(manifest: Manifest, split: str = "test") -> str | None:
    """What the prompt adds in points on a split, and what selected it; nothing if not measured."""
    prompted = manifest.find_measurement("prompted", split)
    if prompted is None:
        return None
    text = f"{split}: {Accuracy(prompted.top1_correct, prompted.n)} with the prompt"
    for what in (manifest.baseline, "blank"):
        other = manifest.find_measurement(what, split)
        if other:
            gain = 100 * (prompted.top1 - other.top1)
            text += f", {gain:+.1f} points against {what} {100 * other.top1:.1f} %"
        else:
            text += f", {what} not measured"
    return text


def compare_with_probe(manifest: Manifest, split: str = "test") -> str | None:
    """How a linear probe on the same images does beside the prompt; nothing if not measured."""
    prompted = manifest.find_measurement("prompted", split)
    probe = manifest.find_measurement("linear-probe", split)
    if prompted is None or probe is None:
        return None
    ahead = round(100 * (probe.top1 - prompted.top1), 1)
    text = f"{split}: a linear probe on the same images reaches {100 * probe.top1:.1f} %"
    if ahead == 0:
        return f"{text}, as much as the prompt"
    if ahead < 0:
        return f"{text}, {-ahead:.1f} points below the prompt"
    return f"{text}, {ahead:.1f} points above the prompt, but it needs the model's features"


def describe_class_gain(manifest: Manifest, split: str = "test") -> str | None:
    """The same for the mean of the classes' accuracies; nothing if not measured."""
    prompted = manifest.find_measurement("prompted", split)
    if prompted is None or prompted.mean_per_class is None:
        return None
    text = f"{split}: {100 * prompted.mean_per_class:.1f} % with the prompt"
    plain = manifest.find_measurement(manifest.baseline, split)
    if plain is None or plain.mean_per_class is None:
        return text
    gain = 100 * (prompted.mean_per_class - plain.mean_per_class)
    against = f"{manifest.baseline} {100 * plain.mean_per_class:.1f} %"
    return f"{text}, {gain:+.1f} points against {against}"


def describe_prompt(manifest: Manifest, digest: str, ref: str) -> tuple[Section, ...]:
    """Everything but accuracies, history and the full list of classes.

    Args:
        manifest: of the prompt.
        digest: SHA-256 of the prompt file.
        ref: how the prompt was addressed.
    """
    return (
        Section("Prompt", _describe_origin(manifest, digest, ref)),
        Section("Dataset", _describe_dataset(manifest)),
        Section("Backbone", _describe_backbone(manifest)),
        Section("Label map", _describe_label_map(manifest.label_map)),
        Section("Geometry", _describe_geometry(manifest)),
        Section("Selection", _describe_selection(manifest)),
        Section("Settings", _describe_settings(manifest)),
        Section("Made with", _describe_provenance(manifest)),
    )


def _describe_origin(manifest: Manifest, digest: str, ref: str) -> Fields:
    fields = [
        ("prompt", ref),
        ("digest", digest),
        ("created", manifest.created_at),
        ("origin", manifest.origin),
        ("method", _describe_method(manifest)),
        ("pixels_sha256", manifest.pixels_sha256),
    ]
    if manifest.source:
        fields.append(("source", manifest.source))
    fields += [("parent", parent) for parent in manifest.parents]
    return tuple(fields)


def _describe_method(manifest: Manifest) -> str:
    text = f"{manifest.method}, composed as {manifest.composition}"
    if manifest.label_map and manifest.label_map.residual:
        return f"{text}, with a residual class-to-class matrix (not EVP)"
    return text


def _describe_dataset(manifest: Manifest) -> Fields:
    record = manifest.dataset
    order = reversed(_SPLITS)
    sizes = ", ".join(f"{name} {record.sizes[name]}" for name in order if name in record.sizes)
    names = manifest.class_names
    return (
        ("dataset", record.name),
        ("fingerprint", record.fingerprint or "not recorded"),
        ("images", sizes or "not recorded"),
        ("split_rule", record.split_rule or "not recorded"),
        ("skipped_images", str(record.skipped_images)),
        ("licence", record.licence),
        ("classes", f"{len(names)}: {_list_some(names, _SHOWN_CLASSES)}" if names else "unknown"),
        *_describe_texts(manifest),
    )


def _describe_texts(manifest: Manifest) -> Fields:
    """The sentences that are asked; nothing for a classifier, which reads none."""
    descriptions = manifest.descriptions
    if manifest.baseline == "mapped":
        return ()
    if descriptions is None:
        return (("templates", _list_some(manifest.templates, _SHOWN_TEMPLATES) or "unknown"),)
    count = say_count(sum(map(len, descriptions.sentences)), "sentence")
    text = f"{count} in place of templates, mean of the best {descriptions.best_of}"
    return (("descriptions", text),)


def _list_some(texts: tuple[str, ...], limit: int) -> str:
    more = f", and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def _describe_backbone(manifest: Manifest) -> Fields:
    record = manifest.backbone
    return (
        ("backbone", record.name),
        ("architecture", record.architecture),
        ("weights", record.weights),
        ("weights_sha256", record.weights_sha256 or "not recorded"),
        ("activation", record.activation),
    )


def _describe_label_map(record: LabelMapRecord | None) -> Fields:
    if record is None or record.kind == "none":
        return ()
    return (
        ("label_map", f"{record.kind}, from {record.source_classes} source classes"),
        ("estimated_from", record.estimated_from or "not recorded"),
    )


def list_mapped_classes(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Each task class with its source classes, the strongest first; empty without a label map."""
    record = manifest.label_map
    if record is None or not record.sources:
        return ()
    pairs = zip(manifest.class_names, record.sources, strict=False)
    return tuple((name, "; ".join(sources)) for name, sources in pairs)


def _describe_geometry(manifest: Manifest) -> Fields:
    geometry, taken = manifest.to_geometry(), manifest.preprocessing
    return (
        ("canvas_px", str(geometry.canvas_px)),
        ("border_px", str(geometry.border_px)),
        ("window_px", str(geometry.window_px)),
        ("learned_values", _count_learned(manifest)),
        ("resize", f"{taken.resize}, {taken.interpolation}, {taken.crop} crop"),
        ("mean", ", ".join(f"{value:.4g}" for value in taken.mean)),
        ("std", ", ".join(f"{value:.4g}" for value in taken.std)),
        ("decoder_policy", str(taken.decoder_policy)),
    )


def _count_learned(manifest: Manifest) -> str:
    border, record = manifest.to_geometry().learned_values, manifest.label_map
    if record is None or not (record.residual or record.kind == "linear"):
        return str(border)
    classes = len(manifest.class_names)
    inputs = classes if record.residual else record.source_classes
    return f"{border} in the border, {classes * (inputs + 1)} behind the backbone"


def _describe_selection(manifest: Manifest) -> Fields:
    chosen = manifest.selection
    if chosen is None:
        return (("selection", "unknown"),)
    remark = " (optimistic: the measured pictures chose it)" if chosen.split == "test" else ""
    return (("selection", chosen.label + remark), ("protocol", chosen.protocol))


def _describe_settings(manifest: Manifest) -> Fields:
    settings = sorted((_SETTING_NAMES.get(n, n), record) for n, record in manifest.settings.items())
    return tuple(
        (name, f"{_say_value(record.value)} ({record.source})") for name, record in settings
    )


def _describe_provenance(manifest: Manifest) -> Fields:
    record = manifest.provenance.model_dump()
    return tuple(
        ("torch_threads" if name == "threads" else name, _say_value(value))
        for name, value in record.items()
        if value not in (None, "unknown")
    )


def _say_value(value: object) -> str:
    """A setting in words: no `True`, `False` or `None` of Python's."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

"""The classes in words: settled, told apart, and within what a prompt file keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from evpcli.domain.counts import list_some, say_count
from evpcli.domain.errors import UsageError
from evpcli.domain.manifest import Descriptions, Manifest
from evpcli.domain.names import clean_class_name
from evpcli.domain.settings import DEFAULT_TEMPLATE, TemplateSet
from evpcli.domain.templates import check_templates, fill_template
from evpcli.engine.datasets.interface import Dataset

_WORDNET_ID = re.compile(r"n[0-9]{8}")
_KINDS = {"class_names": "class name", "templates": "template"}


@dataclass(frozen=True)
class TaskTexts:
    """The classes in words.

    Args:
        class_names: one a class, in label order.
        templates: sentences with `{}`.
        descriptions: sentences of each class, which take the place of the templates.
    """

    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    descriptions: Descriptions | None = None


def settle_texts(
    dataset: Dataset,
    class_names: Sequence[str] = (),
    templates: Sequence[str] = (),
    descriptions: Mapping[str, Sequence[str]] | None = None,
    best_of: int = 3,
    template_set: TemplateSet | None = None,
) -> TaskTexts:
    """The user's class names and templates, or else the dataset's, or else the default.

    Args:
        dataset: whose classes they are.
        class_names: one a class, in label order.
        templates: sentences with `{}`.
        descriptions: sentences by class name; one entry for every class.
        best_of: how many of a class's most similar sentences count.
        template_set: further templates, by name.

    Raises:
        UsageError: another number of names than classes, an empty name, two names that read the
            same, a template without `{}`, descriptions that lack a class, or a text that a prompt
            file cannot keep.
    """
    names = tuple(class_names) or dataset.class_names
    if len(names) != len(dataset.class_names):
        raise UsageError(
            f"{dataset.name} has {len(dataset.class_names)} classes",
            found=say_count(len(names), "class name"),
            hint="give one name a line, in the order that evp datasets show lists",
        )
    if class_names:
        _check_order(names, dataset.source_classes or dataset.class_names)
    _check_apart(names, dataset.class_names if class_names else dataset.source_classes or names)
    chosen = (*templates, *(list_templates(template_set) if template_set else ()))
    sentences = check_templates(chosen or dataset.templates or (DEFAULT_TEMPLATE,))
    _check_limits("class_names", names, "give other names with --classnames FILE")
    _check_limits("templates", sentences, "give other or fewer templates")
    described = _settle_descriptions(names, descriptions, best_of) if descriptions else None
    return TaskTexts(names, sentences, described)


def describe_unreadable_names(names: Sequence[str]) -> str | None:
    """What to say of class names that mean nothing to a text tower: WordNet ids and numbers."""
    ids = [name for name in names if _WORDNET_ID.fullmatch(name)]
    numbers = [name for name in names if name.isdecimal()]
    chosen, kind = (ids, "WordNet ids") if len(ids) >= len(numbers) else (numbers, "numbers")
    if not chosen:
        return None
    return (
        f"the class names {list_some(chosen, 3)} are {kind}, which say nothing to a text tower: "
        "give words with --classnames FILE"
    )


def list_sentences(texts: TaskTexts) -> list[str]:
    """Every sentence that the text tower is given."""
    if texts.descriptions:
        return [sentence for of_class in texts.descriptions.sentences for sentence in of_class]
    return [fill_template(t, name) for name in texts.class_names for t in texts.templates]


def list_templates(name: TemplateSet) -> tuple[str, ...]:
    """The sentences of a named set, as open_clip has them."""
    import open_clip

    sets = {
        "clip7": open_clip.SIMPLE_IMAGENET_TEMPLATES,
        "clip80": open_clip.OPENAI_IMAGENET_TEMPLATES,
    }
    return tuple(fill("{}") for fill in sets[name])


def _settle_descriptions(
    names: Sequence[str], given: Mapping[str, Sequence[str]], best_of: int
) -> Descriptions:
    """The sentences in label order; class names are compared as words, not as they are spelt."""
    by_name = {_to_words(name): sentences for name, sentences in given.items()}
    if len(by_name) < len(given):
        raise UsageError("two entries of the descriptions name the same class in words")
    missing = [name for name in names if not by_name.get(_to_words(name))]
    if missing:
        raise UsageError(
            f"the descriptions lack {len(missing)} of {len(names)} classes",
            found=", ".join(ascii(name[:40]) for name in missing[:3]),
            hint="give every class at least one sentence, under the names of `evp datasets show`",
        )
    try:
        return Descriptions(
            sentences=tuple(tuple(by_name[_to_words(name)]) for name in names), best_of=best_of
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(
            "a prompt file cannot keep these descriptions",
            found=f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:120]}",
        ) from error


def _to_words(name: str) -> str:
    return clean_class_name(name).lower()


def _check_order(names: Sequence[str], own: Sequence[str]) -> None:
    """Refuse the folders' own names in another order: each class would have another's name."""
    given, found = [_to_words(name) for name in names], [_to_words(name) for name in own]
    if given == found or sorted(given) != sorted(found):
        return
    place = next(i for i, pair in enumerate(zip(given, found, strict=True)) if pair[0] != pair[1])
    raise UsageError(
        "the class names are the folders' own in another order",
        found=f"line {place + 1} says {names[place][:40]!a}, the folder is {own[place][:40]!a}",
        hint="put them in the order of evp datasets show, or leave --classnames away",
    )


def _check_apart(names: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse names that a text tower cannot tell apart.

    Args:
        names: one a class.
        labels: how the classes are called in errors, in the same order.
    """
    seen: dict[str, str] = {}
    for name, label in zip(names, labels, strict=True):
        key = " ".join(name.split()).lower()
        if not key:
            raise UsageError(
                "a class has no name in words",
                found=ascii(label[:80]),
                hint="name every class with --classnames FILE",
            )
        if key in seen:
            raise UsageError(
                "two classes have the same name in words",
                found=f"{seen[key][:80]!a} and {label[:80]!a} both read {key[:80]!a}",
                hint="tell them apart with --classnames FILE",
            )
        seen[key] = label


def _check_limits(field: str, texts: tuple[str, ...], hint: str) -> None:
    """Hold texts against the manifest's own type, before anything is trained for nothing."""
    try:
        TypeAdapter(Manifest.model_fields[field].rebuild_annotation()).validate_python(texts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = first["loc"][0] if first["loc"] else None
        found = f"number {place + 1}: {texts[place][:60]!a}" if isinstance(place, int) else ""
        raise UsageError(
            f"a prompt file cannot keep {'this' if found else 'so many'} {_KINDS[field]}"
            f"{'' if found else 's'}: {first['msg'][0].lower()}{first['msg'][1:]}",
            found=found or f"{len(texts)}",
            hint=hint,
        ) from error

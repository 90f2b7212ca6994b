"""The methods that a benchmark compares, read from one line of text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evpcli.domain.errors import UsageError
from evpcli.domain.manifest import What
from evpcli.domain.names import suggest

MethodName = Literal["evp", "vp", "zero-shot", "blank", "noise", "linear-probe", "fine-tune"]

MEASURED_AS: Mapping[MethodName, What] = {
    "evp": "prompted",
    "vp": "prompted",
    "zero-shot": "zero-shot",
    "blank": "blank",
    "noise": "noise",
    "linear-probe": "linear-probe",
    "fine-tune": "fine-tuned",
}
"""What a method's own accuracy is called among the measurements of its cell."""


@dataclass(frozen=True)
class Method:
    """One line of the comparison.

    Args:
        name: what is done.
        options: of `evp fit`, as words.
    """

    name: MethodName
    options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The method as a person writes it."""
        return " ".join(map(_quote, (self.name, *self.options)))

    @property
    def is_fitted(self) -> bool:
        """Whether `evp fit` makes it, so that there is a prompt afterwards."""
        return self.name in ("evp", "vp")


def parse_methods(text: str) -> tuple[Method, ...]:
    """The methods between the commas of a text, each once.

    Args:
        text: names, each with options of `evp fit` after it where they are wanted, such as
            `evp,evp --augment trivial`. Quotation marks keep blanks and commas together.

    Raises:
        UsageError: a name is unknown, or a quotation mark is left open.
    """
    found = [_read_method(words) for words in _split_at_commas(text) if words]
    if not found:
        raise UsageError("no method is named", hint=f"known: {', '.join(MEASURED_AS)}")
    return tuple(dict.fromkeys(found))


def split_options(text: str) -> tuple[str, ...]:
    """Options of `evp fit` in one text, as words.

    Raises:
        UsageError: a quotation mark is left open.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise _explain_quotes(text, error) from error


def _split_at_commas(text: str) -> list[list[str]]:
    reader = shlex.shlex(text, posix=True, punctuation_chars=",")
    reader.whitespace_split, reader.commenters = True, ""
    groups: list[list[str]] = [[]]
    try:
        for word in reader:
            if word.strip(","):
                groups[-1].append(word)
            else:
                groups.append([])
    except ValueError as error:
        raise _explain_quotes(text, error) from error
    return groups


def _read_method(words: list[str]) -> Method:
    for name in MEASURED_AS:
        if name == words[0]:
            return Method(name, tuple(words[1:]))
    near = suggest(words[0], MEASURED_AS)
    raise UsageError(
        "there is no such method",
        found=repr(words[0][:80]),
        hint=f"{near + ' ' if near else ''}known: {', '.join(MEASURED_AS)}",
    )


def _quote(word: str) -> str:
    """The word as one that `parse_methods` reads back; the shell would leave a comma bare."""
    return f"'{word}'" if "," in word and shlex.quote(word) == word else shlex.quote(word)


def _explain_quotes(text: str, error: ValueError) -> UsageError:
    return UsageError(
        "a quotation mark is left open", found=repr(text[:80]), hint=str(error).lower()
    )

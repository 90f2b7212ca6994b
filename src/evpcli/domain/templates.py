"""Sentences with one place for a class name."""

from __future__ import annotations

from collections.abc import Sequence

from evpcli.domain.errors import UsageError


def fill_template(template: str, class_name: str) -> str:
    """The sentence with the class name in place of `{}`."""
    return template.replace("{}", class_name)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Give the templates back if each has exactly one place for the class name.

    Raises:
        UsageError: there is none, or one lacks `{}`.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise UsageError(
                "a template needs `{}` once, where the class name goes", found=repr(template[:120])
            )
    if not templates:
        raise UsageError("there is no template", hint='try --template "this is a photo of a {}"')
    return tuple(templates)

from __future__ import annotations

import pytest

from evpcli.domain.errors import UsageError
from evpcli.domain.templates import check_templates, fill_template


@pytest.mark.parametrize("templates", [[], ["no place"], ["{} and {}"], ["ok {}", ""]])
def test_templates_without_one_place_are_refused(templates: list[str]) -> None:
    with pytest.raises(UsageError, match="template"):
        check_templates(templates)


def test_braces_in_a_class_name_are_only_text() -> None:
    assert fill_template("a {}", "{0.__class__}") == "a {0.__class__}"

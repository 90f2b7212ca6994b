from __future__ import annotations

import pytest

from evpcli.domain.errors import UsageError
from evpcli.engine.benchmark.methods import Method, parse_methods


def test_commas_divide_methods_and_quotes_keep_options_together() -> None:
    found = parse_methods('evp, evp --augment trivial,vp --template "a {}, small",zero-shot,evp')
    assert found == (
        Method("evp"),
        Method("evp", ("--augment", "trivial")),
        Method("vp", ("--template", "a {}, small")),
        Method("zero-shot"),
    )
    assert found[1].text == "evp --augment trivial"


def test_a_methods_text_is_read_back() -> None:
    method = Method("evp", ("--classnames", "a,b.txt", "--template", "it's a {}, small"))
    assert method.text.startswith("evp --classnames 'a,b.txt'")
    assert parse_methods(f"{method.text},vp") == (method, Method("vp"))


@pytest.mark.parametrize(
    ("text", "said"),
    [("evpp", "did you mean evp?"), ("evp --x 'y", "quotation"), (" , ", "no method")],
)
def test_what_is_no_method_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_methods(text)
    assert said in f"{caught.value.what} {caught.value.hint}"

from __future__ import annotations

from evpcli.domain.counts import say_count


def test_one_thing_is_not_called_many() -> None:
    assert [say_count(n, "picture") for n in (0, 1, 2)] == ["0 pictures", "1 picture", "2 pictures"]
    assert say_count(1, "class", "classes") == "1 class"
    assert say_count(3, "class", "classes") == "3 classes"

"""Each call to the file system fails, or is the last, while a verb is at work."""

from __future__ import annotations

import pytest

from tests.faults.actions import ACTIONS, act_and_tell, copy_home, read_told
from tests.faults.injection import WAYS, Child, between, fail_at
from tests.faults.promises import find_broken

ALLOWED = {"ctrl-c": {0, 130}, "short write": {0}, "dies before": {None}, "dies after": {None}}
UNREADABLE = {0, 8}


def count_calls(name, home):
    with between(lambda number, call, real, args: real()) as made:
        act_and_tell(name, home)
    return len(made)


def act_broken(name, home, number, way):
    def action():
        with between(fail_at(number, way)):
            return act_and_tell(name, home)

    return read_told(name, Child(action).join())


def list_points(name, template, home):
    return range(1, count_calls(name, copy_home(template, home)) + 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ACTIONS)
def test_a_fault_at_any_call_breaks_no_promise(template, scratch_disk, thin, name, way):
    home, violations = scratch_disk / "home", []
    for number in thin(list_points(name, template, home), 23):
        ended = act_broken(name, copy_home(template, home), number, way)
        broken = find_broken(home, [ended])
        if ended.code not in ALLOWED.get(way, UNREADABLE):
            broken.append(f"exit code {ended.code}: {ended.err.strip()[-300:]}")
        violations += [f"call {number}: {text}" for text in broken]
    assert violations == []

"""One verb stands still, or dies, before each of its calls while another does its work."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.faults.actions import ACTIONS, act, act_and_tell, copy_home, read_told
from tests.faults.injection import Child, between, stop_at
from tests.faults.promises import find_broken
from tests.faults.test_failing_calls import list_points

PAIRS = list(itertools.product(ACTIONS, ACTIONS))
TAKES_AWAY = {"rm": {"tag", "untag", "export", "rm"}, "untag": {"untag"}}


def act_slowly(name, home, number):
    def action():
        with between(stop_at(number)):
            return act_and_tell(name, home)

    return Child(action)


def allow_codes(mine, other):
    """Done, or another process is writing, or what was meant is gone, or there already."""
    gone = mine in TAKES_AWAY.get(other, ())
    return {0, 8} | ({4} if gone else set()) | ({1} if mine == other == "export" else set())


def judge(slow, rival, home, slow_name, pid):
    broken = find_broken(home, [slow, rival])
    for one, other in ((slow, rival.action), (rival, slow_name)):
        if one.code is not None and one.code not in allow_codes(one.action, other):
            broken.append(f"{one.action}: exit code {one.code}: {one.err.strip()[-200:]}")
    if rival.code == 8 and not re.search(rf"held by (pid {pid} on|an unknown process)", rival.err):
        broken.append(f"it does not say who is writing: {rival.err.strip()[-200:]}")
    return broken


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize(("slow_name", "rival_name"), PAIRS)
def test_two_at_once_break_no_promise(template, scratch_disk, thin, slow_name, rival_name, killed):
    home, violations = scratch_disk / "home", []
    for number in thin(list_points(slow_name, template, home), 41):
        child = act_slowly(slow_name, copy_home(template, home), number)
        stopped = child.wait_until_stopped()
        if killed and stopped:
            child.kill()
        rival = act(rival_name, home)
        if stopped and not killed:
            child.go_on()
        slow = read_told(slow_name, child.join())
        if killed and stopped and rival.code == 8:
            violations.append(f"call {number}: a dead process is in the way: {rival.err}")
        broken = judge(slow, rival, home, slow_name, child.pid)
        violations += [f"call {number}: {text}" for text in broken]
    assert violations == []

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evpcli.domain.errors import NotFoundError, UsageError
from evpcli.engine.files.locks import find_holder
from evpcli.engine.training import run_survey
from evpcli.engine.training.run_folder import Run, create_run
from evpcli.engine.training.run_lock import LOCK_NAME, find_running
from evpcli.engine.training.run_survey import find_surveyed, remove_run, survey_run, survey_runs
from tests.engine.training.test_run_folder import CONFIG, RECORD, STATE


def make_run(root: Path, status: str = "stopped", **details: object) -> Run:
    run = create_run(root, CONFIG)
    run.save_state(STATE)
    run.write_status(status, **details)
    return run


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("stopped", "stopped"),
        ("running", "stopped"),
        ("finished", "finished"),
        ("failed", "failed"),
    ],
)
def test_a_run_that_nobody_holds_is_as_it_said_but_not_running(
    tmp_path: Path, status: str, state: str
) -> None:
    """One that was killed still says "running"."""
    facts = survey_run(make_run(tmp_path, status))
    assert (facts.state, facts.process) == (state, None)
    assert (facts.epochs_done, facts.epochs) == (1, 3)
    assert facts.numbers is not None and facts.numbers.history == (RECORD,)


def test_a_held_run_is_running_and_looking_changes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with run.hold():
        before = (run.folder / LOCK_NAME).read_bytes()
        facts = survey_run(run)
        assert (run.folder / LOCK_NAME).read_bytes() == before
    assert facts.state == "running" and str(os.getpid()) in str(facts.process)
    assert find_running(run.folder) is None
    assert find_holder(tmp_path / "no-lock") is None and not (tmp_path / "no-lock").exists()


@pytest.mark.parametrize("name", ["config.json", "state.evp"])
def test_a_run_whose_files_are_not_as_written_is_damaged(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, "finished")
    whole = (run.folder / name).read_bytes()
    (run.folder / name).write_bytes(whole[: len(whole) // 2])
    facts = survey_run(run)
    assert facts.state == "damaged" and facts.problem


def test_a_run_without_its_configuration_is_damaged_and_can_be_removed(tmp_path: Path) -> None:
    folder = tmp_path / "20260101-000000-aaaa"
    folder.mkdir()
    assert find_surveyed(tmp_path, folder.name).state == "damaged"
    remove_run(Run(folder))
    assert list(survey_runs(tmp_path)) == []


def test_a_run_without_a_state_has_no_epochs(tmp_path: Path) -> None:
    run = create_run(tmp_path, CONFIG)
    facts = survey_run(run)
    assert (facts.state, facts.epochs_done, facts.numbers) == ("stopped", 0, None)


def test_what_ended_a_run_is_kept(tmp_path: Path) -> None:
    assert survey_run(make_run(tmp_path, "failed", error="it diverged")).problem == "it diverged"


def test_size_and_last_change_are_those_of_the_files(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for path in run.folder.iterdir():
        os.utime(path, (1000, 1000))
    os.utime(run.folder / "state.evp", (2000, 2000))
    with run.hold():
        pass
    facts = survey_run(run)
    assert facts.changed_at == 2000
    assert facts.size_bytes == sum(path.stat().st_size for path in run.folder.iterdir())


def test_runs_are_listed_newest_first_and_links_are_none(tmp_path: Path) -> None:
    ids = ["20260102-000000-aaaa", "20260103-000000-aaaa"]
    for name in ids:
        make_run(tmp_path).folder.rename(tmp_path / name)
    (tmp_path / "20260104-000000-aaaa").symlink_to(tmp_path / ids[0])
    (tmp_path / "20260105-000000-aaaa").touch()
    assert [facts.run.id for facts in survey_runs(tmp_path)] == ids[::-1]
    assert find_surveyed(tmp_path, "last").run.id == ids[1]
    for name in ("20260104-000000-aaaa", "20260105-000000-aaaa", "nothing"):
        with pytest.raises(NotFoundError, match="no such run"):
            find_surveyed(tmp_path, name)
    with pytest.raises(NotFoundError, match="no run yet"):
        find_surveyed(tmp_path / "nowhere", "last")


def test_a_running_run_is_never_removed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with run.hold(), pytest.raises(UsageError, match="is running"):
        remove_run(run)
    assert run.read_config() == CONFIG


def test_a_run_of_another_process_is_running_until_that_is_killed(tmp_path: Path) -> None:
    run = make_run(tmp_path, "running")
    script = (
        "import sys, time; from pathlib import Path\n"
        "from evpcli.engine.training.run_folder import Run\n"
        "with Run(Path(sys.argv[1])).hold(): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert survey_run(run).state == "running"
        with pytest.raises(UsageError, match=f"is running .pid {other.pid} on"):
            remove_run(run)
        other.kill()
    assert survey_run(run).state == "stopped"


def test_without_locks_the_process_that_a_run_names_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    run = make_run(tmp_path, "running")
    with run.hold():
        pass
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert survey_run(run).process == f"pid {os.getpid()}"
    with pytest.raises(UsageError, match="is running"):
        remove_run(run)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, 0, -1, "x", 10**30):
        run.write_status("running", pid=pid)
        assert survey_run(run).state == "stopped"
    remove_run(run)
    assert not run.folder.exists()


def test_what_a_killed_removal_left_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_run(tmp_path), make_run(tmp_path)

    def die(path: Path, **words: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(run_survey.shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            remove_run(first)
    assert [facts.run.id for facts in survey_runs(tmp_path)] == [second.id]
    assert len(list(tmp_path.iterdir())) == 2
    remove_run(second)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_gone_by_then_ends_no_list(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.rmtree(run.folder)
    assert survey_run(run).state == "damaged"

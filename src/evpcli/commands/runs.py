"""`evp runs`: list, show and remove the folders of training runs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from evpcli.commands.options.completion import complete_runs
from evpcli.commands.options.shared import JsonOption
from evpcli.commands.output import terminal
from evpcli.commands.output.run_rows import (
    DROPS,
    HEADERS,
    describe_run,
    describe_run_fully,
    list_curve_fields,
    list_fields,
    list_settings_rows,
    make_row,
    say_size,
)
from evpcli.domain.counts import say_count
from evpcli.domain.errors import UsageError
from evpcli.domain.reference import KeyRef, parse_prompt_ref
from evpcli.engine.datasets.remembered import recall_folder, remember_folder
from evpcli.engine.files.paths import find_runs
from evpcli.engine.training.run_survey import RunFacts, find_surveyed, remove_run, survey_runs

app = typer.Typer(help="List, show and remove training runs.", no_args_is_help=True)

_AGE = re.compile(r"([0-9]{1,5})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

_RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's name, or last.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
_RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Names of runs.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
_FinishedOption = Annotated[
    bool, typer.Option("--finished", help="All that finished: their prompts stay in the registry.")
]
_OlderOption = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="AGE",
        help="All that last changed longer ago than this, such as 7d (m, h, d, w); with "
        "--finished only those of them that finished.",
    ),
]
_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_command(json: JsonOption = False) -> None:
    """List the runs on this machine, the newest first; a benchmark keeps its own in its folder."""
    found = list(survey_runs(find_runs()))
    if json:
        terminal.show_json({"runs": [describe_run(facts) for facts in found]})
        return
    if not found:
        terminal.note("no runs yet: evp fit -d digits -b mini starts one")
        return
    short = terminal.is_live(sys.stdout)
    rows = [make_row(facts, short=short) for facts in found]
    terminal.show_rows(HEADERS, rows, drops=DROPS, paths=("dataset",))


@app.command("show")
def show_command(run: _RunArgument, json: JsonOption = False) -> None:
    """Show one run: how it stands, its curve, its settings, and how to go on with it."""
    facts = find_surveyed(find_runs(), run)
    if json:
        terminal.show_json(describe_run_fully(facts))
        return
    terminal.show_fields(list_fields(facts))
    curve = list_curve_fields(facts, drawn=terminal.is_live(sys.stdout))
    if curve:
        terminal.show_text("")
        terminal.show_fields(curve)
    _show_settings(facts)


def _show_settings(facts: RunFacts) -> None:
    """Every setting for a pipe; for a person those that are no plain defaults."""
    settings = list_settings_rows(facts)
    given = [row for row in settings if row[2] != "default"]
    shown = given if terminal.is_live(sys.stdout) else settings
    if shown:
        terminal.show_text("")
        terminal.show_rows(("setting", "value", "source"), shown, paths=("value",))
    if len(shown) < len(settings):
        rest = say_count(len(settings) - len(shown), "more is a default", "more are defaults")
        terminal.note(f"{rest} (a pipe or --json has all)")


@app.command("rm")
def remove_command(
    runs: _RunsArgument = None,
    finished: _FinishedOption = False,
    older_than: _OlderOption = None,
    yes: _YesOption = False,
    json: JsonOption = False,
) -> None:
    """Remove runs: their state and curve. Prompts in the registry stay; running ones are kept."""
    root = find_runs()
    doomed = _choose(root, runs or [], finished=finished, older_than=older_than)
    if not doomed:
        terminal.note("no run is like that: nothing was removed")
    elif not _is_wanted(doomed, yes=yes):
        return
    for facts in doomed:
        _remember_place(facts)
        remove_run(facts.run)
        if not json:
            terminal.show_text(f"removed {facts.run.id}")
    freed = sum(facts.size_bytes for facts in doomed)
    if json:
        terminal.show_json({"removed": [f.run.id for f in doomed], "freed_bytes": freed})
    elif doomed:
        terminal.note(f"freed {say_size(freed)}")


def _remember_place(facts: RunFacts) -> None:
    """Keep where the pictures of a finished run's prompt lie: `evp evaluate` asks for them."""
    prompt, config = facts.run.read_prompt_name(), facts.config
    if not (prompt and config and Path(config.request.dataset).is_absolute()):
        return
    with suppress(UsageError):  # no reference of a prompt
        ref = parse_prompt_ref(prompt)
        if isinstance(ref, KeyRef) and recall_folder(ref.key.dataset) is None:
            remember_folder(ref.key.dataset, Path(config.request.dataset))


def _choose(
    root: Path, names: Sequence[str], *, finished: bool, older_than: str | None
) -> list[RunFacts]:
    """The runs that are to go: those that were named, or all that are like that.

    Raises:
        UsageError: nothing was asked, both ways at once, or a named run is running.
        NotFoundError: there is no run of a name.
    """
    by_kind = finished or older_than is not None
    if by_kind == bool(names):
        raise UsageError(
            "evp runs rm takes names of runs, or --finished and --older-than",
            found="both" if names else "neither",
            hint="evp runs list shows the names",
        )
    if names:
        return _choose_named(root, names)
    longest_s = float("-inf") if older_than is None else _parse_age(older_than)
    oldest = time.time() - longest_s
    return [
        facts
        for facts in survey_runs(root)
        if facts.state != "running"
        and (facts.state == "finished" or not finished)
        and facts.changed_at < oldest
    ]


def _choose_named(root: Path, names: Sequence[str]) -> list[RunFacts]:
    found = {facts.run.id: facts for facts in (find_surveyed(root, name) for name in names)}
    for facts in found.values():
        if facts.state == "running":
            raise UsageError(
                f"run {facts.run.id} is running ({facts.process})",
                found="nothing was removed",
                hint="wait for its end, or stop it first",
            )
    return list(found.values())


def _is_wanted(doomed: Sequence[RunFacts], *, yes: bool) -> bool:
    """Whether to go on: `--yes`, or a person agrees.

    Raises:
        UsageError: there is nobody to ask.
    """
    names = ", ".join(facts.run.id for facts in doomed[:3])
    more = f" and {len(doomed) - 3} more" if len(doomed) > 3 else ""
    size = say_size(sum(facts.size_bytes for facts in doomed))
    told = f"{say_count(len(doomed), 'run')}, {size}: {names}{more}"
    unfinished = sum(facts.state == "stopped" for facts in doomed)
    lost = f"; {unfinished} could still be resumed" if unfinished else ""
    if yes or terminal.confirm(f"Remove {told}{lost}?"):
        return True
    if terminal.can_ask():
        terminal.note("nothing was removed")
        return False
    raise UsageError("nothing was removed", found=told + lost, hint="add --yes to do it")


def _parse_age(text: str) -> float:
    """Seconds of an age such as 7d."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            "--older-than takes a number and m, h, d or w",
            found=repr(text[:40]),
            hint="for example --older-than 7d",
        )
    return int(match[1]) * _SECONDS[match[2]]

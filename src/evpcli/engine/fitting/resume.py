"""Which run to go on with: one that is nobody else's, can be read, and still fits its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evpcli.domain.errors import DamagedError, EvpError, IncompatibleError, NotFoundError
from evpcli.domain.events import Trouble
from evpcli.domain.settings import FitRequest
from evpcli.engine.compute.distributed import World
from evpcli.engine.compute.launcher import name_launch
from evpcli.engine.fitting.task import PreparedFit
from evpcli.engine.training.run_folder import Run, RunConfig, find_run, list_unfinished
from evpcli.engine.training.state import TrainingState
from evpcli.engine.training.state_file import decode_state, encode_state

_HOW_TO_COMPUTE = ("device", "threads", "store", "offline")
"""Parts of a request that leave the prompt the same, but for rounding.

With `--precision auto` another kind of device rounds to another precision, which is told.
"""


@dataclass(frozen=True)
class SavedRun:
    """A run as it was left.

    Args:
        run: its folder.
        config: what it was started with.
        state: where it was; nothing if it never saved a state.
    """

    run: Run
    config: RunConfig
    state: TrainingState | None


@contextmanager
def open_run(
    name: str, root: Path, on_event: Callable[[Trouble], None], *, or_finished: bool = False
) -> Iterator[SavedRun]:
    """Hold a run and read it; it is held until the block ends.

    Args:
        name: a run's id, or `last` for the newest unfinished run that can go on.
        root: the folder of runs.
        on_event: told of each newer run that `last` passes over, and why.
        or_finished: whether `last` may be a finished one.

    Raises:
        NotFoundError: there is none.
        UsageError: the run is running in another process.
        DamagedError: its files are damaged.
    """
    wants_last = name == "last"
    newest = list_unfinished(root, or_finished=or_finished)
    for run in newest if wants_last else [find_run(root, name)]:
        with ExitStack() as held:
            try:
                held.enter_context(run.hold())
                saved = SavedRun(run, run.read_config(), run.load_state())
            except EvpError as error:
                if not wants_last:
                    raise
                on_event(Trouble(f"run {run.id} is passed over: {error.what}"))
                continue
            yield saved
            return
    kind = "run" if or_finished else "unfinished run"
    raise NotFoundError(f"there is no {kind} that can go on", hint="start one with evp fit")


@contextmanager
def share_run(
    name: str,
    root: Path,
    on_event: Callable[[Trouble], None],
    world: World,
    *,
    or_finished: bool = False,
) -> Iterator[SavedRun]:
    """The run that the first process holds and reads, in every process; errors as `open_run`."""
    if world.is_first:
        with open_run(name, root, on_event, or_finished=or_finished) as saved:
            world.share_bytes(saved.run.id.encode())
            world.share_bytes(saved.config.model_dump_json().encode())
            world.share_bytes(encode_state(saved.state) if saved.state else b"")
            yield saved
        return
    run = Run(root / world.share_bytes(None).decode())
    config = RunConfig.model_validate_json(world.share_bytes(None))
    data = world.share_bytes(None)
    yield SavedRun(run, config, decode_state(data, run.id) if data else None)


def move_request(request: FitRequest, machine: FitRequest | None) -> FitRequest:
    """The same request, computed as `machine` says where it is given."""
    if machine is None:
        return request
    changes = {name: getattr(machine, name) for name in _HOW_TO_COMPUTE}
    moved = {name: machine.sources.get(name, "default") for name in _HOW_TO_COMPUTE}
    return request.model_copy(update={**changes, "sources": {**request.sources, **moved}})


def check_unchanged(saved: SavedRun, found: RunConfig, prepared: PreparedFit) -> None:
    """Refuse to go on where the images or the weights are no longer those that it began with.

    Raises:
        IncompatibleError: they are others.
        DamagedError: the saved state is for another canvas.
    """
    hint = "start the run again without --resume"
    for what in ("dataset_fingerprint", "weights_sha256"):
        if getattr(found, what) != getattr(saved.config, what):
            raise IncompatibleError(
                f"the {what.replace('_', ' ')} changed since run {saved.run.id} began", hint=hint
            )
    side = prepared.task.geometry.canvas_px
    if saved.state and {saved.state.pixels.shape, saved.state.best_pixels.shape} != {
        (3, side, side)
    }:
        raise DamagedError(
            f"the saved state of run {saved.run.id} is for another canvas",
            found=f"shape {tuple(saved.state.pixels.shape)}, canvas {side} px",
            hint=hint,
        )


def read_device(name: str, root: Path, *, or_finished: bool = False) -> str:
    """The device that a run was started on; `auto` if it cannot be read, which is told later."""
    try:
        newest = list_unfinished(root, or_finished=or_finished)
        run = next(newest, None) if name == "last" else find_run(root, name)
        return run.read_config().request.device if run else "auto"
    except EvpError:
        return "auto"


@dataclass(frozen=True)
class LaunchedRun:
    """The run that an earlier start of the same torchrun call made."""

    id: str
    is_finished: bool


def find_launched(root: Path, world: World) -> LaunchedRun | None:
    """The run to go on with after torchrun started its workers again; nothing for a first start.

    Raises:
        EvpError: that run ended with an error that would only come again.
    """
    own = _find_own(root) if world.is_first else None
    text = world.share_bytes(f"{int(own.is_finished)}{own.id}".encode() if own else b"").decode()
    return LaunchedRun(text[1:], text[0] == "1") if text else None


def _find_own(root: Path) -> LaunchedRun | None:
    launch = name_launch()
    if launch is None:
        return None
    for folder in sorted(root.glob("2*"), reverse=True):
        run = Run(folder)
        try:
            config = run.read_config()
        except EvpError:
            continue
        if config.launch != launch:
            continue
        status = run.read_status()
        if status == "failed":
            raise EvpError(f"run {run.id} failed; it is not tried again")
        return LaunchedRun(run.id, status == "finished")
    return None

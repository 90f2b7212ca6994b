"""Every verb in one list; errors become exit codes here and only here."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from evpcli.commands import (
    apply,
    backbones,
    benchmark,
    datasets,
    doctor,
    evaluate,
    fit,
    inspect,
    predict,
    prompts,
    runs,
)
from evpcli.commands.output import terminal
from evpcli.domain.errors import (
    EvpError,
    ReaderGoneError,
    StoppedError,
    StorageError,
    UsageError,
)
from evpcli.engine.compute.launcher import is_shared
from evpcli.engine.compute.usable_cpus import settle_openmp
from evpcli.version import __version__

_EXIT_BUG = 3
_SHARED_VERBS = ("fit", "evaluate", "apply")

app = typer.Typer(
    name="evp",
    help="Learn a frame of pixels that adapts a frozen image model to your pictures.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "EVP"},
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        terminal.show_text(f"evp {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Learn a frame of pixels that adapts a frozen image model to your pictures."""
    if is_shared() and context.invoked_subcommand not in _SHARED_VERBS:
        raise UsageError(
            f"evp {context.invoked_subcommand} does not share its work among processes",
            hint=f"start it without torchrun; {', '.join(_SHARED_VERBS)} do",
        )


app.command("fit")(fit.fit)
app.command("evaluate")(evaluate.evaluate)
app.command("apply")(apply.apply_prompt)
app.command("predict")(predict.predict)
app.command("inspect")(inspect.inspect_prompt)
app.command("benchmark")(benchmark.benchmark)
app.command("list")(prompts.list_prompts)
app.command("rm")(prompts.remove_prompt)
app.command("tag")(prompts.tag_prompt)
app.command("export")(prompts.export_prompt)
app.command("import")(prompts.import_prompt)
app.command("verify")(prompts.verify_prompts)
app.command("doctor")(doctor.doctor)
app.add_typer(runs.app, name="runs")
app.add_typer(backbones.app, name="backbones")
app.add_typer(datasets.app, name="datasets")


def build_command() -> Any:
    """The whole command line; help pages do not repeat the variable of every option."""
    command = typer.main.get_command(app)
    waiting = [command]
    while waiting:
        current = waiting.pop()
        waiting += getattr(current, "commands", {}).values()
        for parameter in current.params:
            if hasattr(parameter, "show_envvar"):
                parameter.show_envvar = False
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the words after `evp`; the process's own when left out.

    Returns:
        The exit code, as `docs/errors.md` lists them.
    """
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        result = build_command().main(words, "evp", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except ReaderGoneError as error:
        _forget_stdout()
        return error.exit_code
    except StoppedError as error:
        terminal.note(f"{error.what}; {error.hint}" if error.hint else error.what)
        return 128 + error.signal_number
    except EvpError as error:
        terminal.show_error(error)
        return error.exit_code
    except typer.TyperException as error:
        if not error.format_message():  # no verb was named: the help that was shown is the answer
            return 0
        terminal.show_error(_explain_usage(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        terminal.note("stopped")
        return 130
    except OSError as error:
        terminal.show_error(StorageError("a file cannot be used", found=str(error)))
        return StorageError.exit_code
    except SystemExit as error:  # Typer's own way out: completion is done, or stdout was closed
        if not error.code:
            return 0
        _forget_stdout()
        return ReaderGoneError.exit_code
    except Exception:
        traceback.print_exc()
        terminal.note(f"this is a bug in evp {__version__}: please report it with the lines above")
        return _EXIT_BUG


def _explain_usage(error: typer.TyperException) -> UsageError:
    """Typer's complaint, with the variable or file that the value came from if it was no flag."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    found, page = None, "evp"
    if context is not None:
        page = context.command_path
        if parameter is not None and parameter.name:
            source = context.get_parameter_source(parameter.name)
            places = {"ENVIRONMENT": "the environment", "DEFAULT_MAP": "a configuration file"}
            found = places.get(source.name if source else "")
    message = error.format_message().rstrip(".").replace("Value error, ", "")  # pydantic's
    return UsageError(message, found=found and f"set by {found}", hint=f"see {page} --help")


def _forget_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """The `evp` command."""
    _open_missing_streams()
    settle_openmp()
    code = main()
    if is_shared():
        _leave_at_once(code)
    sys.exit(code)


def _leave_at_once(code: int) -> None:
    """End without taking the interpreter apart: torch's threads sometimes abort in that (gloo)."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _open_missing_streams() -> None:
    """Give a process that was started without some of them its three streams, on the null device.

    A file that is opened later could otherwise become what stderr writes into.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")

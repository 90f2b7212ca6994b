"""`evp doctor`: is this machine fit to run?"""

from __future__ import annotations

from evpcli.commands.options.shared import JsonOption
from evpcli.commands.output import terminal
from evpcli.domain.errors import CheckFailedError
from evpcli.engine.files.offline import is_offline
from evpcli.engine.fitting.machine import (
    Finding,
    examine_devices,
    examine_folders,
    examine_packages,
    examine_training,
)


def doctor(json: JsonOption = False) -> None:
    """Look at versions, devices, folders and the offline state; exit 7 if something is wrong."""
    findings = examine_packages() + examine_folders()
    findings.append(Finding("network", "offline by the environment" if is_offline() else "allowed"))
    findings += [*examine_devices(), examine_training()]
    if json:
        terminal.show_json(
            [{"name": f.name, "value": f.value, "fine": f.is_fine} for f in findings]
        )
    else:
        rows = [("ok" if f.is_fine else "WRONG", f.name, f.value) for f in findings]
        terminal.show_rows(("state", "name", "value"), rows, wraps=("value",))
    wrong = [f.name for f in findings if not f.is_fine]
    if wrong:
        raise CheckFailedError("this machine is not fit", found=", ".join(wrong))

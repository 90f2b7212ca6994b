"""Everything that evp promises of speed, start-up and memory, measured, in one Markdown table.

Run it on a machine that does nothing else. README.md beside this file says what each part is.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from against_bare import list_bare_cases
from against_plain import list_plain_cases
from answering import list_answering_cases
from cases import MINI, Workshop
from memory import list_memory_cases
from processes import add_variables, make_environment
from sizes import Sizes
from startup import list_startup_cases
from table import Case, Row, describe_machine, format_table

PARTS = "abcde"


def read_options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", type=read_parts, default=PARTS, help="parts, such as a,c; all if left out"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="of parts a to c; cuda if usable")
    parser.add_argument("--rounds", type=int, help="that count, of every case of parts a to c")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="a dataset's folder of photos")
    parser.add_argument(
        "--classifier-weights", type=Path, metavar="DIR", help="MobileNetV2, as --weights takes it"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the suite out")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.md", help="also write it here")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def read_parts(text: str) -> str:
    """The letters of a list such as `a,c`."""
    found = text.replace(",", "").replace(" ", "")
    if not found or set(found) - set(PARTS):
        raise argparse.ArgumentTypeError(f"parts are {', '.join(PARTS)}")
    return found


def list_cases(shop: Workshop, parts: str, folder: Path) -> Iterator[Case]:
    """All cases of the parts that are asked for, in the order of the table."""
    if "a" in parts:
        yield from list_bare_cases(shop)
    if "b" in parts:
        yield from list_plain_cases(shop)
    if "c" in parts:
        yield from list_answering_cases(shop)
    if "d" in parts:
        yield from list_startup_cases(folder / "startup", shop.sizes.starts)
    if "e" in parts:
        photos = shop.pair("photos", MINI)
        yield from list_memory_cases(folder / "memory", lambda: shop.find_pictures(photos))


def measure_all(cases: Iterator[Case]) -> list[Row]:
    """A row a case, told on stderr when it is there; those so far if somebody stops it."""
    rows: list[Row] = []
    for case in cases:
        print(f"{case.part}: {case.title} ...", file=sys.stderr, flush=True)
        try:
            rows.append(case.run())
        except KeyboardInterrupt:
            return [*rows, Row(case.part, case.title, failure="stopped by the user")]
        print("   " + " | ".join(rows[-1].to_cells()[2:]), file=sys.stderr, flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return rows


def main() -> int:
    """Measure, print the table, and write it where that was asked for; 1 if a case failed."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the folder below goes all the same
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    sizes = Sizes.choose(device.type, is_quick=options.quick, rounds=options.rounds)
    machine = describe_machine(device, is_quick=options.quick)
    with tempfile.TemporaryDirectory(prefix="evp-benchmark-") as name:
        folder = Path(name)
        add_variables(make_environment(folder / "home"))
        (folder / "made").mkdir()
        shop = Workshop(folder / "made", sizes, device, options.photos, options.classifier_weights)
        rows = measure_all(list_cases(shop, options.only, folder))
    if options.quick:
        rows = [replace(row, target=None) for row in rows]
    text = f"{format_table(rows)}\n\n{machine}\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    return 1 if any(row.failure for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

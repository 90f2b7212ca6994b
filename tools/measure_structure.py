"""Figures of the code's plan: packages, floors, arrows, circles, sizes of files and functions.

    python tools/measure_structure.py

A room is a package, or a file that lies beside packages; an arrow is an import from one room to
another, also inside a function. The floor of a room is the longest way down from it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src" / "evpcli"
NESTED = ("engine", "commands")
"""Packages whose own packages are rooms."""


def main() -> None:
    """Print one row a figure."""
    files = {name_module(path): path for path in SOURCE.rglob("*.py")}
    arrows = find_arrows(files)
    sizes = sorted(len(path.read_text().splitlines()) for path in files.values())
    functions = sorted(measure_functions(files.values()))
    tests = sum(len(path.read_text().splitlines()) for path in (PROJECT / "tests").rglob("*.py"))
    floors = count_floors(arrows)
    print("| figure | value |\n|---|---|")
    print(f"| rooms | {len(arrows)} |")
    print(f"| floors | {'none: there is a circle' if floors is None else floors} |")
    print(f"| arrows between rooms | {sum(map(len, arrows.values()))} |")
    print(f"| files | {len(sizes)} |")
    print(f"| lines a file: median, 90th percentile, most | {say_shares(sizes)} |")
    print(f"| functions | {len(functions)} |")
    print(f"| lines a function: median, 90th percentile, most | {say_shares(functions)} |")
    print(f"| lines of tests for each line of source | {tests / sum(sizes):.2f} |")


def name_module(path: Path) -> str:
    """A file's dotted name below the package; empty for the package's own file."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name_room(module: str) -> str:
    """The room that a module lies in."""
    first, *rest = module.split(".")
    if first in NESTED and rest and (SOURCE / first / rest[0]).is_dir():
        return f"{first}.{rest[0]}"
    return first


def find_arrows(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Each room, and the rooms that it imports from."""
    arrows: dict[str, set[str]] = {}
    for module, path in files.items():
        if module in ("", "engine"):  # captions and lazy names
            continue
        room = name_room(module)
        imported = {name_room(name) for name in find_imports(path) if name in files and name}
        arrows.setdefault(room, set()).update(imported - {room})
    return arrows


def find_imports(path: Path) -> set[str]:
    """Modules below the package that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("evpcli.") for name in found if name.startswith("evpcli.")}


def count_floors(arrows: Mapping[str, set[str]]) -> int | None:
    """Rooms on the longest way down; nothing where the arrows go in a circle."""
    rest, floors = {room: set(below) for room, below in arrows.items()}, 0
    while rest:
        lowest = {room for room, below in rest.items() if not below & rest.keys()}
        if not lowest:
            return None
        rest = {room: below for room, below in rest.items() if room not in lowest}
        floors += 1
    return floors


def measure_functions(paths: Iterable[Path]) -> list[int]:
    """Lines of every function and method, decorators left out."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds)
    ]


def say_shares(sizes: list[int]) -> str:
    """Median, 90th percentile and largest of sorted numbers."""
    return f"{sizes[len(sizes) // 2]}, {sizes[int(0.9 * len(sizes))]}, {sizes[-1]}"


if __name__ == "__main__":
    main()

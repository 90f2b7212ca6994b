"""Imports point down or sideways, hostile bytes are touched in few places, verbs start fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "evpcli"
FILES = sorted(SOURCE.rglob("*.py"))
ENGINE = ("files", "compute", "images", "guard", "backbones", "datasets", "prompts", "training")
ENGINE += ("evaluation", "fitting", "rendering", "benchmark")
COMMANDS = ("output", "options")
ORDER = (
    *("version", "domain"),
    *(f"engine.{name}" for name in ENGINE),
    "api",
    *(f"commands.{name}" for name in COMMANDS),
    *("commands", "cli"),
)
"""Packages and lone files, each of which imports only those before it and itself."""
TOP = {"evpcli": ("version", "api"), "evpcli.__main__": ("cli",)}
"""The package's own file and the program, and what they may import."""
HEAVY = ("torch", "torchvision", "numpy", "open_clip", "matplotlib", "sklearn", "PIL")
QUICK = [["--help"], ["fit", "--help"], ["list"], ["--version"], ["backbones", "list"]]
GUARDED = {
    "torch.load": {"engine/guard/tensor_file.py"},
    "Image.open": {"engine/images/decoder.py", "engine/images/completeness.py"},
    "np.load": set(),
    "numpy.load": set(),
    "torch.jit": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "eval": set(),
    "exec": set(),
    "os.system": set(),
}
FORBIDDEN_IMPORTS = {"subprocess", "pickle", "click", "marshal", "shelve"}


def name_module(path: Path) -> str:
    parts = ("evpcli", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_module(path): path for path in FILES}


def find_place(module: str) -> str | None:
    """The entry of `ORDER` that a module of the project belongs to; nothing for what is outside."""
    name = module.removeprefix("evpcli.")
    places = [place for place in ORDER if f"{name}.".startswith(f"{place}.")]
    return max(places, key=len, default=None)


def find_imports(tree: ast.AST) -> set[str]:
    found = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_back_in_the_order_of_packages(module: str) -> None:
    """At the top of a file and inside its functions."""
    imports = find_imports(ast.parse(MODULES[module].read_text()))
    own = find_place(module)
    allowed = (
        TOP[module]
        if own is None and module in TOP
        else ORDER[: ORDER.index(own) + 1]
        if own
        else ()
    )
    for name in imports & set(MODULES) - {"evpcli", "evpcli.engine"}:
        assert find_place(name) in allowed, f"{module} imports {name}"
    outside = {name.split(".")[0] for name in imports}
    if own == "domain":
        assert not outside & {*HEAVY, "os", "typer", "rich"}
    if own and own.startswith("engine."):
        assert not outside & {"typer", "rich"}
    assert not outside & FORBIDDEN_IMPORTS


def test_every_module_has_its_place_and_no_file_lies_flat_in_the_engine() -> None:
    placed = {module for module in MODULES if find_place(module)}
    assert set(MODULES) - placed == {*TOP, "evpcli.engine"}
    assert [path.name for path in (SOURCE / "engine").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_hostile_bytes_are_touched_only_where_they_are_guarded(path: Path) -> None:
    name = str(path.relative_to(SOURCE))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert name in GUARDED.get(called, {name}), f"{name} calls {called}"
            assert not called.endswith("extractall"), f"{name} calls {called}"
            if called == "print":
                raise AssertionError(f"{name} prints; only commands/output/terminal.py may")


def test_no_import_goes_in_a_circle() -> None:
    """Neither at the top of a file nor inside its functions."""
    graph = {
        module: find_imports(ast.parse(path.read_text())) & set(MODULES)
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in graph and module not in done:
            for other in graph[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_quick_verbs_load_no_heavy_library(words: list[str]) -> None:
    script = (
        "import sys; from evpcli.cli import main; code = main(sys.argv[1:]);"
        f"heavy = [m for m in {HEAVY!r} if m in sys.modules];"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_files_start_with_their_caption() -> None:
    for path in FILES:
        caption = ast.get_docstring(ast.parse(path.read_text()))
        assert caption and caption.splitlines()[0].strip(), path.name

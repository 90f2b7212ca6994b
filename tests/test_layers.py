"""Imports point down or sideways, hostile bytes are touched in few places, verbs start fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "evpcli"
FILES = sorted(SOURCE.rglob("*.py"))
LAYERS = {"domain": 0, "engine": 1, "commands": 2}
HEAVY = ("torch", "torchvision", "numpy", "open_clip", "matplotlib", "sklearn", "PIL")
QUICK = [["--help"], ["fit", "--help"], ["list"], ["--version"], ["backbones", "list"]]
GUARDED = {
    "torch.load": {"engine/prompt_files/tensor_file.py"},
    "Image.open": {"engine/pictures/decoder.py", "engine/pictures/completeness.py"},
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


def find_layer(path: Path) -> int:
    first = path.relative_to(SOURCE).parts[0]
    return LAYERS.get(first, 3)


def find_imports(tree: ast.AST) -> set[str]:
    found = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down_or_sideways(path: Path) -> None:
    imports = find_imports(ast.parse(path.read_text()))
    for name in imports:
        parts = name.split(".")
        if parts[0] == "evpcli" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS[parts[1]] <= find_layer(path), f"{path.name} imports {name}"
    if find_layer(path) == 0:
        assert not {n.split(".")[0] for n in imports} & {*HEAVY, "os", "typer", "rich"}
    if find_layer(path) == 1:
        assert not {n.split(".")[0] for n in imports} & {"typer", "rich"}
    assert not {n.split(".")[0] for n in imports} & FORBIDDEN_IMPORTS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_hostile_bytes_are_touched_only_where_they_are_guarded(path: Path) -> None:
    name = str(path.relative_to(SOURCE))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert name in GUARDED.get(called, {name}), f"{name} calls {called}"
            assert not called.endswith("extractall"), f"{name} calls {called}"
            if called == "print":
                raise AssertionError(f"{name} prints; only commands/terminal.py may")


def test_no_import_goes_in_a_circle() -> None:
    """Neither at the top of a file nor inside its functions."""
    graph = {}
    for path in FILES:
        module = "evpcli." + ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        graph[module] = find_imports(ast.parse(path.read_text()))
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

"""Apple's GPUs have no float64: values are moved to the CPU before they are widened."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "evpcli"
ON_THE_CPU = {
    "engine/rendering/prompt_statistics.py": {"(values < 0) | (values > 1)"},
    "engine/evaluation/linear_probe.py": {"train.values", "features.values"},
}


def find_widened(tree: ast.AST) -> list[tuple[str, str]]:
    """What is made float64, as (receiver, call), unless it was moved to the CPU before."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver, call = ast.unparse(node.func.value), ast.unparse(node)
            widens = node.func.attr == "double" or (
                node.func.attr in ("to", "type") and "float64" in call[len(receiver) :]
            )
            if widens and not receiver.endswith(".cpu()"):
                found.append((receiver, call))
    return found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x.double().cpu()", 1),
        ("x.cpu().double()", 0),
        ("x.to('cpu', torch.float64)", 1),
        ("x.cpu().to(torch.float64)", 0),
    ],
)
def test_the_search_finds_wrong_orders(text: str, count: int) -> None:
    assert len(find_widened(ast.parse(text))) == count


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_values_are_moved_before_they_are_widened(path: Path) -> None:
    known = ON_THE_CPU.get(str(path.relative_to(SOURCE)), set())
    found = find_widened(ast.parse(path.read_text()))
    assert [call for receiver, call in found if receiver not in known] == []

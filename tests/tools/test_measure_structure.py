from __future__ import annotations

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import measure_structure

    yield measure_structure
    del sys.modules["measure_structure"]


def test_floors_are_the_longest_way_down(tool) -> None:
    assert tool.count_floors({"a": set(), "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}) == 3
    assert tool.count_floors({"a": {"b"}, "b": {"a"}, "c": set()}) is None


def test_rooms_are_packages_and_lone_files(tool) -> None:
    assert tool.name_room("engine.prompts.registry.lookup") == "engine.prompts"
    assert tool.name_room("commands.output.terminal") == "commands.output"
    assert tool.name_room("commands.fit") == "commands"
    assert tool.name_room("cli") == "cli"


def test_imports_inside_functions_count(tool, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("def f():\n    from evpcli.engine.files.paths import find_runs\n")
    assert "engine.files.paths" in tool.find_imports(path)
    assert tool.measure_functions([path]) == [2]


def test_the_table_has_every_figure_and_no_circle(tool, capsys: pytest.CaptureFixture[str]) -> None:
    tool.main()
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 10
    assert "circle" not in "".join(rows)

from __future__ import annotations

import json

import pytest

from evpcli.cli import main
from evpcli.engine.fitting import machine


def test_a_fit_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(row["fine"] for row in found.values())
    assert {"python", "torch", "registry", "cpu", "mini", "network"} <= set(found)


def test_what_is_wrong_is_named_and_exits_7(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "_PACKAGES", ("evpcli", "no-such-package"))
    assert main(["doctor"]) == 7
    out, err = capsys.readouterr()
    assert "WRONG\tno-such-package\tmissing" in out
    assert "no-such-package" in err


def test_a_library_that_does_not_run_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from evpcli.engine.backbones import catalog

    def fail(*words: object, **options: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(catalog, "load_backbone", fail)
    finding = machine.examine_training()
    assert not finding.is_fine
    assert "nms" in finding.value

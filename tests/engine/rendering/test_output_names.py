from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpcli.domain.errors import EvpError, UsageError
from evpcli.engine.rendering.output_names import check_replaceable, choose_labels, plan_outputs


def test_results_are_named_after_their_images() -> None:
    planned = plan_outputs([Path("a/cat.jpg"), Path("dog.png")], ".", "prompted", "png")
    assert planned == [Path("cat.prompted.png"), Path("dog.prompted.png")]


@pytest.mark.parametrize("output", ["out", "out/", "out.v2/"])
def test_output_without_an_ending_is_a_folder(output: str) -> None:
    planned = plan_outputs([Path("cat.jpg")], output, "canvas", "npz")
    assert planned == [Path(output) / "cat.canvas.npz"]


def test_a_missing_folder_elsewhere_is_not_made() -> None:
    with pytest.raises(UsageError, match="no such output folder"):
        plan_outputs([Path("cat.jpg")], "../no-such-folder", "canvas", "npz")


def test_a_file_in_a_missing_folder_elsewhere_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such output folder"):
        plan_outputs([Path("cat.jpg")], "../no-such-folder/a.png", "canvas", "png")
    there = f"{tmp_path}/../{tmp_path.name}/a.png"
    assert plan_outputs([Path("cat.jpg")], there, "canvas", "png") == [Path(there)]


@pytest.mark.parametrize("output", ["~nobody-at-all/x.png", "~nobody-at-all/"])
def test_an_unknown_home_folder_is_told(output: str) -> None:
    with pytest.raises(UsageError, match="home folder"):
        plan_outputs([Path("cat.jpg")], output, "canvas", "png")


@pytest.mark.parametrize("output", ["x" * 300 + ".png", "x" * 300 + "/", "y/" * 3000])
def test_names_too_long_for_a_file_are_told(output: str) -> None:
    planned = plan_outputs([Path("cat.jpg")], output, "canvas", "png")
    with pytest.raises(UsageError, match="too long"):
        check_replaceable(planned, force=False)


def test_existing_folder_with_a_dot_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run.png"
    folder.mkdir()
    assert plan_outputs([Path("a.jpg")], str(folder), "sheet", "png")[0].parent == folder


def test_one_image_may_go_to_one_file() -> None:
    assert plan_outputs([Path("a.jpg")], "b/x.PNG", "prompted", "png") == [Path("b/x.PNG")]
    with pytest.raises(UsageError, match="2 images do not fit"):
        plan_outputs([Path("a.jpg"), Path("b.jpg")], "x.png", "prompted", "png")


@pytest.mark.parametrize("name", ["x.jpg", "x.JPEG", "x.webp"])
def test_lossy_pictures_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match="32 to 78 %"):
        plan_outputs([Path("a.png")], name, "prompted", "png")


def test_ending_must_match_the_format() -> None:
    with pytest.raises(UsageError, match=r"\.safetensors"):
        plan_outputs([Path("a.png")], "x.png", "prompted", "safetensors")


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["a/x.jpg", "b/x.jpg"], ["a-x", "b-x"]),
        (["a/x.jpg", "a/x.png"], ["x.jpg", "x.png"]),
        (["a/x.jpg", "b/x.jpg", "b/x.png"], ["a-x.jpg", "b-x.jpg", "b-x.png"]),
        (["p/a/x.jpg", "q/a/x.jpg"], ["a-x.jpg", "a-x.jpg-2"]),
        (["a/X.jpg", "b/x.jpg", "y.jpg"], ["a-X", "b-x", "y"]),
        (["a-x.jpg", "a/x.jpg", "b/x.jpg"], ["a-x", "a-x-2", "b-x"]),
    ],
)
def test_equal_names_are_told_apart(paths: list[str], labels: list[str]) -> None:
    assert choose_labels([Path(path) for path in paths]) == labels


@given(st.lists(st.text("aAé.-", min_size=1, max_size=4), max_size=8), st.integers(0, 2))
def test_labels_never_clash_nor_leave_the_folder(names: list[str], folders: int) -> None:
    paths = [Path("d", str(index % (folders + 1)), name) for index, name in enumerate(names)]
    labels = choose_labels(paths)
    assert len({label.casefold() for label in labels}) == len(paths)
    assert not any("/" in label for label in labels)


def test_long_and_undecodable_names_stay_writable(tmp_path: Path) -> None:
    names = ["é" * 126 + ".jpg", os.fsdecode(b"\xff" * 250), "a" * 250 + ".b"]
    for path in plan_outputs([Path(name) for name in names], str(tmp_path), "prompted", "png"):
        path.write_bytes(b"x")
        assert path.read_bytes() == b"x"


def test_existing_outputs_are_kept_unless_forced(tmp_path: Path) -> None:
    there = tmp_path / "x.png"
    there.write_bytes(b"mine")
    with pytest.raises(EvpError, match="exists already"):
        check_replaceable([tmp_path / "new.png", there], force=False)
    check_replaceable([there], force=True)


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    there = tmp_path / "x.png"
    there.write_bytes(b"mine")
    with pytest.raises(UsageError, match="its own input"):
        check_replaceable([tmp_path / "." / "x.png"], force=True, inputs=[there])


def test_long_names_are_cut_between_characters_in_any_locale() -> None:
    code = (
        "import os, pathlib\n"
        "from evpcli.engine.rendering.output_names import choose_labels\n"
        "[label] = choose_labels([pathlib.Path(os.fsdecode(bytes([195, 169]) * 120))])\n"
        "print(len(os.fsencode(label)))\n"
    )
    for changed in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}):
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **changed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout == "180\n"

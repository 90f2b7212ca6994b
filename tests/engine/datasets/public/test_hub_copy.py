"""Copies of datasets on the hub, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evpcli.domain.errors import DamagedError, NetworkError
from evpcli.engine.benchmark.suites import SUITES
from evpcli.engine.datasets.public.catalog import CATALOG
from evpcli.engine.datasets.public.completion import (
    dataset_folder,
    download_folder,
    find_state,
    read_completion,
)
from evpcli.engine.datasets.public.fetching import fetch_dataset, read_dataset
from evpcli.engine.datasets.public.spec import DatasetSpec, HubCopy
from tests.dataset_builders import Files, Served, make_tar, serve_files

COMMIT = "a" * 40
HUB = [spec.name for spec in CATALOG.values() if spec.hub]


def make_picture(number: int, ending: str) -> tuple[bytes, np.ndarray]:
    values = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    if ending == "webp":
        Image.fromarray(values).save(buffer, "webp", lossless=True)
    else:
        Image.fromarray(values).save(buffer, "png")
    return buffer.getvalue(), values


def make_shards(splits: dict[str, int], classes: int, ending: str = "webp") -> Files:
    """The files of a repository: two shards a split, labels that go round the classes."""
    files: Files = {"classnames.txt": "\n".join(f"class_{c}" for c in range(classes)).encode()}
    for split, count in splits.items():
        files[f"{split}/nshards.txt"] = b"2\n"
        for shard in range(2):
            members: Files = {}
            for number in range(count * shard // 2, count * (shard + 1) // 2):
                members[f"s{number:07d}.{ending}"] = make_picture(number, ending)[0]
                members[f"s{number:07d}.cls"] = str(number % classes).encode()
                members[f"s{number:07d}.json"] = b"{}"
            files[f"{split}/{shard}.tar"] = make_tar(members, "w")
    return files


def serve_hub(served: Served, repository: str, files: Files) -> None:
    """Answer as the hub: the list of files with their sizes, and each file at one commit."""
    siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
    listing = json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()

    def send(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(content)))
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(content)

    served.behave |= {
        f"datasets/{repository}/resolve/{COMMIT}/{name}": lambda handler, data=data: send(
            handler, data
        )
        for name, data in files.items()
    }
    for revision in ("main", COMMIT):
        served.behave[f"api/datasets/{repository}/revision/{revision}?blobs=true"] = (
            lambda handler: send(handler, listing)
        )


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with serve_files() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def make_spec(name: str = "resisc45", **changes: object) -> DatasetSpec:
    copy = HubCopy("clip-benchmark/tiny", "main", {"train": 6, "test": 4}, "the copy's own")
    return replace(CATALOG[name], classes=3, hub=replace(copy, **changes))


def test_all_of_the_papers_sets_come_by_themselves() -> None:
    specs = [CATALOG[name] for name in SUITES["paper12"].datasets]
    assert len(specs) == 12
    assert all(spec.files or spec.hub for spec in specs)


@pytest.mark.parametrize("name", HUB)
def test_every_copy_is_fetched_unpacked_and_read(name: str, served: Served, tmp_path: Path) -> None:
    real = CATALOG[name]
    assert real.hub is not None
    splits = dict.fromkeys(real.hub.sizes, 10) if "test" in real.hub.sizes else {"test": 10}
    files = make_shards(splits, real.classes)
    served_at = real.hub.repository
    spec = replace(real, hub=replace(real.hub, revision="main"))
    serve_hub(served, served_at, files)
    fetch_dataset(spec, tmp_path)
    assert find_state(spec, tmp_path) == "ready"
    found = read_dataset(spec, tmp_path)
    assert len(found.class_names) == real.classes
    assert all("_" not in words for words in found.class_names)
    assert {split: len(part) for split, part in found.splits.items()} == (
        {"train": 10, "test": 10} if "test" in real.hub.sizes else {"train": 10}
    ) or real.hub.sizes.keys() == {"train"}
    completion = read_completion(dataset_folder(tmp_path, spec))
    assert completion is not None
    assert completion.origin == f"{served_at}@{COMMIT}"
    assert "it has changed" in found.warnings[0]  # ten images are not what evp knows of


@pytest.mark.parametrize("ending", ["webp", "png"])
def test_pixels_and_labels_are_those_of_the_shards(
    ending: str, served: Served, tmp_path: Path
) -> None:
    spec = make_spec()
    serve_hub(served, "clip-benchmark/tiny", make_shards({"train": 6, "test": 4}, 3, ending))
    fetch_dataset(spec, tmp_path)
    found = read_dataset(spec, tmp_path)
    assert found.warnings == ()
    assert found.split_rule == "the copy's own"
    assert found.class_names == ("class 0", "class 1", "class 2")
    for split, count in (("train", 6), ("test", 4)):
        part = found.splits[split]
        assert part.labels == tuple(number % 3 for number in range(count))
        for number in range(count):
            shown = np.asarray(part.open_image(number))
            assert (shown == make_picture(number, ending)[1]).all()
    assert not list(dataset_folder(tmp_path, spec).rglob("*.json"))[1:]  # the marker alone
    assert not download_folder(tmp_path, spec).exists()


def test_a_copy_with_one_split_gives_a_fifth_of_each_class_to_test(
    served: Served, tmp_path: Path
) -> None:
    spec = make_spec(sizes={"train": 30})
    serve_hub(served, "clip-benchmark/tiny", make_shards({"test": 30}, 3))
    fetch_dataset(spec, tmp_path)
    found = read_dataset(spec, tmp_path)
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 24, "test": 6}
    assert found.warnings == ()


@pytest.mark.parametrize("label", [b"3", b"-1", b"", b"x", b"9" * 5000])
def test_a_label_without_a_class_is_damage(label: bytes, served: Served, tmp_path: Path) -> None:
    files = make_shards({"train": 6, "test": 4}, 3)
    picture = make_picture(0, "png")[0]
    files["test/1.tar"] = make_tar({"s1.png": picture, "s1.cls": label}, "w")
    serve_hub(served, "clip-benchmark/tiny", files)
    spec = make_spec()
    with pytest.raises(DamagedError, match=r"test/1\.tar"):
        fetch_dataset(spec, tmp_path)
    assert find_state(spec, tmp_path) == "partial"


@pytest.mark.parametrize(
    ("code", "words"), [("GatedRepo", "gated"), ("RepoNotFound", "no such repository")]
)
def test_the_hubs_refusals_say_what_to_do(
    code: str, words: str, served: Served, tmp_path: Path
) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(401 if code == "GatedRepo" else 404)
        handler.send_header("X-Error-Code", code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    served.behave["api/datasets/clip-benchmark/tiny/revision/main?blobs=true"] = refuse
    with pytest.raises(NetworkError, match=words) as caught:
        fetch_dataset(make_spec(), tmp_path)
    assert "put them into" in str(caught.value.hint)


def test_files_placed_by_hand_need_no_connection(tmp_path: Path) -> None:
    spec = make_spec()
    for name, data in make_shards({"train": 6, "test": 4}, 3).items():
        path = download_folder(tmp_path, spec) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    fetch_dataset(spec, tmp_path, offline=True)
    assert len(read_dataset(spec, tmp_path).splits["train"]) == 6


def test_offline_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="offline") as caught:
        fetch_dataset(make_spec(), tmp_path, offline=True)
    assert "clip-benchmark/tiny" in str(caught.value.found)


def test_a_copy_never_replaces_what_somebody_placed(served: Served, tmp_path: Path) -> None:
    spec = make_spec()
    begun = tmp_path / "resisc45" / "NWPU-RESISC45" / "airplane" / "airplane_001.jpg"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"half a dataset")
    serve_hub(served, "clip-benchmark/tiny", make_shards({"train": 6, "test": 4}, 3))
    fetch_dataset(spec, tmp_path)
    assert begun.read_bytes() == b"half a dataset"
    assert dataset_folder(tmp_path, spec).name == "resisc45-hub"

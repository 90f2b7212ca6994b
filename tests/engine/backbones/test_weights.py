"""Published weights through the hub's own client: cut off, gated, missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from evpcli.domain.errors import NetworkError
from evpcli.engine.backbones.catalog import find_entry
from evpcli.engine.backbones.file_kinds import is_whole_safetensors
from evpcli.engine.backbones.weights import PublishedWeights

DATA = save({"a": torch.zeros(500), "b": torch.ones(3)}, {"format": "pt"})
REPOSITORY = "timm/vit_base_patch32_clip_224.openai"
WEIGHTS = PublishedWeights(REPOSITORY, "open_clip_model.safetensors")


@dataclass
class Hub:
    """What a loopback server answers in place of the hub."""

    data: bytes = DATA
    refusal: tuple[int, str] | None = None
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    told = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(has_body=False)

        def do_GET(self) -> None:
            self.answer(has_body=True)

        def answer(self, *, has_body: bool) -> None:
            told.asked.append(self.path)
            code, reason = told.refusal or (200, "")
            self.send_response(code)
            headers = {"X-Error-Code": reason, "Content-Length": "0"}
            if not told.refusal:
                size = str(len(told.data))
                headers = {"ETag": f'"{"ab" * 32}"', "X-Repo-Commit": "0" * 40}
                headers |= {"X-Linked-Size": size, "Content-Length": size}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if has_body and not told.refusal:
                self.wfile.write(told.data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("evpcli.engine.backbones.weights.is_offline", lambda offline: offline)
    yield told
    server.shutdown()
    server.server_close()


def fetch() -> Path:
    return WEIGHTS.fetch(find_entry("ViT-B/32"), offline=False)


def test_a_download_is_found_again(hub: Hub) -> None:
    assert WEIGHTS.find_local() is None
    path = fetch()
    assert path.read_bytes() == DATA and WEIGHTS.find_local() == path
    asked = len(hub.asked)
    assert fetch() == path and len(hub.asked) == asked


def test_a_cut_off_file_in_the_cache_is_not_ready_and_fetched_again(hub: Hub) -> None:
    path = fetch()
    path.resolve().write_bytes(DATA[: len(DATA) // 2])
    assert WEIGHTS.find_local() is None
    assert fetch().read_bytes() == DATA
    assert WEIGHTS.find_local() is not None


def test_a_file_that_comes_cut_off_is_refused_and_not_kept(hub: Hub) -> None:
    hub.data = DATA[:-1]
    with pytest.raises(NetworkError, match="no whole safetensors file"):
        fetch()
    assert WEIGHTS.find_local() is None


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        (401, "GatedRepo", "are gated"),
        (403, "GatedRepo", "are gated"),
        (404, "RepoNotFound", "no such repository, or it is private"),
        (404, "EntryNotFound", "has no such file"),
        (404, "RevisionNotFound", "has no such file"),
        (500, "", "could not be downloaded"),
    ],
)
def test_refusals_say_what_to_do(hub: Hub, code: int, reason: str, said: str) -> None:
    hub.refusal = (code, reason)
    with pytest.raises(NetworkError, match=said) as caught:
        fetch()
    assert REPOSITORY in str(caught.value.found)
    assert ("HF_TOKEN" in str(caught.value.hint)) is (reason in ("GatedRepo", "RepoNotFound"))


def test_a_whole_file_is_as_long_as_its_header_says(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for data, whole in (
        (DATA, True),
        (save({}), True),
        (DATA + b"x", False),
        (DATA[:9], False),
        (b"", False),
        (b"\x02" + bytes(7) + b"[]", False),
        (b"\xff" * 8 + b"{}", False),
    ):
        path.write_bytes(data)
        assert is_whole_safetensors(path) is whole
    assert not is_whole_safetensors(tmp_path / "missing")

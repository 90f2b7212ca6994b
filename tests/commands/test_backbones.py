from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from evpcli.cli import main

WEIGHTS = save({"logit_scale": torch.zeros(())})
PATHS = {
    "ViT-B/32": "/timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors",
    "timm/mobilenetv2_100.ra_in1k": "/timm/mobilenetv2_100.ra_in1k/resolve/main/model.safetensors",
    "timm/resnet18": "/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
}


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for one file; `server.kind` says how it misbehaves."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        body, kind = WEIGHTS, self.server.kind  # type: ignore[attr-defined]
        if kind == "html":
            body = b"<html>please log in</html>"
        if self.path not in PATHS.values() or kind == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if kind == "short" else body)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.kind = "right"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def download(
    hub: http.server.HTTPServer, home: Path, backbone: str = "ViT-B/32"
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "NO_PROXY": "*",
    }
    return subprocess.run(
        [sys.executable, "-m", "evpcli", "backbones", "download", backbone],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def find_files(home: Path) -> list[Path]:
    return list(home.rglob("*.safetensors"))


@pytest.mark.parametrize("backbone", PATHS)
def test_weights_come_from_the_hub_once(
    backbone: str, hub: http.server.HTTPServer, tmp_path: Path
) -> None:
    done = download(hub, tmp_path, backbone)
    assert done.returncode == 0, done.stderr
    assert [file.read_bytes() for file in find_files(tmp_path)] == [WEIGHTS]
    hub.kind = "missing"  # type: ignore[attr-defined]
    assert download(hub, tmp_path, backbone).returncode == 0


@pytest.mark.parametrize("kind", ["missing", "html", "short"])
def test_a_wrong_answer_leaves_nothing(
    kind: str, hub: http.server.HTTPServer, tmp_path: Path
) -> None:
    hub.kind = kind  # type: ignore[attr-defined]
    done = download(hub, tmp_path)
    assert done.returncode == 6, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert find_files(tmp_path) == []


def test_offline_download_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "download", "RN50", "--offline"]) == 6
    assert "RN50" in capsys.readouterr().err


def test_list_and_show_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["mini"]["state"] == "ready"
    assert listed["ViT-B/32"] | {"lr": 70} == listed["ViT-B/32"]
    assert listed["ViT-B/32"]["border_px"] == 30
    assert main(["backbones", "show", "ViT-B/32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listed["ViT-B/32"]
    assert {entry["kind"] for entry in listed.values()} == {"clip", "timm"}
    assert listed["timm/resnet50.tv_in1k"]["licence"] == "BSD-3-Clause"
    assert main(["backbones", "show", "mini"]) == 0
    assert "architecture\tevp-mini\n" in capsys.readouterr().out


def test_models_outside_the_catalog_are_shown_by_their_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["backbones", "show", "torchvision/resnet18", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["tag"], shown["canvas_px"]) == ("torchvision", None, None)
    assert (shown["state"], shown["defaults_from"]) == ("absent", "reference, short schedule")


@pytest.mark.parametrize(
    "name",
    [
        "timm/nonsense",
        "timm/resnet50.nope",
        "torchvision/googlenet",
        "ViT-B-32.nonsense",
        "ViT-B-16-SigLIP.webli",
        "no-such-model",
    ],
)
def test_show_refuses_what_fit_refuses_in_the_same_words(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["fit", "-d", "digits", "-b", name, "--dry-run"])
    refused = capsys.readouterr().err.splitlines()[-1]
    assert code and refused.startswith("error: ")
    assert main(["backbones", "show", name]) == code
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == ("", refused)


def test_packaged_weights_need_no_download(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "download", "mini", "--offline"]) == 0
    assert capsys.readouterr().out == "mini\tready\n"

"""What is done to a registry: six verbs as a user types them, and the engine's own publishing."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evpcli.cli import main
from evpcli.domain.errors import EvpError
from evpcli.domain.reference import KeyRef
from evpcli.engine.prompts.prompt_file import decode_prompt, encode_prompt
from evpcli.engine.prompts.registry.registry import Registry
from tests.builders import build_manifest, build_pixels

KEY = build_manifest().key
FIRST, SECOND = KeyRef(KEY, 1), KeyRef(KEY, 2)


@cache
def make_prompt(seed: int) -> bytes:
    """A small prompt's file; every seed another one, all of one key."""
    pixels = build_pixels(seed=seed)
    return encode_prompt(pixels, build_manifest(pixels=pixels))


@dataclass(frozen=True)
class Ended:
    """How a verb ended.

    Args:
        action: its name in `ACTIONS`.
        code: exit code; nothing when its process died.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
    """

    action: str
    code: int | None
    out: str = ""
    err: str = ""

    @property
    def told(self) -> str:
        """The reference that it acknowledged, or nothing."""
        return self.out.split()[0] if self.code == 0 and self.out else ""


def make_home(folder: Path) -> Path:
    """Two versions with a tag each, and the files of the second and of a third prompt."""
    registry = Registry(folder / "registry")
    for number, tag in ((1, "kept"), (2, "doomed")):
        data = make_prompt(number)
        registry.tag(registry.publish(data, decode_prompt(data).manifest), tag)
    for number in (2, 3):
        (folder / f"{number}.pt").write_bytes(make_prompt(number))
    (folder / "out").mkdir()
    return folder


def copy_home(template: Path, home: Path) -> Path:
    """A fresh copy of a prepared home."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(template, home)
    return home


def publish(home: Path, number: int) -> tuple[int, str, str]:
    """File a prompt as `fit` does."""
    data = make_prompt(number)
    try:
        entry = Registry(home / "registry").publish(data, decode_prompt(data).manifest)
    except EvpError as error:
        return error.exit_code, "", f"{error.what} {error.found}"
    except KeyboardInterrupt:
        return 130, "", ""
    return 0, str(entry.ref), ""


def type_evp(home: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `evp` with these words."""
    os.environ["EVP_HOME"] = str(home)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


ACTIONS: dict[str, Callable[[Path], tuple[int, str, str]]] = {
    "publish": lambda home: publish(home, 3),
    "import": lambda home: type_evp(home, "import", str(home / "3.pt")),
    "import again": lambda home: type_evp(home, "import", str(home / "2.pt")),
    "tag": lambda home: type_evp(home, "tag", str(SECOND), "fresh"),
    "untag": lambda home: type_evp(home, "tag", str(KEY), "doomed", "--delete"),
    "rm": lambda home: type_evp(home, "rm", str(SECOND), "--yes"),
    "export": lambda home: type_evp(home, "export", str(SECOND), "-o", f"{home}/out/2.pt"),
}


def act(name: str, home: Path) -> Ended:
    """Do one of `ACTIONS` in this process."""
    return Ended(name, *ACTIONS[name](home))


def act_and_tell(name: str, home: Path) -> str:
    """The same as a text, for a child to tell its parent."""
    return json.dumps([*ACTIONS[name](home)])


def read_told(name: str, told: str | None) -> Ended:
    """How a child's action ended."""
    return Ended(name, *json.loads(told)) if told else Ended(name, None)

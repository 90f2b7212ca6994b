"""Make docs/commands.md from every command's --help; `--check` only says whether it is stale."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

WIDTH = 100
os.environ.update(COLUMNS=str(WIDTH), TERMINAL_WIDTH=str(WIDTH), TERM="dumb", NO_COLOR="1")

from contextlib import redirect_stdout  # noqa: E402

from evpcli.cli import build_command, main  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
INTRODUCTION = """# Commands

Made from `--help` by `make docs`; a test fails when it is stale. Every option of `evp fit` and
`evp evaluate` can also be set by an environment variable (`EVP_FIT_EPOCHS=30`) or in `evp.toml`
(`[fit]`, `epochs = 30`); the order is flag, environment, `--config FILE`, `./evp.toml`, the user's
own `config.toml`, default. What files and variables set is said before the work begins, a variable
that sets nothing is warned of, and a `--preset` that was typed goes before both.
"""


def collect_paths() -> list[tuple[str, ...]]:
    """The words of every command, groups before their members."""
    paths: list[tuple[str, ...]] = []
    for name, command in build_command().commands.items():
        paths.append((name,))
        paths += [(name, inner) for inner in getattr(command, "commands", {})]
    return paths


def read_help(words: tuple[str, ...]) -> str:
    """What `evp WORDS --help` prints."""
    out = StringIO()
    with redirect_stdout(out):
        code = main([*words, "--help"])
    if code:
        raise SystemExit(f"evp {' '.join(words)} --help ended with {code}")
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def build_page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, f"## evp\n\n```text\n{read_help(())}\n```\n"]
    parts += [f"## evp {' '.join(w)}\n\n```text\n{read_help(w)}\n```\n" for w in collect_paths()]
    return "\n".join(parts)


if __name__ == "__main__":
    page = build_page()
    if "--check" in sys.argv:
        stale = not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page
        sys.exit("docs/commands.md is stale: make docs" if stale else 0)
    PAGE.write_text(page, encoding="utf-8")

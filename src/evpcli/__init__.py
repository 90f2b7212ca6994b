"""Learn a frame of pixels that adapts a frozen image model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evpcli.version import __version__

if TYPE_CHECKING:
    from evpcli.api import load_prompt

__all__ = ["__version__", "load_prompt"]


def __getattr__(name: str) -> Any:
    """Load what the Python API offers when it is first asked for: torch takes seconds."""
    if name == "load_prompt":
        from evpcli.api import load_prompt

        return load_prompt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Learn a frame of pixels that adapts a frozen image model."""

__version__ = "0.1.0"

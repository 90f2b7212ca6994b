"""Make `mini`, the packaged glyph CLIP, known to open_clip, and say where its files are."""

from pathlib import Path
from typing import Any

MINI_MODEL_NAME = "evp-mini"
_FOLDER = Path(__file__).parent / "mini_weights"


def mini_config_path() -> Path:
    """open_clip's model configuration; its stem is the model's name there."""
    return _FOLDER / f"{MINI_MODEL_NAME}.json"


def mini_weights_path() -> Path:
    """The weights: float16 safetensors that load as float32."""
    return _FOLDER / "mini.safetensors"


def mini_tokenizer_kwargs() -> dict[str, Any]:
    """What `open_clip.get_tokenizer(MINI_MODEL_NAME, ...)` needs besides the name."""
    return {"bpe_path": str(_FOLDER / "merges.txt.gz")}


def register_mini() -> None:
    """Add the vision tower to timm and the configuration to open_clip; repeating it is harmless."""
    import open_clip
    import timm

    from evpcli.engine.backbones.mini_tower import evp_mini_tower

    if not timm.is_model("evp_mini_tower"):
        timm.models.register_model(evp_mini_tower)
    if MINI_MODEL_NAME not in open_clip.list_models():
        open_clip.add_model_config(mini_config_path())

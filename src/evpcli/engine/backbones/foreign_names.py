"""Models as other programs name them, and the name that works here."""

from __future__ import annotations

_TRANSFORMERS = {
    "openai/clip-vit-base-patch32": "ViT-B/32",
    "openai/clip-vit-base-patch16": "ViT-B/16",
    "openai/clip-vit-large-patch14": "ViT-L/14",
    "openai/clip-vit-large-patch14-336": "ViT-L/14@336px",
}
_HUB = "hf-hub:"


def translate_name(name: str) -> str | None:
    """What to type here for a model of transformers, open_clip, timm or torchvision.

    Args:
        name: as it was typed; `find_entry` does not know it.

    Returns:
        A hint, or nothing where no library that is installed knows the name either.
    """
    plain = name.removeprefix(_HUB).removeprefix("hf_hub:")
    if own := _TRANSFORMERS.get(plain):
        return f"that is -b {own} here"
    if found := _find_open_clip(plain):
        return f"that is -b {found} here"
    if plain != name:
        return "name a model by open_clip's MODEL.TAG, not by its repository"
    return _find_classifier(plain)


def _find_open_clip(plain: str) -> str | None:
    """open_clip's MODEL.TAG for a repository, a MODEL alone, or a MODEL with a slash for a dash."""
    import open_clip

    pairs = open_clip.list_pretrained()
    if "/" in plain:
        for model, tag in pairs:
            hub = str(open_clip.get_pretrained_cfg(model, tag).get("hf_hub", "")).rstrip("/")
            if hub == plain:
                return f"{model}.{tag}"
    model = plain.replace("/", "-")
    tags = [tag for known, tag in pairs if known.lower() == model.lower()]
    known = next((known for known, _ in pairs if known.lower() == model.lower()), "")
    return f"{known}.{tags[0]}" if tags else None


def _find_classifier(plain: str) -> str | None:
    """Timm's or torchvision's model of this name."""
    import timm
    import torchvision

    architecture = plain.removeprefix("timm/").removeprefix("torchvision/").partition(".")[0]
    names = []
    if architecture in torchvision.models.list_models(torchvision.models):
        names.append(f"-b torchvision/{architecture}")
    if timm.is_model(architecture):
        names.append(f"-b timm/{architecture}")
    return f"name its library: {' or '.join(names)}" if names else None

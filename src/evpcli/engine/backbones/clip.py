"""CLIP models through open_clip, with the activation and normalisation of their own tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from evpcli.domain.counts import say_count
from evpcli.domain.errors import EvpError, IncompatibleError, NotFoundError, UsageError
from evpcli.domain.manifest import LOCAL_WEIGHTS, BackboneRecord, Descriptions
from evpcli.domain.templates import fill_template
from evpcli.engine.backbones.canvas_size import settle_canvas
from evpcli.engine.backbones.classifier import NormalisedTower, shorten_error
from evpcli.engine.backbones.clip_weights import build_with_local
from evpcli.engine.backbones.entry import BackboneEntry
from evpcli.engine.backbones.interface import BackboneCard
from evpcli.engine.backbones.mini import (
    mini_tokenizer_kwargs,
    mini_weights_path,
    register_mini,
)
from evpcli.engine.backbones.text import BestSentences, encode_classes, encode_sentences
from evpcli.engine.backbones.text_cache import TextCache
from evpcli.engine.backbones.weights import PublishedWeights, check_weights_file, hash_file
from evpcli.engine.files.paths import find_texts


class ClipClassifier(nn.Module):
    """Scaled cosine similarity between a canvas and each class text.

    Args:
        encode_image: normalised canvases (batch, 3, canvas, canvas) to features (batch, width);
            a module moves with the classifier.
        class_features: (classes, width), unit length; with `pool`, (sentences, width).
        scale: factor on the cosine, exp of CLIP's `logit_scale`.
        bias: added to every logit (SigLIP), else 0.
        mean: per RGB channel, for values in [0, 1].
        std: per RGB channel, for values in [0, 1].
        pool: from similarities to sentences to those of classes; none where each text is a class.
    """

    class_features: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encode_image: Callable[[Tensor], Tensor],
        class_features: Tensor,
        scale: float,
        bias: float,
        mean: Tensor,
        std: Tensor,
        pool: BestSentences | None = None,
    ) -> None:
        super().__init__()
        self._pool = pool
        self.encode_image = encode_image
        self._scale, self._bias = scale, bias
        self.register_buffer("class_features", class_features)
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))

    def forward(self, canvas: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas) in pixel space to (batch, classes) float32 logits.

        Under autocast the tower alone computes in half precision: logits of 20 and more would be
        rounded to eighths, and classes of nearly equal logits to a tie.
        """
        features = self.encode_image((canvas - self.mean) / self.std)
        with torch.autocast(canvas.device.type, enabled=False):
            unit = functional.normalize(features.to(self.class_features.dtype), dim=-1)
            similarities = unit @ self.class_features.T
            if self._pool is not None:
                similarities = self._pool(similarities)
            return self._scale * similarities + self._bias


class ClipTower(nn.Module):
    """The image tower of a CLIP, without the text tower.

    Args:
        visual: open_clip's module for pictures.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, canvas, canvas), normalised, to features (batch, width)."""
        features = self.visual(images)
        pooled: Tensor = features[0] if isinstance(features, tuple) else features  # CoCa
        return pooled


class ClipBackbone:
    """A frozen open_clip model and its tokenizer, behind the `Backbone` interface."""

    def __init__(
        self, model: Any, tokenizer: Any, card: BackboneCard, cache: TextCache | None = None
    ) -> None:
        self._model, self._tokenizer, self._card = model, tokenizer, card
        self._cache = cache

    @property
    def card(self) -> BackboneCard:
        """What this backbone is."""
        return self._card

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(texts, width) unit vectors on the model's device."""
        device = next(self._model.parameters()).device
        features: Tensor = self._model.encode_text(self._tokenizer(list(texts)).to(device))
        return functional.normalize(features, dim=-1)

    def build_classifier(
        self,
        class_names: Sequence[str],
        templates: Sequence[str],
        descriptions: Descriptions | None = None,
    ) -> ClipClassifier:
        """The classifier for these classes; texts are encoded here, once.

        Raises:
            UsageError: there are not as many descriptions as classes.
        """
        if descriptions is None:
            encode = partial(encode_classes, self.embed_texts, class_names, templates)
            sentences = [[fill_template(t, name) for t in templates] for name in class_names]
            features, pool = self._recall(sentences, encode), None
        else:
            features, pool = self._encode_descriptions(class_names, descriptions)
        bias = getattr(self._model, "logit_bias", None)
        return ClipClassifier(
            ClipTower(self._model.visual).eval(),
            features.clone(),  # leaves inference mode, so that training may use it
            scale=float(self._model.logit_scale.exp()),
            bias=0.0 if bias is None else float(bias),
            mean=torch.tensor(self._card.mean, device=features.device),
            std=torch.tensor(self._card.std, device=features.device),
            pool=pool,
        )

    def describe_cut_texts(self, texts: Sequence[str]) -> str | None:
        """How many texts are longer than the text tower reads, and what the first one loses."""
        encode, decode = (getattr(self._tokenizer, n, None) for n in ("encode", "decode"))
        if encode is None or decode is None:
            return None
        room = int(self._tokenizer.context_length) - 2  # less the start and end of the text
        long = dict.fromkeys(text for text in texts if len(text.encode()) > room)  # a byte at least
        tokens = {text: encode(text) for text in long}
        cut = {text: ids[room:] for text, ids in tokens.items() if len(ids) > room}
        if not cut:
            return None
        first = next(iter(cut))
        one, several = "text loses its end", "texts lose their ends"
        return (
            f"{say_count(len(cut), one, several)}, since {self._card.record.name} reads {room} "
            f"tokens: {first[:40]!r}... is read without {decode(cut[first]).strip()[:60]!r}"
        )

    def build_encoder(self) -> NormalisedTower:
        """The image tower; its output is not scaled to unit length."""
        device = next(self._model.parameters()).device
        tower = ClipTower(self._model.visual).eval()
        return NormalisedTower(tower, self._card.mean, self._card.std, device)

    def _recall(self, texts: Sequence[object], encode: Callable[[], Tensor]) -> Tensor:
        """What `encode` gives, kept on disk from run to run; on the model's device."""
        if self._cache is None:
            return encode()
        device = next(self._model.parameters()).device
        return self._cache.recall(texts, encode, device.type).to(device)

    def _encode_descriptions(
        self, class_names: Sequence[str], descriptions: Descriptions
    ) -> tuple[Tensor, BestSentences]:
        """Unit vectors of all sentences, and how they become scores of classes."""
        sentences = descriptions.sentences
        if len(sentences) != len(class_names):
            raise UsageError(
                "there must be sentences for every class",
                found=f"sentences for {len(sentences)} classes, {len(class_names)} classes",
            )
        every = [sentence for of_class in sentences for sentence in of_class]
        features = self._recall(every, partial(encode_sentences, self.embed_texts, every))
        counts = [len(of_class) for of_class in sentences]
        return features, BestSentences(counts, descriptions.best_of, features.device)


def load_clip(
    entry: BackboneEntry,
    *,
    device: torch.device,
    weights: Path | None,
    offline: bool,
    canvas_px: int | None = None,
) -> ClipBackbone:
    """Load a frozen CLIP; arguments and errors as `load_backbone`."""
    import open_clip

    if entry.canvas_px:  # known before anything is fetched
        settle_canvas(entry.name, entry.canvas_px, canvas_px, any_size=False)
    tag_config: dict[str, Any] = {}
    tokenizer_kwargs: dict[str, Any] = {}
    if entry.is_packaged:
        register_mini()
        path, tokenizer_kwargs = mini_weights_path(), mini_tokenizer_kwargs()
    else:
        tag_config = find_tag_config(entry)
    if weights is not None:
        path = check_weights_file(weights)
    elif not entry.is_packaged:
        known = PublishedWeights.from_entry(entry)
        published = known or PublishedWeights.from_tag(entry, tag_config)
        path = published.fetch(entry, offline=offline)
    if weights is None:
        model = _load_published(entry, path, tag_config)
    else:
        build = partial(_create_model, entry, tag_config)
        model = build_with_local(build, path, entry.name, entry.canvas_px)
    _check_activation(entry, model, tag_config)
    model.requires_grad_(False).eval().to(device)
    tokenizer = open_clip.get_tokenizer(entry.architecture, **tokenizer_kwargs)
    card = _describe(entry, model, path, is_local=weights is not None)
    settle_canvas(entry.name, card.canvas_px, canvas_px, any_size=False)
    record = card.record
    parts = (record.architecture, record.weights, record.activation, record.weights_sha256)
    cache = TextCache(find_texts(), tuple(str(part) for part in parts))
    return ClipBackbone(model, tokenizer, card, cache)


def find_tag_config(entry: BackboneEntry) -> dict[str, Any]:
    """open_clip's configuration of a pretrained tag.

    Raises:
        NotFoundError: open_clip knows no such model or tag.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(entry.architecture, entry.tag)
    if not config or entry.architecture not in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(entry.architecture)
        raise NotFoundError(
            "open_clip has no such model and tag",
            found=entry.name,
            hint=f"tags of {entry.architecture}: {', '.join(tags)}"
            if tags
            else "`evp backbones list` shows what there is",
        )
    _check_tokenizer(entry)
    return dict(config)


def _check_tokenizer(entry: BackboneEntry) -> None:
    """Refuse models whose text tower or tokenizer only the transformers library can build."""
    import open_clip

    text = open_clip.get_model_config(entry.architecture)["text_cfg"]
    if "hf_tokenizer_name" in text or "hf_model_name" in text:
        raise UsageError(
            "this model needs a tokenizer that is not part of open_clip",
            found=entry.name,
            hint="choose a model with CLIP's own tokenizer; `evp backbones list` shows some",
        )


def _load_published(entry: BackboneEntry, path: Path, tag_config: dict[str, Any]) -> Any:
    """The model with its published or packaged weights, which open_clip reads itself."""
    try:
        return _create_model(entry, tag_config, pretrained=str(path), weights_only=True)
    except EvpError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds for a wrong file
        raise IncompatibleError(
            f"the kept weights of {entry.name} do not fit it",
            found=f"{path.name}: {shorten_error(error)}",
            hint=f"remove {path} and download it again",
        ) from error


def _create_model(entry: BackboneEntry, tag_config: dict[str, Any], **options: Any) -> Any:
    """open_clip's model with the activation and preprocessing of the tag."""
    import open_clip

    keys = ("mean", "std", "interpolation", "resize_mode")
    preprocessing = {k: tag_config[k] for k in keys if k in tag_config}
    return open_clip.create_model(
        entry.architecture,
        force_quick_gelu=bool(tag_config.get("quick_gelu")),
        force_preprocess_cfg=preprocessing or None,
        **options,
    )


def _check_activation(entry: BackboneEntry, model: nn.Module, tag_config: dict[str, Any]) -> None:
    expected = "quick-gelu" if tag_config.get("quick_gelu") else "gelu"
    if tag_config and _find_activation(model) != expected:
        raise IncompatibleError(
            f"{entry.architecture} is built with another activation than {entry.tag} was trained",
            found=f"{_find_activation(model)}, trained with {expected}",
        )


def _find_activation(model: nn.Module) -> Literal["gelu", "quick-gelu", "other"]:
    from open_clip.transformer import QuickGELU

    kinds = {type(module) for module in model.modules()}
    if QuickGELU in kinds:
        return "quick-gelu"
    return "gelu" if nn.GELU in kinds else "other"


def _describe(entry: BackboneEntry, model: Any, path: Path, *, is_local: bool) -> BackboneCard:
    config = model.visual.preprocess_cfg
    size = config["size"]
    record = BackboneRecord(
        name=entry.name,
        architecture=entry.architecture,
        weights=LOCAL_WEIGHTS if is_local else entry.tag,
        activation=_find_activation(model),
        weights_sha256=hash_file(path),
    )
    return BackboneCard(
        record=record,
        canvas_px=size if isinstance(size, int) else int(size[0]),
        mean=_to_triple(config["mean"]),
        std=_to_triple(config["std"]),
        interpolation=config["interpolation"],
    )


def _to_triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue

"""A border of noise as long as a learned one: what any border of that size would do."""

from __future__ import annotations

import torch

from evpcli.engine.prompts.visual_prompt import VisualPrompt


def make_noise_border(prompt: VisualPrompt, seed: int) -> VisualPrompt:
    """A prompt of Gaussian values with the length, the geometry and the device of another.

    Drawn on the CPU by a generator of its own, so that a seed gives the same border everywhere.

    Args:
        prompt: left as it is; its L2 norm over the whole canvas is matched. Of length 0, the
            answer is a border of zeros.
        seed: at least 0.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, mask = prompt.pixels.detach().cpu().double(), prompt.mask.cpu()
    length = torch.linalg.vector_norm(pixels)
    if length == 0:
        return VisualPrompt(prompt.geometry).to(prompt.pixels.device)
    drawn = torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    noise = drawn.masked_fill(~mask, 0)  # (3, canvas, canvas)
    scaled = noise * (length / torch.linalg.vector_norm(noise))
    return VisualPrompt(prompt.geometry, scaled.float()).to(prompt.pixels.device)

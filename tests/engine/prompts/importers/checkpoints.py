"""Checkpoints as other projects' training code writes them, small where the layout allows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Program(nn.Module):
    """A full-canvas parameter and its 0/1 mask, under the names that three projects use."""

    def __init__(self, side: int = 16, border: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.program = nn.Parameter(torch.randn(3, side, side, generator=generator))
        inner = torch.zeros(3, side - 2 * border, side - 2 * border)
        self.register_buffer("mask", functional.pad(inner, [border] * 4, value=1))


class Pads(nn.Module):
    """Four strips around a window, as VP keeps them."""

    def __init__(self, side: int = 16, border: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        window = side - 2 * border
        self.pad_up = nn.Parameter(torch.randn([1, 3, border, side]))
        self.pad_down = nn.Parameter(torch.randn([1, 3, border, side]))
        self.pad_left = nn.Parameter(torch.randn([1, 3, window, border]))
        self.pad_right = nn.Parameter(torch.randn([1, 3, window, border]))


class Delta(nn.Module):
    """One full-canvas parameter, as AutoVP keeps it."""

    def __init__(self, side: int = 224, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.delta = nn.Parameter(torch.randn(3, side, side, generator=generator))


def step(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Any]:
    """The optimiser's state after one step, with momenta and counters in it."""
    sum(p.square().sum() for p in module.parameters()).backward()
    optimizer.step()
    return optimizer.state_dict()


def build_vp(pads: Pads) -> dict[str, Any]:
    state = step(torch.optim.SGD(pads.parameters(), lr=0.1, momentum=0.9), pads)
    return {
        "epoch": 7,
        "state_dict": pads.state_dict(),
        "best_acc1": torch.tensor(71.5),
        "optimizer": state,
    }


def build_ilm(
    module: Program, mapping: Tensor, optimizer: type = torch.optim.Adam
) -> dict[str, Any]:
    return {
        "visual_prompt_dict": module.state_dict(),
        "optimizer_dict": step(optimizer(module.parameters(), lr=0.01), module),
        "epoch": 199,
        "best_acc": 0.8125,
        "mapping_sequence": mapping,
    }


def build_blm(module: Program, mapping: Tensor) -> dict[str, Any]:
    return {
        "visual_prompt_dict": module.state_dict(),
        "epoch": 3,
        "best_acc": 0.5,
        "mapping_matrix": mapping,
    }


def build_attrvr(module: Program) -> dict[str, Any]:
    return {"visual_prompt_dict": module.state_dict(), "epoch": 3, "best_acc": 0.5}


def build_autovp(
    module: Delta, head: nn.Linear, mapping: list[list[int]] | None, **changes: Any
) -> dict[str, Any]:
    linear = mapping is None
    return {
        "pretrained_model": "resnet18",
        "resize_dict": nn.Identity().state_dict(),
        "perturb_dict": module.state_dict(),
        "outmap_dict": {f"layers.{name}": value for name, value in head.state_dict().items()},
        "output_mapping": mapping,
        "mapping_method": "fully_connected_layer_mapping" if linear else "frequency_based_mapping",
        "freq_check": not linear,
        "optimizer_dict": step(torch.optim.Adam(module.parameters(), lr=0.001), module),
        "init_scale": 1.5,
    } | changes

"""The vision tower of `mini`: five convolutions and a dense layer over all positions."""

from typing import Any, ClassVar

from torch import Tensor, channels_last, nn

CANVAS_PX = 64
WIDTHS = (32, 64, 96, 128, 64)
STRIDES = (2, 2, 1, 2, 1)
GRID = 8  # canvas / product of the strides
NUM_FEATURES = 256


class MiniTower(nn.Module):
    """A small convolutional network with the attributes that open_clip asks of a timm model.

    Every border pixel reaches the dense layer, which is what gives a prompt its leverage.
    """

    num_features = NUM_FEATURES
    default_cfg: ClassVar[dict[str, Any]] = {
        "input_size": (3, CANVAS_PX, CANVAS_PX),
        "pool_size": None,
    }

    def __init__(self) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = 3
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            steps += [
                nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1),
                nn.ReLU(),
            ]
            channels = width
        self.convs = nn.Sequential(*steps)
        self.dense = nn.Linear(channels * GRID * GRID, NUM_FEATURES)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Nothing: there is no classifier and no pooling to take off."""

    def forward(self, images: Tensor) -> Tensor:
        """Features of each image.

        Args:
            images: (batch, 3, 64, 64), RGB, normalised.

        Returns:
            (batch, 256), not negative.
        """
        images = images.contiguous(memory_format=channels_last)  # a quarter faster on a CPU
        maps = self.convs(images)  # (batch, 64, 8, 8)
        features: Tensor = self.dense(maps.flatten(1)).relu()
        return features


def evp_mini_tower(pretrained: bool = False, **_: Any) -> MiniTower:
    """A tower with random weights, for timm's model list; the other options mean nothing here."""
    del pretrained
    return MiniTower()

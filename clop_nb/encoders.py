"""Encoders of images, the projection head, and the two as one model."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EmbeddingModel", "encoder", "projection_head"]


def encoder(name: str, channels: int = 3) -> nn.Module:
    """An untrained encoder, images (N, channels, H, W) to features (N, feature_dim).

    - ``resnet50`` and ``resnet18``: torchvision's, with the stem that SimCLR uses for small images: a 3x3 convolution
      of stride 1, no max-pooling, and no classifier at the end. 2048 and 512 features, 23.5 and 11.2 million weights.
    - ``resnet8``: a residual net for the laptop, three stages of one block, 16, 32 and 64 channels wide, 64 features
      and 77 thousand weights. The plan of He et al.'s nets for CIFAR (2015, Section 4.2; arXiv 1512.03385) with the
      smallest n = 1, but with 1x1 convolutions in the shortcuts that change shape.

    Weights are drawn from torch's global generator: set the seed before.

    Args:
        name: ``resnet50``, ``resnet18`` or ``resnet8``.
        channels: Channels of the images, 1 or more.

    Returns:
        The module; its attribute ``feature_dim`` is the number of features.

    Raises:
        ValueError: If the name is unknown or ``channels`` is not a positive integer.
    """
    if name not in tuple(_ENCODERS):
        raise ValueError(f"name must be one of {', '.join(_ENCODERS)}, got {name!r}")
    _check_positive("channels", channels)
    return _ENCODERS[name](channels)


def projection_head(in_dim: int, out_dim: int, hidden: int | None = None) -> nn.Sequential:
    """SimCLR's projection head: linear, batch normalisation, ReLU, linear.

    The first layer has no bias, since the normalisation takes it out again.

    Args:
        in_dim: Number of features.
        out_dim: Dimension of the embeddings.
        hidden: Width between the two layers; as wide as the features if ``None``.

    Returns:
        Maps (N, in_dim) to (N, out_dim), not normalised. In training mode it needs N >= 2.

    Raises:
        ValueError: If a dimension is not a positive integer.

    Source: Chen et al. 2020 (arXiv 2002.05709), Section 2.1.
    """
    hidden = in_dim if hidden is None else hidden
    for argument, value in (("in_dim", in_dim), ("out_dim", out_dim), ("hidden", hidden)):
        _check_positive(argument, value)
    return nn.Sequential(
        nn.Linear(in_dim, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out_dim),
    )


class EmbeddingModel(nn.Module):
    """An encoder with a projection head: what the losses see, and what the classifier sees.

    Args:
        name: Of the encoder, see :func:`encoder`.
        dim: Dimension d of the embeddings.
        channels: Channels of the images.
        normalise_features: Whether features are scaled to length 1 before they are returned and before the head. The
            paper does not mention it; the authors' code does it.

    Raises:
        ValueError: As :func:`encoder` and :func:`projection_head`.
    """

    def __init__(self, name: str, dim: int, channels: int = 3, normalise_features: bool = False) -> None:
        super().__init__()
        self.encoder = encoder(name, channels)
        self.head = projection_head(self.encoder.feature_dim, dim)
        self.normalise_features = normalise_features

    def features(self, images: Tensor) -> Tensor:
        """Features without the head, (N, C, H, W) to (N, feature_dim): for the evaluation of frozen features."""
        features = self.encoder(images)
        return F.normalize(features, dim=1) if self.normalise_features else features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and embeddings.

        Args:
            images: (N, C, H, W), floating point.

        Returns:
            Features (N, feature_dim) and embeddings (N, d); the embeddings are not normalised, the losses do that.
        """
        features = self.features(images)
        return features, self.head(features)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, (N, c, H, W) to (N, channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x), inplace=True)


class _ResNet8(nn.Module):
    feature_dim = 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            _Block(16, 16, stride=1),
            _Block(16, 32, stride=2),
            _Block(32, self.feature_dim, stride=2),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))


def _torchvision(name: str, channels: int) -> nn.Module:
    import torchvision

    model = getattr(torchvision.models, name)()
    model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    model.feature_dim = model.fc.in_features
    model.fc = nn.Identity()
    return model


_ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "resnet50": lambda channels: _torchvision("resnet50", channels),
    "resnet18": lambda channels: _torchvision("resnet18", channels),
    "resnet8": _ResNet8,
}


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")

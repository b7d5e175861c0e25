r"""Two random views of every image of a batch, computed for the whole batch at once on its own device.

The pipeline is SimCLR's in torchvision's definitions: each operation, given its parameters, is torchvision's on a float
tensor, and the parameters follow torchvision's laws. What differs is that a batch is worked on as a whole, although
every sample has parameters of its own.

Parameters are drawn on the generator's device, the CPU by default, wherever the images are, and all before the first
image is touched. So one seed gives the same views on every device (to float tolerance), and nothing waits for the
accelerator.

Views are float32 in 0..1 and **not normalised**: a mean and a deviation belong to the model's input, since images that
are evaluated without augmentation need the same, so that they should stand in one place, with the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = [
    "AffineJitter",
    "CropAndColour",
    "affine",
    "blend",
    "colour_jitter",
    "crop",
    "crop_windows",
    "grayscale",
    "luma",
    "shift_hue",
    "two_views",
]

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The operations of the colour jitter, numbered as in torchvision's."""
CROP_TRIES = 10
# Views made at a time on a CPU: larger blocks spend more on fresh memory and a full cache than they save on calls.
CPU_BLOCK = 256


@dataclass(frozen=True)
class CropAndColour:
    """SimCLR's augmentation for small images: crop, flip, colour jitter, grayscale; no blur, as the authors train.

    Raises:
        ValueError: If a value is not accepted; the message names the field.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    """Range of the crop's share of the image's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Range of the crop's width over its height."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    jitter: float = 0.8
    """Probability that colours are jittered."""
    brightness: float = 0.4
    """Factors are uniform on 1 - brightness (at least 0) to 1 + brightness; so for the next two."""
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    """Shifts are uniform on -hue to hue, in turns; at most 0.5."""
    gray: float = 0.2
    """Probability of grayscale."""

    def __post_init__(self) -> None:
        _check_range("scale", self.scale, 1.0)
        _check_range("ratio", self.ratio, math.inf)
        for name in ("flip", "jitter", "gray"):
            _check_between(name, getattr(self, name), 1.0)
        for name in ("brightness", "contrast", "saturation"):
            _check_between(name, getattr(self, name), math.inf)
        _check_between("hue", self.hue, 0.5)


@dataclass(frozen=True)
class AffineJitter:
    """Small rotations, translations and zooms, for images of digits and the like on a dark ground.

    A digit fills its image: a crop of 8 % of the area shows a stroke, a flip makes another sign, and there is no colour
    to change. What leaves a digit the same digit is what handwriting itself varies: slant, place and size. At the
    defaults the class stays legible. On the 8x8 digits, which they move by up to one pixel, a classifier of 5 nearest
    neighbours among views knows the class of 97 % of fresh views; at 45 degrees, a translation of 0.25 and zooms of
    0.6 to 1.4 it is 83 %, with the crops and flips of :class:`CropAndColour` 71 %.
    What comes from outside the image is 0.

    Raises:
        ValueError: If a value is not accepted; the message names the field.
    """

    rotation: float = 15.0
    """Angles are uniform on -rotation to rotation, in degrees."""
    translation: float = 0.125
    """Shifts are uniform on -translation to translation, in widths and heights of the image."""
    zoom: tuple[float, float] = (0.8, 1.2)
    """Range of the magnification, uniform."""

    def __post_init__(self) -> None:
        _check_between("rotation", self.rotation, 180.0)
        _check_between("translation", self.translation, 1.0)
        _check_range("zoom", self.zoom, math.inf)


@torch.no_grad()
def two_views(
    images: Tensor, generator: Generator | None = None, policy: CropAndColour | AffineJitter | None = None
) -> tuple[Tensor, Tensor]:
    """Two random views of each image.

    Args:
        images: (N, C, H, W), uint8, or floating point in 0..1, on any device.
        generator: Source of the parameters, on any device; None for torch's global one on the CPU.
        policy: What is drawn. By default :class:`AffineJitter` for one channel and :class:`CropAndColour` otherwise.
            With ``jitter=0, gray=0`` the latter takes any number of channels.

    Returns:
        Both views, each (N, C, H, W) float32 in 0..1, contiguous, on the images' device. No gradient runs through.

    Raises:
        ValueError: If the images have another shape or type, are not in 0..1 (floating point, on the CPU only:
            reading values of an accelerator would wait for it), or do not have the channels that the policy needs.
    """
    _check_images(images)
    if policy is None:
        policy = AffineJitter() if images.shape[1] == 1 else CropAndColour()
    if not isinstance(policy, CropAndColour | AffineJitter):
        raise ValueError(f"policy is {policy!r}: expected a CropAndColour, an AffineJitter or None")
    colours = isinstance(policy, CropAndColour) and (policy.jitter > 0 or policy.gray > 0)
    if colours and images.shape[1] != 3:
        raise ValueError(
            f"images has {images.shape[1]} channels: expected 3 for a change of colour (or jitter=0, gray=0 in policy)"
        )
    draw, make = (_draw_affine, affine) if isinstance(policy, AffineJitter) else (_draw_crops, _crop_and_colour)
    twice = torch.cat([images, images])
    views = torch.empty(twice.shape, device=images.device)
    block = CPU_BLOCK if images.device.type == "cpu" else len(twice)
    parameters = [p.split(block) for p in draw(policy, len(twice), images.shape[2:], generator)]
    for part, out, *own in zip(twice.split(block), views.split(block), *parameters, strict=True):
        out.copy_(make(_unit_range(part), *own))
    first, second = views.split(len(images))
    return first, second


def _draw_affine(
    policy: AffineJitter, n: int, size: tuple[int, int], generator: Generator | None
) -> tuple[Tensor, ...]:
    """What :func:`affine` takes besides the images."""
    u = _uniform((4, n), generator)
    turn, right, down = 2 * u[:3] - 1
    dx, dy = policy.translation * size[1] * right, policy.translation * size[0] * down
    return policy.rotation * turn, dx, dy, _between(u[3], *policy.zoom)


def _draw_crops(
    policy: CropAndColour, n: int, size: tuple[int, int], generator: Generator | None
) -> tuple[Tensor, ...]:
    """What :func:`_crop_and_colour` takes besides the images."""
    windows = crop_windows(n, size, policy.scale, policy.ratio, generator)
    u = _uniform((11, n), generator)
    strengths = (policy.brightness, policy.contrast, policy.saturation)
    factors = [_between(row, max(0.0, 1 - s), 1 + s) for row, s in zip(u[3:6], strengths, strict=True)]
    factors.append(_between(u[6], -policy.hue, policy.hue))
    order = u[7:].argsort(0)  # a uniform permutation
    flip, jitter, gray = u[0] < policy.flip, u[1] < policy.jitter, u[2] < policy.gray
    return *windows, flip, jitter, order.T, torch.stack(factors, 1), gray


def _crop_and_colour(images: Tensor, *parameters: Tensor) -> Tensor:
    *window_and_flip, jitter, order, factors, gray = parameters
    views = crop(images, *window_and_flip)
    if images.shape[1] == 3:
        grayscale(colour_jitter(views, jitter, order, factors), gray)
    return views


def crop_windows(
    n: int,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Windows by the law of torchvision's ``RandomResizedCrop``.

    Area uniform on ``scale``, ratio log-uniform on ``ratio``, sides rounded to pixels; a window that does not fit is
    drawn again, and after ten such tries the largest central window with a ratio in the range is taken. Here all ten
    are drawn and the first that fits counts, which is the same law. The place is uniform over the pixels.

    Args:
        n: How many.
        size: (height, width) of the images.
        scale: Range of the share of the area.
        ratio: Range of width over height.
        generator: As for :func:`two_views`.

    Returns:
        ``top, left, height, width``, each (n,), whole numbers in float32 on the CPU.
    """
    image_height, image_width = size
    u = _uniform((2 * CROP_TRIES + 2, n), generator)
    area = image_height * image_width * _between(u[:CROP_TRIES], *scale)  # (tries, n)
    aspect = _between(u[CROP_TRIES : 2 * CROP_TRIES], *map(math.log, ratio)).exp()
    widths, heights = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (widths > 0) & (widths <= image_width) & (heights > 0) & (heights <= image_height)
    first = fits.int().argmax(0, keepdim=True)  # 0 where none fits
    width, height = widths.gather(0, first)[0], heights.gather(0, first)[0]
    none = ~fits.any(0)
    central = min(max(image_width / image_height, ratio[0]), ratio[1])
    width[none] = min(image_width, round(image_height * central))
    height[none] = min(image_height, round(image_width / central))
    # The minimum is for the product of the largest float32 below 1, which may round up.
    top, left = (
        (draw * (room + 1)).floor().minimum(room)
        for draw, room in ((u[-2], image_height - height), (u[-1], image_width - width))
    )
    top[none], left[none] = (image_height - height[none]) // 2, (image_width - width[none]) // 2
    return top, left, height, width


def crop(images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, flip: Tensor) -> Tensor:
    """Each image's window, resized to the whole image by bilinear interpolation and flipped where ``flip`` says so.

    A window is never larger than the image, so there is nothing that antialiasing could change.

    Args:
        images: (n, C, H, W) float.
        top, left, height, width: The windows in pixels, (n,) each.
        flip: (n,) bool.

    Returns:
        (n, C, H, W).
    """
    top, left, height, width = _beside(images, top, left, height, width)
    rows, columns = images.shape[2:]
    y = _resized(rows, height)  # (n, H), pixels from the window's first
    x = _resized(columns, width)  # (n, W)
    x = torch.where(flip.to(images.device)[:, None], width[:, None] - 1 - x, x)
    return _sample(images, (left[:, None] + x)[:, None, :], (top[:, None] + y)[:, :, None])


def _resized(pixels: int, length: Tensor) -> Tensor:
    """Where the centres of ``pixels`` pixels fall in windows of the lengths (n,); the edge pixels reach outwards."""
    places = torch.arange(pixels, device=length.device) + 0.5
    return (places * length[:, None] / pixels - 0.5).clamp_(min=0).minimum(length[:, None] - 1)


def affine(images: Tensor, angle: Tensor, dx: Tensor, dy: Tensor, zoom: Tensor) -> Tensor:
    """Images rotated and magnified about their centre, then moved; bilinear, 0 from outside.

    Args:
        images: (n, C, H, W) float.
        angle: Degrees, clockwise, (n,).
        dx: Pixels to the right, (n,).
        dy: Pixels downwards, (n,).
        zoom: Magnification, (n,), above 0.

    Returns:
        (n, C, H, W).
    """
    angle, dx, dy, zoom = (t[:, None, None] for t in _beside(images, angle.deg2rad(), dx, dy, zoom))
    rows, columns = images.shape[2:]
    y = torch.arange(rows, device=images.device)[:, None] - (rows - 1) / 2 - dy  # (n, H, 1)
    x = torch.arange(columns, device=images.device) - (columns - 1) / 2 - dx  # (n, 1, W)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    return _sample(images, cos * x + sin * y + (columns - 1) / 2, cos * y - sin * x + (rows - 1) / 2)


def _sample(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The images at pixel coordinates x, y, both broadcastable to (n, H, W); cut to 0..1 against rounding."""
    n, _, rows, columns = images.shape
    grid = images.new_empty(n, rows, columns, 2)
    grid[..., 0] = (2 * x + 1) / columns - 1
    grid[..., 1] = (2 * y + 1) / rows - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False).clamp_(0, 1)


def colour_jitter(images: Tensor, chosen: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue of the chosen images, changed in place in each one's own order.

    Brightness, contrast and saturation are one formula (:func:`blend`), so that each of the three places in the order
    is one pass over all images. The hue, which is another, comes before the first, between two, or after the last:
    the images are sorted by that, and it is worked out once for each.

    Args:
        images: (n, 3, H, W) float in 0..1, overwritten.
        chosen: (n,) bool, on the CPU.
        order: (n, 4) int64 on the CPU, a permutation of :data:`BRIGHTNESS`, ... in each row, first to last.
        factors: (n, 4), column by column that of each operation; on the CPU.

    Returns:
        The images.
    """
    hue_at = (order == HUE).int().argmax(1)
    rows = chosen.nonzero().squeeze(1)
    rows = rows[hue_at[rows].argsort()]
    if not len(rows):
        return images
    ends = [0, *hue_at[rows].bincount(minlength=4).cumsum(0).tolist()]
    order, factors = order[rows], factors[rows]
    shifts = factors[:, HUE]
    blends = order[order != HUE].view(-1, 3)
    there = rows.to(images.device)
    part = images.index_select(0, there)
    for place in range(4):
        here = slice(ends[place], ends[place + 1])
        shift_hue(part[here], shifts[here])
        if place < 3:
            operation = blends[:, place]
            blend(part, operation, factors.gather(1, operation[:, None])[:, 0])
    return images.index_copy_(0, there, part)


def blend(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """Brightness, contrast or saturation of each image, in place.

    All three are :math:`f x + (1 - f) t`, cut to 0..1, with t black for the brightness, the image's mean luma for the
    contrast, and the pixel's luma for the saturation.

    Args:
        images: (n, 3, H, W) float in 0..1, overwritten.
        operation: :data:`BRIGHTNESS`, :data:`CONTRAST` or :data:`SATURATION`, (n,).
        factor: f, at least 0, (n,).

    Returns:
        The images.
    """
    kept = factor[:, None, None, None]
    to_mean = (1 - kept) * (operation == CONTRAST)[:, None, None, None]
    to_gray = (1 - kept) * (operation == SATURATION)[:, None, None, None]
    kept, to_mean, to_gray = _beside(images, kept, to_mean, to_gray)
    target = luma(images)
    to_mean = to_mean * target.mean((2, 3), keepdim=True)
    return images.mul_(kept).add_(target.mul_(to_gray).add_(to_mean)).clamp_(0, 1)


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    r"""The hue of each image in the HSV hexcone turned by ``shift``, in place.

    With M and m the largest and smallest channel of a pixel and c = M - m, the hue's distance from red on the circle of
    circumference 6 is :math:`1 + (g + b - r - m) / c`, on the side of green where g > b. Back from a hue h, a channel
    whose pure colour lies at distance d is :math:`m + c \min(1, \max(0, 2 - d))`. Both are without the cases that the
    textbook distinguishes, and that cost most of the time.

    Args:
        images: (n, 3, H, W) float in 0..1, overwritten.
        shift: In turns, -0.5 to 0.5, (n,).

    Returns:
        The images.
    """
    (turn,) = _beside(images, 6 * shift[:, None, None])
    r, g, b = images.unbind(1)  # (n, H, W) each
    low = torch.minimum(r, g).minimum(b)
    chroma = torch.maximum(r, g).maximum(b).sub_(low)
    distance = (g + b).sub_(r).sub_(low).div_(chroma.clamp(min=1e-12)).add_(1)  # of a gray pixel: whatever, times 0
    h = distance.copysign_(g - b).add_(turn)  # -6..6
    h.sub_((h / 6).round_(), alpha=6)  # -3..3
    pure = torch.tensor([0.0, 2.0, -2.0], device=images.device)[:, None, None]
    torch.sub(h[:, None], pure, out=images)
    images.abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)  # 2 - distance on the circle, cut
    return images.mul_(chroma[:, None]).add_(low[:, None])


def luma(images: Tensor) -> Tensor:
    """Brightness as seen, with torchvision's weights (ITU-R BT.601): (n, 3, H, W) to (n, 1, H, W)."""
    r, g, b = images.split(1, 1)
    return (0.2989 * r).add_(g, alpha=0.587).add_(b, alpha=0.114)


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """The chosen images without colour, in place.

    Args:
        images: (n, 3, H, W) float, overwritten.
        chosen: (n,) bool, on the CPU.

    Returns:
        The images.
    """
    rows = chosen.nonzero().squeeze(1).to(images.device)
    if not len(rows):
        return images
    gray = luma(images.index_select(0, rows))
    return images.index_copy_(0, rows, gray.expand(-1, 3, -1, -1))


def _uniform(shape: tuple[int, ...], generator: Generator | None) -> Tensor:
    """Uniform on [0, 1), on the CPU."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).cpu()


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u


def _beside(images: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
    """The parameters in the images' type and on their device."""
    return tuple(p.to(images.dtype).to(images.device, non_blocking=True) for p in parameters)


def _unit_range(images: Tensor) -> Tensor:
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or (images.dtype != torch.uint8 and not images.is_floating_point()):
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images is {kind}: expected a tensor of uint8, or of floating point in 0..1")
    if images.dim() != 4 or 0 in images.shape:
        raise ValueError(f"images has shape {tuple(images.shape)}: expected (N, C, H, W), none of them zero")
    if images.is_floating_point() and images.device.type == "cpu":
        low, high = (float(value) for value in torch.aminmax(images))
        if not (low >= 0 and high <= 1):
            raise ValueError(f"images is floating point and holds {low:g} to {high:g}: expected 0 to 1")


def _check_range(name: str, value: object, most: float) -> None:
    accepted = "above 0" if most == math.inf else f"above 0 and at most {most:g}"
    pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
    if not pair or not 0 < value[0] <= value[1] <= most or value[1] == math.inf:
        raise ValueError(f"{name} is {value!r}: expected a tuple (low, high), both {accepted}")


def _check_between(name: str, value: object, most: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= most or value == math.inf:
        accepted = "at least 0" if most == math.inf else f"from 0 to {most:g}"
        raise ValueError(f"{name} is {value!r}: expected a number {accepted}")

"""Each operation against torchvision's, one image at a time; the laws of the parameters; what two views must be."""

import math

import pytest
import torch

from clop_nb import augment
from clop_nb.augment import BRIGHTNESS, CONTRAST, HUE, SATURATION, AffineJitter, CropAndColour, two_views

# scipy comes with scikit-learn, which the extra `train` brings with torchvision.
transforms = pytest.importorskip("torchvision.transforms")
stats = pytest.importorskip("scipy.stats")
tv = transforms.functional
N = 40


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def uniform(low, high, n=N, seed=0):
    return low + (high - low) * torch.rand(n, generator=gen(seed))


def images(n=N, channels=3, height=32, width=32, seed=0):
    """Noise, with gray, black, white and saturated images among it, where hue and saturation have their cases."""
    x = torch.rand(n, channels, height, width, generator=gen(seed))
    x[0], x[1], x[2] = 0.0, 1.0, x[2, :1]
    x[3] = x[3].round()
    x[4] = (x[4] * 4).round() / 4
    return x


def close(ours, theirs):
    assert torch.allclose(ours, torch.stack(theirs), rtol=0, atol=1e-5), (ours - torch.stack(theirs)).abs().max()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (24, 17)])
def test_crop_and_flip_are_torchvisions_resized_crop_and_hflip(height, width):
    x = images(height=height, width=width)
    windows = augment.crop_windows(N, (height, width), (0.08, 1.0), (3 / 4, 4 / 3), gen())
    flip = torch.arange(N) % 2 == 0
    theirs = []
    for image, flipped, *window in zip(x, flip, *windows, strict=True):
        crop = tv.resized_crop(image, *map(int, window), [height, width], antialias=False)
        theirs.append(tv.hflip(crop) if flipped else crop)
    close(augment.crop(x, *windows, flip), theirs)


def test_antialiasing_would_change_nothing():
    x = images()
    windows = augment.crop_windows(N, (32, 32), (0.08, 1.0), (3 / 4, 4 / 3), gen())
    theirs = [
        tv.resized_crop(image, *map(int, window), [32, 32], antialias=True)
        for image, *window in zip(x, *windows, strict=True)
    ]
    close(augment.crop(x, *windows, torch.zeros(N, dtype=torch.bool)), theirs)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (12, 9)])
def test_affine_is_torchvisions(height, width):
    x = images(channels=1, height=height, width=width)
    angle, dx, dy, zoom = uniform(-40, 40), uniform(-3, 3, seed=1), uniform(-3, 3, seed=2), uniform(0.6, 1.5, seed=3)
    theirs = [
        tv.affine(
            image, a.item(), [b.item(), c.item()], z.item(), [0.0], interpolation=transforms.InterpolationMode.BILINEAR
        )
        for image, a, b, c, z in zip(x, angle, dx, dy, zoom, strict=True)
    ]
    close(augment.affine(x, angle, dx, dy, zoom), theirs)


ADJUST = {
    BRIGHTNESS: tv.adjust_brightness,
    CONTRAST: tv.adjust_contrast,
    SATURATION: tv.adjust_saturation,
    HUE: tv.adjust_hue,
}


def test_blends_are_torchvisions_brightness_contrast_and_saturation():
    x, factor, operation = images(), uniform(0, 2), torch.arange(N) // 5 % 3
    theirs = [ADJUST[int(o)](image, f.item()) for image, f, o in zip(x, factor, operation, strict=True)]
    close(augment.blend(x.clone(), operation, factor), theirs)


def test_hue_is_torchvisions():
    x, shift = images(), uniform(-0.5, 0.5)
    shift[5:9] = torch.tensor([-0.5, 0.5, 0.0, 1 / 6])
    theirs = [tv.adjust_hue(image, s.item()) for image, s in zip(x, shift, strict=True)]
    close(augment.shift_hue(x.clone(), shift), theirs)


def test_hue_of_nearly_gray_pixels_moves_no_further_than_their_chroma():
    x = (0.5 + 1e-7 * torch.rand(8, 3, 16, 16, generator=gen())).contiguous()
    assert (augment.shift_hue(x.clone(), torch.full((8,), 0.3)) - x).abs().max() < 3e-7


def test_colour_jitter_is_torchvisions_in_each_images_own_order():
    x = images(48)
    order = torch.cartesian_prod(*[torch.arange(4)] * 4)
    order = order[order.sort(1).values.eq(torch.arange(4)).all(1)].repeat(2, 1)  # all 24 orders, twice
    factors = torch.stack([uniform(0.6, 1.4, 48, seed) for seed in range(3)] + [uniform(-0.1, 0.1, 48, 3)], 1)
    chosen = torch.arange(48) % 5 > 0
    theirs = []
    for i, image in enumerate(x):
        for operation in order[i].tolist() if chosen[i] else []:
            image = ADJUST[operation](image, factors[i, operation].item())
        theirs.append(image)
    close(augment.colour_jitter(x.clone(), chosen, order, factors), theirs)
    nobody = torch.zeros(48, dtype=torch.bool)
    assert torch.equal(augment.colour_jitter(x.clone(), nobody, order, factors), x)


def test_grayscale_is_torchvisions_where_chosen():
    x, chosen = images(), torch.arange(N) % 3 == 0
    theirs = [tv.rgb_to_grayscale(image, 3) if c else image for image, c in zip(x, chosen, strict=True)]
    close(augment.grayscale(x.clone(), chosen), theirs)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 8), (64, 20)])
def test_windows_follow_torchvisions_law(height, width):
    """Areas, ratios and places against RandomResizedCrop's own; at 64x20 many a window has to be drawn again."""
    draws, scale, ratio = 4000, (0.08, 1.0), (3 / 4, 4 / 3)
    top, left, h, w = augment.crop_windows(draws, (height, width), scale, ratio, gen(1))
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        params = [transforms.RandomResizedCrop.get_params(image, scale, ratio) for _ in range(draws)]
    theirs = torch.tensor(params, dtype=torch.float32).T
    assert ((top >= 0) & (top + h <= height) & (left >= 0) & (left + w <= width) & (h >= 1) & (w >= 1)).all()
    mine = (h * w, w / h, top, left)
    other = (theirs[2] * theirs[3], theirs[3] / theirs[2], theirs[0], theirs[1])
    for a, b in zip(mine, other, strict=True):
        assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > 0.01


@pytest.mark.parametrize(("height", "width"), [(6, 60), (60, 6)])
def test_windows_that_never_fit_fall_back_to_torchvisions_central_one(height, width):
    scale, ratio = (0.95, 1.0), (3 / 4, 4 / 3)
    ours = torch.stack(augment.crop_windows(50, (height, width), scale, ratio, gen())).unique(dim=1)
    theirs = transforms.RandomResizedCrop.get_params(torch.zeros(3, height, width), scale, ratio)
    assert ours.flatten().tolist() == list(theirs)


def test_probabilities_and_ranges_of_a_policy_are_kept():
    """Constant images of known colour show what was drawn: grays the grayscale, brightness its factor."""
    red = torch.tensor([0.5, 0.25, 0.25])[None, :, None, None].expand(4000, 3, 4, 4)
    still = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    view, _ = two_views(red, gen(), CropAndColour(**still, brightness=0.4, jitter=0.8, gray=0.0))
    factor = view[:, 0, 0, 0] / 0.5
    jittered = (factor - 1).abs() > 1e-6
    assert jittered.float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert stats.kstest(factor[jittered].numpy(), stats.uniform(0.6, 0.8).cdf).pvalue > 0.01
    view, _ = two_views(red, gen(), CropAndColour(**still, jitter=0.0, gray=0.2))
    assert (view[:, 0] == view[:, 1]).all((1, 2)).float().mean().item() == pytest.approx(0.2, abs=0.03)
    ramp = torch.linspace(0, 1, 4).expand(4000, 1, 4, 4)
    view, _ = two_views(ramp, gen(), CropAndColour(**{**still, "flip": 0.5}, jitter=0.0, gray=0.0))
    assert (view[:, 0, 0, 0] > 0.5).float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("strength", "kept"),
    [
        ("contrast", lambda x: augment.luma(x).mean((2, 3))),
        ("saturation", augment.luma),
        ("hue", lambda x: torch.cat([x.amin(1), x.amax(1)])),
    ],
)
def test_every_strength_acts_alone_and_keeps_what_it_does_not_concern(strength, kept):
    quiet = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gray": 0.0, "flip": 0.0}
    still = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "jitter": 1.0}
    x = 0.3 + 0.4 * images()[5:]  # nothing is cut off
    unchanged, _ = two_views(x, gen(), CropAndColour(**still, **quiet))
    changed, _ = two_views(x, gen(), CropAndColour(**still, **{**quiet, strength: 0.3}))
    assert torch.allclose(unchanged, x, atol=1e-5)
    assert ((changed - x).abs().amax((1, 2, 3)) > 1e-4).all()
    assert torch.allclose(kept(changed), kept(x), atol=5e-5)  # the luma's weights sum to 0.9999


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 8), (1, 28)])
def test_views_are_random_for_every_image_and_repeat_with_the_seed(channels, size):
    one = torch.randint(0, 256, (1, channels, size, size), generator=gen(), dtype=torch.uint8)
    x = one.expand(300, -1, -1, -1)  # more than a block
    views = two_views(x, gen(3))
    for view in views:
        assert view.shape == x.shape
        assert view.dtype == torch.float32
        assert view.is_contiguous()
        assert view.min() >= 0
        assert view.max() <= 1
    every = torch.cat(views).flatten(1)
    assert len(every.unique(dim=0)) == len(every)  # between samples, and between the views of one
    again, other = two_views(x, gen(3)), two_views(x, gen(4))
    assert all(torch.equal(a, b) for a, b in zip(views, again, strict=True))
    assert not torch.equal(views[0], other[0])


def test_views_need_no_gradient_and_leave_the_images_alone():
    x = images().requires_grad_()
    before = x.detach().clone()
    assert not any(view.requires_grad for view in two_views(x, gen()))
    assert torch.equal(x, before)


def test_uint8_and_floats_of_any_precision_give_the_same_views():
    x = torch.randint(0, 256, (10, 3, 16, 16), generator=gen(), dtype=torch.uint8)
    views = two_views(x, gen())
    for same in (x.double() / 255, (x / 255).to(memory_format=torch.channels_last)):
        for a, b in zip(views, two_views(same, gen()), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
    assert two_views((x / 255).bfloat16(), gen())[0].dtype == torch.float32


def test_autocast_does_not_lower_the_precision():
    x = images()
    plain = two_views(x, gen())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = two_views(x, gen())
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


def test_the_global_generator_is_used_without_one():
    x = images()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = two_views(x)
        torch.manual_seed(5)
        assert torch.equal(first[0], two_views(x)[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_size_of_the_blocks_on_a_cpu_changes_nothing(channels, monkeypatch):
    x = images(channels=channels, height=16, width=16)
    whole = two_views(x, gen())
    monkeypatch.setattr(augment, "CPU_BLOCK", 17)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, two_views(x, gen()), strict=True))


@pytest.mark.parametrize("policy", [CropAndColour(jitter=0.0, gray=0.0), AffineJitter()])
def test_white_images_get_no_whiter(policy):
    """At 33 pixels the weights of the interpolation can sum to a little more than 1."""
    for view in two_views(torch.full((200, 3, 33, 33), 255, dtype=torch.uint8), gen(), policy):
        assert view.max() == 1


def test_crops_of_constant_images_are_constant():
    x = torch.rand(50, 3, 1, 1, generator=gen()).expand(-1, -1, 32, 32)
    for view in two_views(x, gen(), CropAndColour(jitter=0.0, gray=0.0)):
        assert torch.allclose(view, x, atol=1e-6)


def test_one_pixel_moved_stays_within_the_policys_reach():
    """A bright pixel in the middle of a 9x9 image ends where translation and rotation can bring it, in both ways."""
    x = torch.zeros(500, 1, 9, 9)
    x[:, :, 4, 4] = 1.0
    view, _ = two_views(x, gen(), AffineJitter(rotation=20.0, translation=1 / 9, zoom=(1.0, 1.0)))
    places = torch.arange(9.0) - 4
    down = (view.sum((1, 3)) * places).sum(1) / view.sum((1, 2, 3))
    right = (view.sum((1, 2)) * places).sum(1) / view.sum((1, 2, 3))
    for shift in (down, right):
        assert -1.1 < shift.min() < -0.8
        assert 0.8 < shift.max() < 1.1
    assert abs(torch.corrcoef(torch.stack([down, right]))[0, 1]) < 0.15


def test_views_of_digits_keep_their_class_as_the_docstring_says():
    datasets, neighbors = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.neighbors")
    digits = datasets.load_digits()
    x, y = torch.tensor(digits.images).float()[:, None] / 16, torch.tensor(digits.target)
    test = torch.arange(len(y)) % 5 == 0

    def legible(policy, generator):
        bank = torch.cat([view for _ in range(10) for view in two_views(x[~test], generator, policy)])
        fresh = torch.cat(two_views(x[test], generator, policy))
        classifier = neighbors.KNeighborsClassifier(5).fit(bank.flatten(1), y[~test].repeat(20))
        return classifier.score(fresh.flatten(1), y[test].repeat(2))

    assert legible(None, gen()) == pytest.approx(0.97, abs=0.02)
    assert legible(CropAndColour(jitter=0.0, gray=0.0), gen()) == pytest.approx(0.71, abs=0.04)
    assert legible(AffineJitter(45.0, 0.25, (0.6, 1.4)), gen()) == pytest.approx(0.83, abs=0.04)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_one_seed_gives_the_same_views_on_the_accelerator():
    x = torch.randint(0, 256, (300, 3, 32, 32), generator=gen(), dtype=torch.uint8)
    for a, b in zip(two_views(x, gen()), two_views(x.cuda(), gen()), strict=True):
        assert torch.allclose(a, b.cpu(), atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[0.0]], "images is list: expected a tensor of uint8"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "images is torch.int64: expected a tensor of uint8"),
        (torch.zeros(3, 8, 8), r"images has shape \(3, 8, 8\): expected \(N, C, H, W\)"),
        (torch.zeros(0, 3, 8, 8), r"images has shape \(0, 3, 8, 8\): expected \(N, C, H, W\)"),
        (torch.full((2, 3, 8, 8), 255.0), "holds 255 to 255: expected 0 to 1"),
        (torch.full((2, 3, 8, 8), math.nan), "holds nan to nan: expected 0 to 1"),
        (torch.zeros(2, 4, 8, 8), "images has 4 channels: expected 3"),
    ],
)
def test_bad_images_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        two_views(bad)


def test_one_channel_takes_no_colours_but_crops():
    x = torch.rand(5, 1, 28, 28, generator=gen())
    with pytest.raises(ValueError, match="images has 1 channels: expected 3 for a change of colour"):
        two_views(x, policy=CropAndColour())
    assert two_views(x, policy=CropAndColour(jitter=0.0, gray=0.0))[0].shape == x.shape
    with pytest.raises(ValueError, match="policy is 'simclr': expected"):
        two_views(x, policy="simclr")


@pytest.mark.parametrize(
    ("policy", "name", "value"),
    [
        *[(CropAndColour, "scale", value) for value in ((0.0, 1.0), (0.5, 1.1), (0.9, 0.1), 0.5)],
        *[(CropAndColour, "ratio", value) for value in ((0.0, 1.0), (1.0, math.inf))],
        *[(CropAndColour, name, 1.5) for name in ("flip", "jitter", "gray")],
        *[(CropAndColour, name, -0.1) for name in ("brightness", "contrast", "saturation", "hue")],
        (CropAndColour, "hue", 0.6),
        (CropAndColour, "contrast", math.nan),
        (AffineJitter, "rotation", -1.0),
        (AffineJitter, "translation", 2.0),
        (AffineJitter, "zoom", (0.0, 1.0)),
    ],
)
def test_bad_policies_are_named(policy, name, value):
    with pytest.raises(ValueError, match=rf"^{name} is .*: expected a (number|tuple)"):
        policy(**{name: value})

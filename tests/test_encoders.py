"""Encoders, projection head and the model of both: shapes, sizes, gradients, normalisation, seeds."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from clop_nb.encoders import EmbeddingModel, encoder, projection_head

DIMS = {"resnet50": 2048, "resnet18": 512, "resnet8": 64}


def seeded(make, *args, seed=0, **kwargs):
    torch.manual_seed(seed)
    return make(*args, **kwargs)


def images(n=4, channels=3, size=16, seed=0):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", DIMS)
@pytest.mark.parametrize("size", [8, 28, 32, 64])
def test_images_of_every_data_set_become_features(name, size):
    for channels in (1, 3):
        net = encoder(name, channels).eval()
        assert net.feature_dim == DIMS[name]
        with torch.no_grad():
            features = net(images(2, channels, size))
        assert features.shape == (2, DIMS[name])
        assert features.isfinite().all()


@pytest.mark.parametrize("name", ["resnet50", "resnet18"])
def test_weights_are_torchvisions_but_for_stem_and_classifier(name):
    import torchvision

    theirs = getattr(torchvision.models, name)()
    ours = encoder(name)
    assert count(ours) == count(theirs) - count(theirs.fc) - 64 * 3 * 7 * 7 + 64 * 3 * 3 * 3
    assert count(ours) - count(encoder(name, 1)) == 64 * 2 * 3 * 3

    def shapes(net):
        return {key: value.shape for key, value in net.state_dict().items() if not key.startswith(("conv1.", "fc."))}

    assert shapes(ours) == shapes(theirs)
    assert ours.conv1.weight.shape == (64, 3, 3, 3)
    assert ours.conv1.bias is None


def test_the_small_net_has_the_weights_of_its_plan():
    def block(c_in, c):
        return 9 * c_in * c + 9 * c * c + 4 * c + (c_in * c + 2 * c if c_in != c else 0)

    assert count(encoder("resnet8", 1)) == 9 * 16 + 2 * 16 + block(16, 16) + block(16, 32) + block(32, 64) == 77104


def sizes_after(net, modules, size):
    seen = []
    hooks = [module.register_forward_hook(lambda _, __, out: seen.append(out.shape[-1])) for module in modules]
    with torch.no_grad():
        net.eval()(images(1, 3, size))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("size", [8, 28, 32])
def test_the_stem_keeps_the_resolution(size):
    halves = [size, math.ceil(size / 2), math.ceil(size / 4), math.ceil(size / 8)]
    for name in ("resnet50", "resnet18"):
        net = encoder(name)
        stages = [net.conv1, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
        assert sizes_after(net, stages, size) == [size, size, *halves]
    net = encoder("resnet8")
    assert sizes_after(net, [net.layers[0], *net.layers[3:]], size) == [size, *halves[:3]]


@pytest.mark.parametrize("name", DIMS)
def test_gradients_reach_every_weight(name):
    model = seeded(EmbeddingModel, name, 16)
    _, z = model(images(6))
    weights = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    (z * weights).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


def test_convolutions_start_with_he_initialisation():
    for name in ("resnet18", "resnet8"):
        net = seeded(encoder, name)
        for key, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * math.prod(module.kernel_size)
                n = module.weight.numel()
                assert module.weight.std().item() * (fan_out / 2) ** 0.5 == pytest.approx(1, abs=5 / (2 * n) ** 0.5), (
                    key
                )


@pytest.mark.parametrize("name", DIMS)
def test_a_seed_fixes_the_weights(name):
    first, again, other = (seeded(EmbeddingModel, name, 8, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in first:
        if first[key].ndim > 1:
            assert not torch.equal(first[key], other[key]), key


def test_the_small_net_is_the_same_in_channels_last():
    net = seeded(encoder, "resnet8", 3)
    expected = net(images(6))
    last = net.to(memory_format=torch.channels_last)
    assert torch.allclose(last(images(6).contiguous(memory_format=torch.channels_last)), expected, atol=1e-5)


def test_the_projection_head_is_simclrs():
    head = seeded(projection_head, 2048, 128)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert count(head) == 2048 * 2048 + 2 * 2048 + 2048 * 128 + 128
    assert projection_head(64, 16, hidden=32)(torch.randn(3, 64)).shape == (3, 16)


def test_the_head_normalises_its_hidden_layer_over_the_batch():
    head = seeded(projection_head, 8, 4)
    hidden = head[:2](5 + 3 * torch.randn(50, 8))
    assert torch.allclose(hidden.mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(hidden.var(0, correction=0), torch.ones(8), atol=1e-3)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        head(torch.randn(1, 8))


def test_a_sample_depends_on_its_batch_in_training_only():
    model = seeded(EmbeddingModel, "resnet8", 16)
    batch, other = images(4), torch.cat([images(4)[:1], images(3, seed=1)])
    before = {key: value.clone() for key, value in model.named_buffers()}
    for out, changed in zip(model(batch), model(other), strict=True):
        assert not torch.allclose(out[0], changed[0], atol=1e-3)
    moved = {key for key, value in model.named_buffers() if not torch.equal(value, before[key])}
    assert moved == set(before)
    model.eval()
    before = {key: value.clone() for key, value in model.named_buffers()}
    for out, same in zip(model(batch), model(other), strict=True):
        assert torch.allclose(out[0], same[0], atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.named_buffers())


def test_the_model_returns_features_and_their_embeddings():
    model = seeded(EmbeddingModel, "resnet8", 16, channels=1).eval()
    features, z = model(images(5, 1, 8))
    assert features.shape == (5, 64)
    assert z.shape == (5, 16)
    assert torch.equal(features, model.encoder(images(5, 1, 8)))
    assert torch.equal(features, model.features(images(5, 1, 8)))
    assert torch.equal(z, model.head(features))


def test_normalised_features_have_length_one_before_the_head():
    plain = seeded(EmbeddingModel, "resnet8", 16).eval()
    unit = seeded(EmbeddingModel, "resnet8", 16, normalise_features=True).eval()
    features, z = unit(images())
    assert torch.allclose(features.norm(dim=1), torch.ones(4))
    assert torch.allclose(plain(images())[0].norm(dim=1, keepdim=True) * features, plain(images())[0], atol=1e-6)
    assert torch.equal(z, unit.head(features))
    assert torch.equal(unit.features(images()), features)


@pytest.mark.parametrize("name", ["resnet", None, ["resnet8"]])
def test_unknown_names_list_the_known_ones(name):
    for make in (encoder, lambda name: EmbeddingModel(name, 16)):
        with pytest.raises(ValueError, match="name must be one of resnet50, resnet18, resnet8, got"):
            make(name)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "3"])
def test_sizes_must_be_positive_integers(size):
    with pytest.raises(ValueError, match="channels must be a positive integer, got"):
        encoder("resnet8", size)
    for argument in ("in_dim", "out_dim", "hidden"):
        with pytest.raises(ValueError, match=f"{argument} must be a positive integer, got"):
            projection_head(**{"in_dim": 4, "out_dim": 4, argument: size})


def test_the_small_net_and_the_loaders_do_without_torchvision_until_they_need_it():
    code = "import sys; from clop_nb import data, encoders; encoders.encoder('resnet8'); "
    code += "print([m for m in ('torchvision', 'sklearn', 'PIL', 'pandas') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

from __future__ import annotations

import pytest
import torch

from brainage_ray.models.heads import AgeHead, AgeModel
from brainage_ray.models.resnet import ResNetEncoder
from brainage_ray.models.unet import UNetEncoder

BACKBONES = {
    "unet": lambda: UNetEncoder(in_channels=1, width=0.125),
    "resnet": lambda: ResNetEncoder(in_channels=1, width=0.125, depth=14),
}


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return BACKBONES[request.param]()


@pytest.mark.parametrize("shape", [(96, 96), (96, 80)])
def test_one_age_a_slice(backbone, shape):
    ages = AgeModel(backbone)(torch.randn(3, 1, *shape))
    assert ages.shape == (3,)
    assert ages.dtype == torch.float32


def test_head_is_the_mean_over_pixels_and_a_linear_layer():
    head = AgeHead(channels=5)
    features = torch.randn(3, 5, 2, 4)
    expected = features.reshape(3, 5, 8).mean(2) @ head.linear.weight[0] + head.linear.bias
    torch.testing.assert_close(head([features]), expected)


def test_head_is_in_float32_under_autocast(backbone):
    model = AgeModel(backbone).eval()
    x = torch.randn(4, 1, 96, 80)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = model.backbone(x)[-1]
        ages = model(x)
    assert features.dtype == torch.bfloat16
    assert ages.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(ages, model.head([features.float()]))
    assert not torch.equal(ages, ages.bfloat16().float())


def test_position_moves_the_age_by_its_weight():
    model = AgeModel(BACKBONES["unet"](), slice_position=True).eval()
    x, position = torch.randn(2, 1, 96, 96), torch.tensor([0.35, 1.14])
    with torch.no_grad():
        moved = model(x, position) - model(x, torch.zeros(2))
    torch.testing.assert_close(moved, position * model.head.linear.weight[0, -1].detach(), atol=1e-5, rtol=1e-4)


def test_position_in_half_precision_stays_a_float32_head():
    head = AgeHead(channels=4, slice_position=True)
    assert head([torch.randn(2, 4, 3, 3)], torch.ones(2, dtype=torch.float16)).dtype == torch.float32


def test_a_position_that_is_needed_and_not_given_is_an_error():
    with pytest.raises(ValueError, match="slice_position"):
        AgeHead(channels=4, slice_position=True)([torch.randn(2, 4, 3, 3)])


def test_a_position_that_is_not_needed_changes_nothing():
    head, features = AgeHead(channels=4), [torch.randn(2, 4, 3, 3)]
    assert torch.equal(head(features, torch.ones(2)), head(features))


def test_dropout_only_while_training():
    model = AgeModel(BACKBONES["unet"](), dropout=0.5)
    x = torch.randn(2, 1, 96, 96)
    assert not torch.equal(model.train()(x), model.train()(x))
    assert torch.equal(model.eval()(x), model.eval()(x))


def test_channels_last_is_the_same_function(backbone):
    model = AgeModel(backbone).eval()
    x = torch.randn(2, 1, 96, 80)
    with torch.no_grad():
        plain = model(x)
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)


def test_batch_statistics_only_while_training():
    model = AgeModel(BACKBONES["resnet"]())
    a, b = torch.randn(2, 1, 64, 64), torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(model.train()(torch.cat([a, b]))[:2], model(a), rtol=1e-3)
        model.eval()
        torch.testing.assert_close(model(torch.cat([a, b]))[:2], model(a), rtol=1e-4, atol=1e-5)


def test_every_weight_gets_a_gradient(backbone):
    model = AgeModel(backbone, slice_position=True)
    model(torch.randn(2, 1, 96, 96), torch.rand(2)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_names_of_the_state():
    names = AgeModel(BACKBONES["unet"]()).state_dict()
    assert {name.split(".")[0] for name in names} == {"backbone", "head"}


def test_all_feature_maps_can_be_pooled(backbone):
    model = AgeModel(backbone, pool_all=True).eval()
    assert model.head.linear.in_features == sum(backbone.channels)
    x = torch.randn(2, 1, 96, 96)
    with torch.no_grad():
        means = torch.cat([maps.mean(dim=(2, 3)) for maps in backbone(x)], dim=1)
        torch.testing.assert_close(model(x), model.head.linear(means)[:, 0])

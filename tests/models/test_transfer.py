from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainage_ray.config import ResNetConfig, TrainingConfig, UNetConfig
from brainage_ray.errors import WeightsError
from brainage_ray.models import adapt_stem, build_age_model, build_backbone, build_segmentation_model, load_encoder
from brainage_ray.models.resnet import BLOCKS, ResNetEncoder

UNET = UNetConfig(kind="unet", width=0.125, depth=3)
RESNET = ResNetConfig(kind="resnet50", width=0.125, depth=14)


@pytest.fixture
def small_state(torchvision_state):
    return torchvision_state(width=0.125, blocks=BLOCKS[14], classes=10)


@settings(max_examples=25, deadline=None)
@given(before=st.integers(1, 6), after=st.integers(1, 6), seed=st.integers(0, 1000))
def test_a_repeated_channel_gives_the_same_through_an_adapted_stem(before, after, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, before, 3, 3, generator=generator)
    x = torch.randn(2, 1, 9, 7, generator=generator)
    old = torch.conv2d(x.repeat(1, before, 1, 1), weight, padding=1)
    adapted = adapt_stem(weight, after)
    assert adapted.shape == (8, after, 3, 3)
    torch.testing.assert_close(torch.conv2d(x.repeat(1, after, 1, 1), adapted, padding=1), old, atol=1e-5, rtol=1e-5)


def test_a_stem_that_fits_stays_as_it_is():
    weight = torch.randn(8, 4, 3, 3)
    assert adapt_stem(weight, 4) is weight


@pytest.mark.parametrize("config", [UNET, RESNET], ids=["unet", "resnet"])
@pytest.mark.parametrize(("before", "after"), [(4, 1), (3, 4), (1, 4)])
def test_a_transferred_encoder_is_the_same_function_of_a_repeated_channel(config, before, after):
    source = build_backbone(config, before).eval()
    target = build_backbone(config, after).eval()
    report = load_encoder(target, source.state_dict())
    x = torch.randn(2, 1, 64, 80)
    with torch.no_grad():
        old, new = source(x.repeat(1, before, 1, 1)), target(x.repeat(1, after, 1, 1))
    for ours, theirs in zip(new, old, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-5)
    assert report.adapted == (target.stem_key,)
    assert set(report.loaded) == set(source.state_dict())
    assert report.missing == report.unexpected == ()


def test_the_chain_from_photographs_over_tumours_to_age(small_state):
    segmentation = build_segmentation_model(RESNET)
    first = load_encoder(segmentation.backbone, small_state)
    age = build_age_model(RESNET, TrainingConfig())
    second = load_encoder(age.backbone, segmentation.backbone.state_dict())
    assert first.unexpected == ("fc.weight", "fc.bias")
    assert str(first) == f"{len(first.loaded)} loaded, 0 missing, 2 left out: fc.weight, fc.bias"
    assert str(second) == f"{len(second.loaded)} loaded, 0 missing, 0 left out"
    assert first.adapted == second.adapted == ("conv1.weight",)
    assert torch.equal(age.backbone.layer4[0].conv3.weight, small_state["layer4.0.conv3.weight"])
    torch.testing.assert_close(age.backbone.conv1.weight, small_state["conv1.weight"].sum(1, keepdim=True))


@pytest.mark.parametrize("make", [build_segmentation_model, lambda c: build_age_model(c, TrainingConfig())])
def test_a_whole_models_state_gives_its_encoder(make):
    model = make(UNET)
    backbone = build_backbone(UNET, 1)
    report = load_encoder(backbone, model.state_dict())
    assert len(report.loaded) == len(backbone.state_dict())
    assert {name.split(".")[0] for name in report.unexpected} <= {"head", "decoder"}
    assert len(report.unexpected) == len(model.state_dict()) - len(backbone.state_dict())


def test_the_prefix_of_data_parallelism_is_dropped(small_state):
    backbone = build_backbone(RESNET, 3)
    load_encoder(backbone, {f"module.{key}": value for key, value in small_state.items()})
    assert torch.equal(backbone.conv1.weight, small_state["conv1.weight"])


def test_batch_counters_may_be_missing_on_the_record(small_state):
    old = {key: value for key, value in small_state.items() if "num_batches" not in key}
    report = load_encoder(build_backbone(RESNET, 3), old)
    assert len(report.missing) == len(small_state) - len(old) > 0
    assert all(name.endswith("num_batches_tracked") for name in report.missing)


@pytest.mark.parametrize("lost", ["conv1.weight", "layer2.0.bn1.running_var", "layer4.0.conv3.weight"])
def test_less_than_the_whole_encoder_is_an_error_that_changes_nothing(small_state, lost):
    del small_state[lost]
    backbone = build_backbone(RESNET, 3)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"1 missing \({lost}\)"):
        load_encoder(backbone, small_state)
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_a_deeper_networks_weights_are_not_half_used(torchvision_state):
    state = torchvision_state(width=0.125, blocks=BLOCKS[26], classes=10)
    with pytest.raises(WeightsError, match=r"unknown to the network \(layer1.1.conv1.weight"):
        load_encoder(build_backbone(RESNET, 3), state)


def test_another_architectures_weights_list_five_names(small_state):
    with pytest.raises(WeightsError) as error:
        load_encoder(build_backbone(UNET, 3), small_state)
    missing, unknown = error.value.problem.split("; ")
    assert missing.count("stages.") == 5
    assert " and 13 more" in missing
    assert unknown.count("layer") + unknown.count("bn1") + unknown.count("conv1") >= 5
    assert "same architecture" in error.value.fix


def test_another_width_names_both_shapes(torchvision_state):
    state = torchvision_state(width=0.25, blocks=BLOCKS[14], classes=10)
    with pytest.raises(WeightsError, match=r"conv1.weight is \[16, 3, 7, 7\], not \[8, 3, 7, 7\]"):
        load_encoder(build_backbone(RESNET, 3), state)


def test_half_precision_weights_become_float32(small_state):
    backbone = ResNetEncoder(3, 0.125, 14)
    load_encoder(backbone, {k: v.half() if v.is_floating_point() else v for k, v in small_state.items()})
    assert backbone.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(backbone.conv1.weight, small_state["conv1.weight"], rtol=1e-3, atol=1e-4)

from __future__ import annotations

import pytest
import torch
from monai.networks.blocks.dynunet_block import UnetUpBlock

from brainage_ray.config import ResNetConfig, UNetConfig
from brainage_ray.errors import ConfigError
from brainage_ray.models.blocks import UpBlock
from brainage_ray.models.build import build_segmentation_model
from brainage_ray.models.segmentation import Decoder

CONFIGS = {
    "unet": UNetConfig(kind="unet", width=0.125),
    "resnet": ResNetConfig(kind="resnet50", width=0.125, depth=14),
}


@pytest.fixture(params=CONFIGS)
def model(request):
    return build_segmentation_model(CONFIGS[request.param])


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 80), (91, 109)])
def test_full_resolution_first_then_half_after_half(model, height, width):
    logits = model(torch.randn(2, 4, height, width))
    expected = [(2, 4, -(-height // s), -(-width // s)) for s in (1, 2, 4, 8)]
    assert [tuple(level.shape) for level in logits] == expected


def test_padding_is_background_below_and_right(model):
    model.eval()
    x = torch.randn(1, 4, 96, 80)
    padded = torch.zeros(1, 4, 96, 96)
    padded[..., :80] = x
    with torch.no_grad():
        assert torch.equal(model(x)[0], model(padded)[0][..., :80])


def test_the_decoder_owns_no_encoder(model):
    parts = {name.split(".")[0] for name in model.state_dict()}
    assert parts == {"backbone", "decoder"}
    encoder = {id(p) for p in model.backbone.parameters()}
    assert encoder.isdisjoint(id(p) for p in model.decoder.parameters())


def test_every_weight_gets_a_gradient(model):
    sum(level.square().mean() for level in model(torch.randn(2, 4, 64, 64))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_logits_are_float32_under_autocast(model):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert {level.dtype for level in model(torch.randn(1, 4, 64, 64))} == {torch.float32}


def test_the_skips_reach_the_logits(model):
    model.eval()
    with torch.no_grad():
        features = model.backbone(torch.randn(1, 4, 64, 64))
        before = model.decoder(features)[0]
        for i in range(len(features)):
            changed = [f + torch.randn_like(f) if i == j else f for j, f in enumerate(features)]
            assert not torch.allclose(model.decoder(changed)[0], before)


def test_an_up_block_is_monais_with_the_same_names():
    theirs = UnetUpBlock(
        2, 6, 4, kernel_size=3, stride=1, upsample_kernel_size=2, norm_name=("instance", {"affine": True})
    )
    ours = UpBlock(in_channels=6, skip_channels=4, out_channels=4)
    ours.load_state_dict(theirs.state_dict())
    x, skip = torch.randn(2, 6, 5, 7), torch.randn(2, 4, 10, 14)
    assert torch.equal(ours(x, skip), theirs(x, skip))


def test_both_backbones_get_decoder_levels_of_the_same_widths():
    widths = [
        [level.transp_conv.conv.out_channels for level in build_segmentation_model(config).decoder.levels]
        for config in CONFIGS.values()
    ]
    assert widths[0] == widths[1] == [4, 8, 16, 32, 60]


def test_the_published_unet_has_the_parameters_of_its_formula():
    with torch.device("meta"):
        decoder = build_segmentation_model(UNetConfig(kind="unet")).decoder
    widths, deeper = (32, 64, 128, 256, 480), (64, 128, 256, 480, 480)
    levels = sum(4 * b * w + 9 * 2 * w * w + 9 * w * w + 4 * w for w, b in zip(widths, deeper, strict=True))
    outputs = sum(4 * w + 4 for w in widths[:4])
    assert sum(p.numel() for p in decoder.parameters()) == levels + outputs


def test_the_shallowest_unet_has_one_output():
    model = build_segmentation_model(UNetConfig(kind="unet", width=0.125, depth=2), in_channels=1, classes=3)
    assert [tuple(level.shape) for level in model(torch.randn(1, 1, 16, 18))] == [(1, 3, 16, 18)]


def test_slices_too_small_for_the_unet_are_refused():
    with pytest.raises(ConfigError, match="32 x 32 pixels"):
        build_segmentation_model(CONFIGS["unet"])(torch.randn(1, 4, 24, 24))


def test_the_decoder_is_drawn_as_nnunets():
    decoder = Decoder(channels=(64, 480), strides=(1, 2), widths=(64,), classes=4)
    weight = decoder.get_parameter("levels.0.conv_block.conv1.conv.weight")
    assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / (128 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(decoder.get_parameter("outputs.0.bias"), torch.zeros(4))

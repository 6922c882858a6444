"""Encoders of nnU-Net's checkpoints, in our names (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

The 2D network of nnU-Net v2 (PlainConvUNet) and v1 (Generic_UNet) has the stages of our U-Net: two 3x3 convolutions,
each with instance norm and leaky ReLU. Its convolutions have a bias, which the norm behind them takes out again, so
ours have none: leaving it out changes nothing. The first stages of a deeper encoder compute what they compute in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from brainage_ray.errors import WeightsError

WEIGHTS = "network_weights"
"""Key of a v2 checkpoint under which its weights are."""
_V2 = re.compile(
    r"encoder\.stages\.(?P<stage>\d+)\.0\.convs\.(?P<conv>\d+)\.(?P<part>conv|norm)\.(?P<kind>weight|bias)"
)
_V1 = re.compile(
    r"conv_blocks_context\.(?P<stage>\d+)(?:\.(?P<last>\d+))?\.blocks\.(?P<conv>\d+)\."
    r"(?P<part>conv|instnorm)\.(?P<kind>weight|bias)"
)
_FIX = "Take the checkpoint of nnU-Net's 2d configuration, PlainConvUNet, trained on the same data."
_BIAS = "the instance norm behind it takes it out again"
_DEEPER = "deeper than the backbone"
_TWICE = "a second name of weights that are taken"
_NOT_ENCODER = "not of the encoder"


@dataclass(frozen=True)
class Foreign:
    """Weights from elsewhere, in the names of our backbones."""

    state: Mapping[str, Tensor]
    origin: Mapping[str, str] = field(default_factory=dict)
    """By our name, theirs, where it is another."""
    left: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By their name, its shape and why it was left out."""


def is_nnunet(content: Any) -> bool:
    """Tell whether a file's content is a checkpoint of nnU-Net."""
    if not isinstance(content, Mapping):
        return False
    state = content.get("state_dict")
    return WEIGHTS in content or (isinstance(state, Mapping) and any(_V1.match(str(name)) for name in state))


def encoder_of_nnunet(content: Mapping[str, Any], stages: int) -> Foreign:
    """Give an nnU-Net's encoder our names.

    Args:
        content: of a checkpoint.
        stages: of the backbone; deeper ones are left out.

    Raises:
        WeightsError: it is a 3D network, one with residual blocks, or one that does not halve the slices at each stage.
    """
    weights = content.get(WEIGHTS, content.get("state_dict"))
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise WeightsError("the nnU-Net checkpoint holds no weights by name", _FIX)
    named = {str(name).removeprefix("module.").removeprefix("_orig_mod."): value for name, value in weights.items()}
    _check_kind(named)
    _check_strides(content, stages)
    state, origin, left = {}, {}, {}
    for name, value in named.items():
        ours, why = _place(name, stages)
        if ours:
            state[ours], origin[ours] = value, name
        else:
            left[name] = (" x ".join(map(str, value.shape)), why)
    return Foreign(state, origin, left)


def _place(name: str, stages: int) -> tuple[str, str]:
    """Return our name of a weight, or none and why it is left out."""
    found = _V2.fullmatch(name) or _V1.fullmatch(name)
    if found is None:
        return "", _TWICE if ".all_modules." in name or name.startswith("decoder.encoder.") else _NOT_ENCODER
    if int(found["stage"]) >= stages:
        return "", _DEEPER
    if found["part"] == "conv" and found["kind"] == "bias":
        return "", _BIAS
    conv = int(found["conv"]) + int(found.groupdict().get("last") or 0) + 1
    part = f"conv{conv}.conv" if found["part"] == "conv" else f"norm{conv}"
    return f"stages.{found['stage']}.{part}.{found['kind']}", ""


def _check_kind(named: Mapping[str, Tensor]) -> None:
    kernels = {name: list(value.shape) for name, value in named.items() if value.ndim == 5}
    if kernels:
        name, shape = next(iter(kernels.items()))
        raise WeightsError(
            f"this nnU-Net is 3D: {len(kernels)} of its {len(named)} weights are 3D kernels ({name} is {shape}), and "
            "none of them is one of our 2D U-Net: it sums over neighbouring slices, which that never sees",
            _FIX,
        )
    if any(name.startswith(("encoder.stem.", "encoder.stages.0.blocks.")) for name in named):
        problem = "this nnU-Net has residual blocks (ResidualEncoderUNet), which our U-Net has not"
        raise WeightsError(problem, _FIX)


def _check_strides(content: Mapping[str, Any], stages: int) -> None:
    """Refuse strides that are not ours: the same weights would be another function. v1 has them in another file."""
    strides = _strides(content)
    ours = [[1, 1], *[[2, 2]] * (stages - 1)]
    if strides is not None and [list(stride) for stride in strides[:stages]] != ours[: len(strides)]:
        raise WeightsError(f"this nnU-Net has the strides {strides}, our U-Net has {ours}", _FIX)


def _strides(content: Mapping[str, Any]) -> list[Any] | None:
    """Return the strides by the plans in a v2 checkpoint, [n_stages, 2]; None where they are not there."""
    try:
        about = content["init_args"]
        chosen = about["plans"]["configurations"][about["configuration"]]
        if "architecture" in chosen:
            return list(chosen["architecture"]["arch_kwargs"]["strides"])
        return list(chosen["pool_op_kernel_sizes"])
    except (KeyError, TypeError):
        return None

"""Strict transfer of encoder weights: all of the encoder, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from brainage_ray.errors import WeightsError
from brainage_ray.models.backbone import Backbone

NOT_ENCODER = ("fc.", "head.", "decoder.")
"""Prefixes of weights that belong to what sat on the encoder: left out, on the record."""
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class TransferReport:
    """What became of each name.

    Attributes:
        loaded: names in the backbone that were filled, adapted ones included.
        missing: batch counters that the file lacks, as files from before PyTorch 0.4.1 do; they are no weights.
        unexpected: names in the file that belong to a classifier, head or decoder and were left out.
        adapted: the stem, where it was made for another number of channels.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    adapted: tuple[str, ...]

    def __str__(self) -> str:
        """Return the account in one line: 318 loaded, 0 missing, 2 left out: fc.weight, fc.bias."""
        text = f"{len(self.loaded)} loaded, {len(self.missing)} missing, {len(self.unexpected)} left out"
        return f"{text}: {', '.join(self.unexpected)}" if self.unexpected else text


def adapt_stem(weight: Tensor, in_channels: int) -> Tensor:
    """Fit a first convolution to another number of input channels.

    Each new channel gets the sum over the old ones divided by the number of new ones. For an
    image whose channels are all the same that is the same function, so one T1 channel through
    the summed stem gives what the T1 channel repeated gives through the old stem.

    Args:
        weight: [O, C, kh, kw].
        in_channels: channels wanted.

    Returns:
        [O, in_channels, kh, kw]; the weight itself where C is in_channels already.
    """
    if weight.shape[1] == in_channels:
        return weight
    return (weight.sum(dim=1, keepdim=True) / in_channels).repeat(1, in_channels, 1, 1)


def load_encoder(backbone: Backbone, state: Mapping[str, Tensor]) -> TransferReport:
    """Fill a backbone from a state in its own or torchvision's names, adapting the stem.

    The prefixes that a whole model's state (``backbone.``) or data parallelism (``module.``)
    put before the names are dropped.

    Args:
        backbone: changed in place, or not at all.
        state: weights by name.

    Raises:
        WeightsError: anything in the encoder is not filled, or the state holds more layers than it has.
    """
    own = backbone.state_dict()
    given = {key.removeprefix("module.").removeprefix("backbone."): value for key, value in state.items()}
    left_out = tuple(key for key in given if key not in own and key.startswith(NOT_ENCODER))
    weights = {key: value for key, value in given.items() if key not in left_out}
    adapted = _adapt(weights, backbone)
    check_fit(own, weights)
    backbone.load_state_dict({**own, **weights})
    return TransferReport(
        loaded=tuple(key for key in own if key in weights),
        missing=tuple(key for key in own if key not in weights),
        unexpected=left_out,
        adapted=adapted,
    )


def check_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Check that weights fill a network exactly, batch counters aside.

    Raises:
        WeightsError: names are missing or unknown, or shapes differ; up to five of each are listed.
    """
    problems = (
        _listed("missing", (key for key in own if key not in given and not key.endswith(_COUNTER))),
        _listed("unknown to the network", (key for key in given if key not in own)),
        _listed("of another shape", (_shapes(key, own[key], given[key]) for key in given if _differs(key, own, given))),
    )
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise WeightsError(
            f"the weights do not fill the network: {found}",
            "Use weights of the same architecture, width and depth as the arm's backbone.",
        )


def _adapt(weights: dict[str, Tensor], backbone: Backbone) -> tuple[str, ...]:
    key = backbone.stem_key
    if key not in weights or weights[key].ndim != 4 or weights[key].shape[1] == backbone.in_channels:
        return ()
    weights[key] = adapt_stem(weights[key], backbone.in_channels)
    return (key,)


def _differs(key: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> bool:
    return key in own and own[key].shape != given[key].shape


def _shapes(key: str, own: Tensor, given: Tensor) -> str:
    return f"{key} is {list(given.shape)}, not {list(own.shape)}"


def _listed(what: str, items: Iterable[str], shown: int = 5) -> str:
    found = list(items)
    more = f" and {len(found) - shown} more" if len(found) > shown else ""
    return f"{len(found)} {what} ({', '.join(found[:shown])}{more})" if found else ""

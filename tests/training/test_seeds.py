from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.training.seeds import derive_seed, numpy_generator, seeded, torch_generator

seeds = st.integers(min_value=0, max_value=2**40)


@given(seeds, st.integers(0, 1000))
def test_seeds_are_named_and_fit_into_63_bits(seed, epoch):
    value = derive_seed(seed, "shuffle", epoch)
    assert 0 <= value < 2**63
    assert value == derive_seed(seed, "shuffle", epoch)
    others = {
        derive_seed(seed, "dropout", epoch),
        derive_seed(seed, "shuffle", epoch + 1),
        derive_seed(seed + 1, "shuffle"),
    }
    assert value not in others


def test_seeds_stay_what_they_are_from_version_to_version():
    assert derive_seed(0, "init") == 1519069808562059438


def test_generators_of_a_purpose_repeat_their_numbers():
    assert (
        numpy_generator(3, "shuffle", 1).permutation(50).tolist()
        == numpy_generator(3, "shuffle", 1).permutation(50).tolist()
    )
    first, second = (torch.rand(5, generator=torch_generator(3, "augmentation", 1, 0)) for _ in range(2))
    assert torch.equal(first, second)


@given(seeds)
def test_a_block_draws_its_own_numbers_and_leaves_the_global_ones_alone(seed):
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    with seeded(seed, "dropout", 1):
        first = torch.rand(4)
    assert torch.equal(torch.rand(4), expected)
    with seeded(seed, "dropout", 1):
        assert torch.equal(torch.rand(4), first)


def test_the_global_numbers_are_left_alone_when_the_block_raises():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(0, "init"):
        _ = torch.rand(1).item() / 0
    assert torch.equal(before, torch.get_rng_state())

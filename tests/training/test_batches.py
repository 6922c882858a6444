from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brainage_ray.data import SliceStore, StoredSplit
from brainage_ray.training import batches
from brainage_ray.training.batches import MappedSlices, ResidentSlices, load_slices

CPU = torch.device("cpu")


def split_of(sizes: list[int], labels: bool = False) -> StoredSplit:
    """A split in shards of these sizes; the first pixel of a slice is its number."""
    n = sum(sizes)
    shape = (n, 4, 5, 6) if labels else (n, 5, 6)
    images = np.zeros(shape, np.float16)
    images[..., 0, 0] = np.arange(n).reshape((n,) + (1,) * (len(shape) - 3))
    classes = np.zeros((n, 5, 6), np.uint8)
    classes[:, 0, 0] = np.arange(n)
    cuts = np.cumsum(sizes)[:-1]
    return StoredSplit(
        scans=pd.DataFrame({"age_years": np.arange(n) + 50.0}),
        shards=tuple(np.split(images, cuts)),
        label_shards=tuple(np.split(classes, cuts)) if labels else (),
        slice_scan=np.arange(n),
        slice_position=np.arange(n, dtype=np.float32) / 10,
    )


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(sum),
    st.integers(1, 7),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@settings(max_examples=50, deadline=None)
def test_both_ways_give_the_same_batches_in_the_order_asked_for(sizes, batch_size, labels, random):
    split = split_of(sizes, labels)
    order = list(range(sum(sizes)))
    random.shuffle(order)
    rows = [np.array(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
    seen = []
    for resident, mapped in zip(
        ResidentSlices(split, CPU).batches(rows), MappedSlices(split, CPU).batches(rows), strict=True
    ):
        for name in ("images", "ages", "positions"):
            assert torch.equal(getattr(resident, name), getattr(mapped, name))
        first = resident.images[:, -1, 0, 0].long()
        assert torch.equal(resident.ages, first + 50.0)
        assert torch.allclose(resident.positions, first / 10)
        if labels:
            assert torch.equal(resident.labels, mapped.labels)
            assert torch.equal(resident.labels[:, 0, 0].long(), first)
        seen += first.tolist()
    assert seen == order


def test_batches_are_float32_with_a_channel_and_channels_last(tumours: SliceStore, ages: SliceStore):
    for store, channels in ((ages, 1), (tumours, 4)):
        slices = load_slices(store.split("train"), CPU)
        batch = next(slices.batches([np.arange(3)]))
        assert slices.channels == channels
        assert batch.images.shape == (3, channels, 32, 32)
        assert batch.images.dtype == torch.float32
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels is not None
    assert batch.labels.dtype == torch.uint8


def test_a_split_is_resident_where_it_fits(ages: SliceStore, monkeypatch: pytest.MonkeyPatch):
    split = ages.split("train")
    size = split.images().nbytes
    monkeypatch.setattr(batches, "room", lambda device: size)
    assert isinstance(load_slices(split, CPU), ResidentSlices)
    monkeypatch.setattr(batches, "room", lambda device: size - 1)
    assert isinstance(load_slices(split, CPU), MappedSlices)


def test_the_room_on_a_cpu_is_a_share_of_the_machine():
    assert batches.room(CPU) > 2**20


def test_reading_ahead_ends_with_its_consumer(ages: SliceStore):
    slices = MappedSlices(ages.split("train"), CPU)
    stream = slices.batches([np.array([i]) for i in range(100)])
    next(stream)
    stream.close()


def test_reading_ahead_pins_memory_on_the_gpu_that_trains(monkeypatch: pytest.MonkeyPatch):
    order: list[object] = []
    slices = MappedSlices(split_of([4], labels=True), CPU)
    slices.device = torch.device("cuda", 1)  # on a machine that need not have one
    monkeypatch.setattr(torch.cuda, "set_device", order.append)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: order.append("pinned") or tensor)
    slices._read(np.array([2, 0]))
    assert order == [torch.device("cuda", 1), "pinned", "pinned"]

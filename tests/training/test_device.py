from __future__ import annotations

import pytest
import torch

from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.training.device import device_name, resolve_device, runtime

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", ""])
def test_an_unknown_device_is_named(name):
    with pytest.raises(ConfigError, match=f'no device "{name}"'):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(EngineError, match=r"cuda:99 is not there: torch .* sees .* GPUs on .*nvidia-smi"):
        resolve_device("cuda:99")


def test_a_cpu_has_a_name():
    assert device_name(CPU).startswith("CPU")


def test_runtime_sets_torch_up_and_puts_it_back():
    before = torch.get_num_threads()
    with runtime(CPU, before + 1):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ZeroDivisionError), runtime(CPU, before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before


@pytest.mark.gpu
def test_a_gpu_gets_its_index_and_fast_convolutions(gpu: torch.device):
    device = resolve_device("cuda")
    assert device == gpu
    assert device.index is not None
    assert device_name(device)
    before = torch.backends.cudnn.benchmark
    with runtime(device, 1):
        assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before

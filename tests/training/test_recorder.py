from __future__ import annotations

from brainage_ray.training import RunInfo, ignore


def test_infos_of_the_same_run_are_equal():
    assert RunInfo("a", "first", "trial", "unet/study") == RunInfo("a", "first", "trial", "unet/study", {})


def test_nobody_listens_in_silence():
    assert ignore(1, {"train_loss": 0.5}) is None

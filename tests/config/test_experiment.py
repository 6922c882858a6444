"""What the keys of an experiment ask of each other."""

from __future__ import annotations

import pytest
from config_files import MOMENTUM, UNET, between, changed

from brainage_ray.config import ResourcesConfig, load_experiment
from brainage_ray.errors import ConfigError

TUMOURS = {**UNET, "pretraining": ["brats"]}
IMAGENET = {"kind": "weights", "uri": "w.pth", "sha256": "0676ba61"}
CASES = {"kind": "segmentation"}


def two_arms(one, other, **pretraining):
    return lambda data: data.update(arms={"one": one, "other": other}, pretraining=pretraining)


def ddp(key, gpus, workers=2):
    job = {"parallel": "ddp", "workers": workers}

    def change(data):
        data["resources"] = {"gpus_per_worker": gpus}
        data[key] = job if key == "refit" else {"brats": {**CASES, **job}}

    return change


BAD = {
    "same architecture": (two_arms(UNET, UNET), ["one and other are the same", "architecture plus a chain"]),
    "same chain": (two_arms(TUMOURS, TUMOURS, brats=CASES), ["one and other are the same"]),
    "same chain by other names": (
        two_arms(TUMOURS, {**UNET, "pretraining": ["cases"]}, brats=CASES, cases=CASES),
        ["one and other are the same"],
    ),
    "same as the default": (
        two_arms(UNET, {"backbone": {"kind": "unet", "width": 1.0, "depth": 6}}), ["one and other are the same"],
    ),
    "diagnosis twice in the evaluation": (
        lambda d: d.update(evaluation={"diagnoses": ["CN", "CN", "AD"]}), ["evaluation.diagnoses", "CN", "once"],
    ),
    "diagnosis twice in the training": (
        lambda d: d.update(training={"diagnoses": ["CN", "AD", "AD"]}), ["training.diagnoses", "AD is named twice"],
    ),
    "cohort twice": (
        lambda d: d.update(pretraining={"brats": {**CASES, "cohorts": ["BraTS", "BraTS"]}}),
        ["pretraining.brats.cohorts", "BraTS is named twice"],
    ),
    "one and a half GPUs a trial": (
        lambda d: d.update(resources={"gpus_per_trial": 1.5}), ["resources.gpus_per_trial", "1.5", "whole number"],
    ),
    "one and a half GPUs a worker": (
        lambda d: d.update(resources={"gpus_per_worker": 1.5}), ["resources.gpus_per_worker", "1.5", "whole number"],
    ),
    "half a GPU a rank of a refit": (ddp("refit", 0.5), ["refit.parallel", "resources.gpus_per_worker", "0.5", "NCCL"]),
    "half a GPU a rank of a pre-training": (
        ddp("pretraining", 0.5), ["pretraining.brats.parallel", "resources.gpus_per_worker", "share"],
    ),
    "half a GPU a rank of a trial": (
        lambda d: (d["search"].update(workers_per_trial=2), d.update(resources={"gpus_per_worker": 0.5})),
        ["search.workers_per_trial", "resources.gpus_per_worker is 0.5", "NCCL", "resources.gpus_per_trial"],
    ),
    "a GPU for wide trials in the wrong place": (
        lambda d: (d["search"].update(workers_per_trial=2), d.update(resources={"gpus_per_trial": 1})),
        ["search.workers_per_trial is 2", "2 times resources.gpus_per_worker, which is 0", "resources.gpus_per_trial"],
    ),
    "GPU-hours without a GPU": (
        lambda d: d["search"].update(budget={"max_gpu_hours": 1}),
        ["search.budget.max_gpu_hours", "a trial holds no GPU", "max_hours", "resources.gpus_per_trial"],
    ),
    "one pixel": (
        lambda d: d["data"].update(preprocessing={"slice_shape": [32, 32]}), ["arm unet", "32 x 32", "slice_shape"],
    ),
    "weights from nowhere": (
        lambda d: d.update(pretraining={"imagenet": {**IMAGENET, "uri": "htps://x.org/w.pth"}}),
        ["pretraining.imagenet.uri", "htps://x.org/w.pth", "https"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_go_together_is_refused(tmp_path, name):
    change, words = BAD[name]
    with pytest.raises(ConfigError) as caught:
        load_experiment(changed(tmp_path, change))
    for word in [str(tmp_path / "x.yaml"), *words]:
        assert word in str(caught.value)


GOOD = {
    "other widths": two_arms(UNET, {"backbone": {"kind": "unet", "width": 0.5}}),
    "with and without a stage": two_arms(UNET, TUMOURS, brats=CASES),
    "other stages": two_arms(
        TUMOURS, {**UNET, "pretraining": ["more"]}, brats=CASES, more={**CASES, "training": {"max_epochs": 9}}
    ),
    "a GPU a rank": ddp("refit", 1),
    "two GPUs a rank": ddp("pretraining", 2.0),
    "no GPU": ddp("refit", 0),
    "half a GPU and one rank": ddp("refit", 0.5, workers=1),
    "a conditional space": lambda d: d["search"]["space"]["parameters"].update({MOMENTUM: between(0.1, 0.9)}),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_goes_together_loads(tmp_path, name):
    assert load_experiment(changed(tmp_path, GOOD[name])).name == "small"


@pytest.mark.parametrize("gpus", [0, 0.25, 0.5, 1, 1.0, 2.0, 8])
def test_ray_gives_out_whole_gpus_or_shares_of_one(gpus):
    assert ResourcesConfig(gpus_per_trial=gpus, gpus_per_worker=gpus).gpus_per_trial == gpus

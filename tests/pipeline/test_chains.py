from __future__ import annotations

from pathlib import Path

from brainage_ray.config import load_experiment
from brainage_ray.pipeline.chains import chains

ROOT = Path(__file__).resolve().parents[2]


def test_each_chain_is_made_once_and_shorter_ones_first():
    levels = chains(load_experiment(ROOT / "experiments" / "bracis2023.yaml"))
    assert [[node.label for node in level] for level in levels] == [
        ["unet+brats", "resnet50+brats", "resnet50+imagenet"],
        ["resnet50+imagenet+brats"],
    ]


def test_arms_that_need_the_same_weights_share_them():
    experiment = load_experiment(
        ROOT / "experiments" / "quickstart.yaml",
        [
            'pretraining.more={"kind": "segmentation"}',
            'arms.again={"backbone": {"kind": "unet", "width": 0.25, "depth": 5}, "pretraining": ["brats", "more"]}',
        ],
    )
    assert [[node.label for node in level] for level in chains(experiment)] == [["unet+brats"], ["unet+brats+more"]]

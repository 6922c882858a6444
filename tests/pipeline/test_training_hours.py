from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from sessions import session_of

from brainage_ray.config import Experiment
from brainage_ray.pipeline.chains import chains
from brainage_ray.pipeline.report import _training_hours


def experiment_of(parallel: str) -> Experiment:
    space = {"parameters": {"training.optimizer.lr": {"type": "categorical", "choices": (1e-3,)}}}
    return Experiment.model_validate_json(
        json.dumps(
            {
                "name": "hours",
                "data": {"sources": [{"kind": "phantom"}]},
                "arms": {
                    "small": {"backbone": {"kind": "unet", "width": 0.25}, "pretraining": ["brats"]},
                    "large": {"backbone": {"kind": "unet"}, "pretraining": ["brats"]},
                },
                "pretraining": {"brats": {"kind": "segmentation", "seeds": 2, "workers": 2, "parallel": parallel}},
                "search": {"space": space},
                "refit": {"seeds": (0, 1), "workers": 2, "parallel": parallel},
                "resources": {"gpus_per_trial": 0.25, "gpus_per_worker": 1},
            }
        )
    )


@pytest.mark.parametrize(("parallel", "gpus"), [("share", 1), ("ddp", 2)])
def test_gpu_hours_count_what_each_training_held(tmp_path: Path, parallel: str, gpus: int):
    experiment = experiment_of(parallel)
    (nodes,) = chains(experiment)
    hour = SimpleNamespace(seconds=3600.0)
    results = SimpleNamespace(
        pretrained=SimpleNamespace(fits={node: [hour, hour] for node in nodes}),
        searched=SimpleNamespace(studies={"small": SimpleNamespace(trials=[hour] * 8)}, finals={}),
        models=[SimpleNamespace(fit=hour)] * 3,
    )
    hours = _training_hours(session_of(experiment, tmp_path), results)
    assert {stage: (one.training, one.gpu) for stage, one in hours.items()} == {
        "pretrain brats": (4, 4 * gpus),
        "search small": (8, 2),
        "refit": (3, 3 * gpus),
    }

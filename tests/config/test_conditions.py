"""What a search space may ask of the arms, checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_files import DEPTH, LR, MOMENTUM, NAME, RESNET, UNET, WIDTH, between, changed, choices

from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError

BATCH = "training.batch_size"
POSITION = "training.slice_position"
BOTH = {"unet": UNET, "resnet": RESNET}


def load(folder: Path, parameters, arms=None, **search):
    def change(data):
        data["arms"] = arms or data["arms"]
        data["search"] = {"space": {"parameters": parameters}, **search}

    return load_experiment(changed(folder, change))


GOOD = {
    "on a choice": ({NAME: choices("sgd", "adam"), MOMENTUM: between(0.5, 0.99, when={NAME: "sgd"})}, None),
    "on an arm": ({DEPTH: choices(4, 5, when={"backbone.kind": "unet"})}, BOTH),
    "on each arm": ({LR: between(0.1, 0.2, when={"backbone.kind": "unet"}),
                     MOMENTUM: between(0.1, 0.2, when={"backbone.kind": "resnet50"})}, BOTH),
    "on what is written": ({LR: between(0.1, 0.2, when={NAME: "adam", POSITION: False})}, None),
    "on a whole number of a range": ({BATCH: between(8, 64, step=8), LR: between(0.1, 0.2, when={BATCH: 32})}, None),
    "on a choice that is not always made": (
        {NAME: choices("sgd", "adam"), BATCH: choices(8, when={NAME: "sgd"}), LR: between(0.1, 1.0, when={BATCH: 64})},
        None,
    ),
    "width without pre-training": ({WIDTH: between(0.5, 1.0)}, BOTH),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_conditions_that_hold_in_some_trial_load(tmp_path, name):
    parameters, arms = GOOD[name]
    assert list(load(tmp_path, parameters, arms).search.space.parameters) == list(parameters)


BAD = {
    "misspelt value": ({LR: between(0.1, 0.2, when={NAME: "sdg"})}, None, [f"when of {LR}", '"sdg"', 'mean "sgd"?']),
    "misspelt choice": (
        {NAME: choices("sgd", "adam"), MOMENTUM: between(0.5, 0.9, when={NAME: "sdg"})}, None,
        [MOMENTUM, f'{NAME}: "sdg"', 'Did you mean "sgd"?'],
    ),
    "misspelt kind": (
        {LR: between(0.1, 0.2, when={"backbone.kind": "unett"})}, BOTH, [LR, '"unett"', 'Did you mean "unet"?'],
    ),
    "kind of no arm": ({LR: between(0.1, 0.2, when={"backbone.kind": "resnet50"})}, None, [LR, '"resnet50"', "unet"]),
    "value that nobody has": ({MOMENTUM: between(0.1, 0.2, when={NAME: "sgd"})}, None, [MOMENTUM, '"sgd"', "adam"]),
    "two that exclude each other": (
        {LR: between(0.1, 0.2, when={"backbone.kind": "unet", DEPTH: 50})}, BOTH, [LR, '"unet" and', DEPTH, "50"],
    ),
    "misspelt path": (
        {LR: between(0.1, 0.2, when={"training.optimizer.nam": "sgd"})}, None, ['"nam"', 'Did you mean "name"?'],
    ),
    "number as text": (
        {MOMENTUM: between(0.1, 0.2, when={LR: "1e-4"})}, None, [f"when of {MOMENTUM}", LR, '"1e-4"', "1.0e-04"],
    ),
    "on a choice of another type": (
        {BATCH: choices(1, 2), LR: between(0.1, 0.2, when={BATCH: True})}, None, [BATCH, "true", "whole number"],
    ),
    "on a real number of a range": (
        {LR: between(0.1, 0.2), MOMENTUM: between(0.1, 0.2, when={LR: 0.1})}, None, [MOMENTUM, LR, "choices"],
    ),
    "on a number between the steps": (
        {BATCH: between(8, 64, step=8), LR: between(0.1, 0.2, when={BATCH: 33})}, None, [LR, BATCH, "33"],
    ),
    "on what comes later": (
        {MOMENTUM: between(0.1, 0.2, when={NAME: "sgd"}), NAME: choices("sgd", "adam")}, None,
        [MOMENTUM, f"put {NAME} first"],
    ),
    "value that only a later trial meets": (
        {NAME: choices("sgd", "adam"), MOMENTUM: between(0.5, 1.5, when={NAME: "sgd"})}, None,
        [MOMENTUM, "1.5", "below 1"],
    ),
    "value that only one arm meets": (
        {DEPTH: choices(4, 14, when={"backbone.kind": "unet"})}, BOTH, [DEPTH, "14", "6 or less"],
    ),
    "value between two good ones": (
        {DEPTH: between(14, 50, step=12)}, {"resnet": RESNET}, [DEPTH, "38", "14, 26 or 50"],
    ),
    "choice twice": ({BATCH: choices(8, 16, 8)}, None, [BATCH, "8 is named twice"]),
    "choice as text": ({LR: choices("1e-4", 1e-3)}, None, [LR, '"1e-4"', "1.0e-04"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_no_trial_could_do_is_refused_at_the_door(tmp_path, name):
    parameters, arms, words = BAD[name]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, parameters, arms)
    for word in [str(tmp_path / "x.yaml"), *words]:
        assert word in str(caught.value)


def test_a_grid_may_not_meet_a_range_in_any_trial(tmp_path):
    parameters = {NAME: choices("sgd", "adam"), MOMENTUM: between(0.5, 0.9, when={NAME: "sgd"})}
    with pytest.raises(ConfigError, match=rf"x\.yaml.*{MOMENTUM} is a range.*tpe"):
        load(tmp_path, parameters, sampler="grid")


@pytest.mark.parametrize("path", [WIDTH, DEPTH])
def test_a_search_may_not_change_a_backbone_that_has_weights(tmp_path, path):
    def change(data):
        data["data"]["sources"].append({"kind": "phantom"})
        data["pretraining"] = {"brats": {"kind": "segmentation"}}
        data["arms"] = {"plain": {"backbone": {"kind": "resnet50"}}, "tumours": {**UNET, "pretraining": ["brats"]}}
        data["search"]["space"]["parameters"] = {path: choices(6, when={"backbone.kind": kind})}

    kind = "unet"
    with pytest.raises(ConfigError, match=rf'"{path}".*arm tumours.*weights of brats.*Take {path} out'):
        load_experiment(changed(tmp_path, change))


def test_a_search_may_change_the_backbones_that_have_none(tmp_path):
    def change(data):
        data["pretraining"] = {"brats": {"kind": "segmentation"}}
        data["arms"] = {"plain": RESNET, "tumours": {**UNET, "pretraining": ["brats"]}}
        data["search"]["space"]["parameters"] = {WIDTH: choices(0.5, 1.0, when={"backbone.kind": "resnet50"})}

    assert load_experiment(changed(tmp_path, change)).arms["plain"].backbone.width == 1.0


def test_a_searched_depth_may_not_shrink_slices_to_one_pixel(tmp_path):
    def change(data):
        data["data"]["preprocessing"] = {"slice_shape": [32, 24]}
        data["arms"]["unet"] = {"backbone": {"kind": "unet", "depth": 4}}
        data["search"]["space"]["parameters"] = {DEPTH: choices(5, 6)}

    with pytest.raises(ConfigError, match=r"arm unet.*32 x 24 pixels.*6 stages.*above 32.*that value out"):
        load_experiment(changed(tmp_path, change))


def test_an_error_of_a_space_file_names_that_file(tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("parameters: {training.batch_size: {type: int, low: 16, high: 8}}")
    with pytest.raises(ConfigError, match=r"space\.yaml: parameters\.training\.batch_size.*low 16 is above high 8"):
        load_experiment(changed(tmp_path, lambda data: data["search"].update(space="space.yaml")))


def test_an_error_of_the_space_names_the_overrides(tmp_path):
    path = changed(tmp_path, lambda data: data["search"]["space"].update(parameters={WIDTH: choices(9.0)}))
    with pytest.raises(ConfigError, match=r"x\.yaml with --set name=other: .*9\.0"):
        load_experiment(path, ["name=other"])

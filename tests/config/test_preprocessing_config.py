from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from brainage_ray.config import PreprocessingConfig, load_experiment

QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"


def experiment(folder, **preprocessing):
    data = yaml.safe_load(QUICKSTART.read_text())
    data["data"]["preprocessing"] = {**data["data"].get("preprocessing", {}), **preprocessing}
    data["search"]["space"] = str(QUICKSTART.parent / data["search"]["space"])
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_by_default_scans_go_in_registered_and_stripped():
    made = PreprocessingConfig()
    assert (made.bias_correction, made.brain_extraction, made.registration) == ("none", "none", "none")


@pytest.mark.parametrize("name", ["icbm152", "sri24"])
def test_the_name_of_a_template_is_no_path(tmp_path, name):
    made = load_experiment(experiment(tmp_path, registration="affine", template=name)).data.preprocessing
    assert made.template == name


def test_the_file_of_a_template_is_relative_to_the_experiment(tmp_path):
    path = experiment(tmp_path, registration="rigid", template="atlas/t1.nii.gz", template_mask="atlas/mask.nii.gz")
    made = load_experiment(path).data.preprocessing
    assert (made.template, made.template_mask) == (tmp_path / "atlas/t1.nii.gz", tmp_path / "atlas/mask.nii.gz")
    assert PreprocessingConfig.model_validate_json(made.model_dump_json()) == made


def test_a_template_is_named_on_the_command_line_too(tmp_path):
    path = experiment(tmp_path, registration="rigid")
    made = load_experiment(path, ["data.preprocessing.template=sri24"]).data.preprocessing
    assert made.template == "sri24"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"registration": "affine", "template_mask": Path("m.nii")}, "icbm152 has its own"),
        ({"template": Path("t.nii")}, "template is not used.*registration: affine"),
        (
            {"brain_extraction": "hd_bet", "template": Path("t.nii"), "slice_origin": "brain_top"},
            "template is not used",
        ),
        ({"brain_extraction": "template"}, "lie on none.*slice_origin: brain_top"),
        ({"registration": "syn"}, "none.*rigid.*affine"),
        ({"brain_extraction": "bet"}, "hd_bet"),
    ],
)
def test_settings_that_do_not_go_together_are_named_with_the_fix(settings, says):
    with pytest.raises(ValidationError, match=says):
        PreprocessingConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"brain_extraction": "template", "slice_origin": "brain_top"},
        {"brain_extraction": "template", "template": Path("t.nii"), "slice_origin": "brain_top"},
        {"brain_extraction": "hd_bet", "registration": "rigid", "bias_correction": "n4"},
        {"bias_correction": "n4"},
        {"registration": "affine", "template": Path("t.nii"), "template_mask": Path("m.nii")},
    ],
)
def test_steps_can_be_left_out(settings):
    assert PreprocessingConfig(**settings).identity()["brain_extraction"] == settings.get("brain_extraction", "none")

"""Files that are YAML and yet no experiment, and the defaults of mappings."""

from __future__ import annotations

import json
from datetime import date

import pytest

from brainage_ray.config import DataConfig, SearchConfig, SplitConfig
from brainage_ray.config.read import read_yaml, validate
from brainage_ray.config.space import load_space
from brainage_ray.errors import ConfigError

SOURCES = [{"kind": "phantom"}]


def refused(path, *words):
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert caught.value.fix
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("2020-01-01", "2020-01-01"),
        ("2020-13-45", "2020-13-45"),
        ("1", "1"),
        ("1.5", "1.5"),
        ("yes", "yes"),
        ("~", "~"),
        ("[a, b]", "a list"),
        ("{a: 1}", "a mapping"),
    ],
)
def test_a_key_that_is_no_text_is_named_with_its_line(tmp_path, key, named):
    path = tmp_path / "x.yaml"
    path.write_text(f"name: a\ndata:\n  {key}: x\n")
    refused(path, "line 3", f"the key {named} is no text", "quotes")


def test_in_quotes_it_is_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("'2020-01-01': x\n\"1\": y\n!!str 2: z\n")
    assert read_yaml(path) == {"2020-01-01": "x", "1": "y", "2": "z"}


def test_a_key_written_twice_is_named_with_its_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: a\ndata:\n  b: 1\n  c: 2\n  b: 3\n")
    refused(path, "line 5", "'b' is written twice")


def test_a_value_that_is_no_date_is_no_crash(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: 2020-13-45\n")
    refused(path, "month")


@pytest.mark.parametrize("data", [{date(2020, 1, 1): "x"}, {"name": {("a", "b"): 1}}])
def test_keys_from_elsewhere_that_are_no_text_are_refused_too(data):
    with pytest.raises(ConfigError, match=r"--set: .*keys.*quotes"):
        validate(DataConfig, data, "--set")


def data_config(**fields):
    return validate(DataConfig, {"sources": SOURCES, **fields}, "the test")


def test_a_label_is_added_to_the_label_map_and_does_not_replace_it():
    added = data_config(label_map={"Dementia": "AD", "SMC": "CN"}).label_map
    assert added == {**data_config().label_map, "Dementia": "AD", "SMC": "CN"}


def test_null_in_the_label_map_leaves_a_label_out():
    assert data_config(label_map={"MCI": None}).label_map["MCI"] is None
    assert data_config(label_map={"MCI": None}).label_map["CN"] == "CN"


def test_a_label_map_comes_back_from_json():
    config = data_config(label_map={"Dementia": "AD", "MCI": None})
    assert DataConfig.model_validate_json(json.dumps(config.to_json())) == config


@pytest.mark.parametrize("value", [None, "AD", ["AD"], {"Dementia": "ad"}])
def test_a_wrong_label_map_is_refused(value):
    with pytest.raises(ConfigError, match="label_map"):
        data_config(label_map=value)


@pytest.mark.parametrize(
    ("empty", "need"), [("train", "to fit"), ("validation", "to choose"), ("test", "for the numbers")]
)
def test_a_split_without_people_is_refused(empty, need):
    shares = dict.fromkeys(("train", "validation", "test"), 0.5) | {empty: 0.0}
    with pytest.raises(ConfigError, match=rf"{empty} is 0.*{need}"):
        validate(SplitConfig, {"fractions": shares}, "the test")


def test_shares_do_not_matter_where_the_source_gives_the_split():
    shares = {"train": 1.0, "validation": 0.0, "test": 0.0}
    assert validate(SplitConfig, {"rule": "table", "fractions": shares}, "the test").fractions == shares


@pytest.mark.parametrize("text", ["a: " + "[" * 3000, "a: " + "{b: " * 3000])
def test_brackets_without_end_are_named(tmp_path, text):
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"deep\.yaml"):
        read_yaml(path)


def test_a_number_that_yaml_reads_as_text_is_named_without_a_leading_zero_too(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("parameters: {training.optimizer.lr: {type: float, low: 1.0, high: .5e3}}")
    with pytest.raises(ConfigError, match=r'"\.5e3", because YAML wants a .*Write 5\.0e\+02'):
        load_space(path)


def test_a_long_value_is_cut(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(f"parameters: {{training.optimizer.lr: {{type: float, low: {'x' * 5000}, high: 1.0}}}}")
    with pytest.raises(ConfigError) as error:
        load_space(path)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_failures": "many"}, 'max_failures is "many". max_failures should be a whole number.'),
        ({"max_failures": -1}, "max_failures is -1. max_failures should be 0 or more."),
        ({"sources": []}, "sources is []. sources should have 1 or more in it."),
        ({"sources": {"kind": "phantom"}}, 'sources is {"kind": "phantom"}. sources should be a list.'),
        ({"sources": [{"kind": "phantm"}]}, 'sources.0.kind is "phantm". Did you mean "phantom"?'),
        ({"sources": [{}]}, "the key sources.0.kind is missing. Add sources.0.kind: adni or brats or"),
        ({"sources": [3]}, "sources.0 is 3. sources.0 should be keys and values."),
        ({"preprocessing": {"slice_shape": [64]}}, "slice_shape is [64]. preprocessing.slice_shape should have 2 entr"),
        ({"preprocessing": {"voxel_mm": "a"}}, 'voxel_mm is "a". preprocessing.voxel_mm should be a number.'),
        ({"split": {"rule": "tabel"}}, 'by_subject, adni_standard or table. Did you mean "table"?'),
        ({"expected_scans": {"tran": 3}}, 'unknown key "tran" in expected_scans. Did you mean "train"?'),
        ({"exclusions": 3}, "exclusions is 3. exclusions should be a path."),
    ],
)
def test_what_a_value_should_be_is_said_in_plain_words(fields, said):
    with pytest.raises(ConfigError) as caught:
        data_config(**fields)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"objective": "mae"},
            'objective is "mae". objective should be validation_mae or validation_delta_auc, or a l',
        ),
        ({"start_from": 3}, "start_from is 3. start_from should be paper, or a path."),
        ({"objective": ["validation_mae"] * 2}, "objective: validation_mae is named twice; name each once"),
    ],
)
def test_a_value_with_alternatives_is_named_once(fields, said):
    space = {"parameters": {"training.loss": {"type": "categorical", "choices": ["l1"]}}}
    with pytest.raises(ConfigError) as caught:
        validate(SearchConfig, {"space": space, **fields}, "the test")
    assert said in str(caught.value)
    assert str(caught.value).count(said) == 1
    assert ";" not in str(caught.value).replace("; name each", "")

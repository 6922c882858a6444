from __future__ import annotations

from pathlib import Path

import pytest
from config_files import MINIMAL, changed, write_yaml
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.config import Experiment, load_experiment, load_space
from brainage_ray.config.read import annotation_at, keys_at, read_yaml
from brainage_ray.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    def _write(change=lambda data: None, text=None) -> Path:
        path = changed(tmp_path, change)
        if text is not None:
            path.write_text(text)
        return path

    return _write


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_experiment_in_the_repository_loads(path):
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


@pytest.mark.parametrize("path", SPACES, ids=lambda p: p.stem)
def test_every_space_in_the_repository_loads(path):
    assert load_space(path).parameters


def test_paths_are_relative_to_the_file_and_overrides_to_the_current_folder(write, tmp_path, monkeypatch):
    path = write()
    assert load_experiment(path).data.sources[0].table == tmp_path / "images" / "people.csv"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    moved = load_experiment(path, ["data.root=here"])
    assert moved.data.sources[0].table == elsewhere / "here" / "people.csv"


def test_paths_inside_lists_and_json_are_relative_to_the_current_folder(write, tmp_path, monkeypatch):
    path = write()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_experiment(path, ["data.sources.0.table=p.csv"]).data.sources[0].table == elsewhere / "p.csv"
    whole = load_experiment(path, ['data.sources=[{"kind": "brats", "root": "b"}]'])
    assert whole.data.sources[0].root == elsewhere / "b"
    referring = load_experiment(path, ["data.root=r", "data.sources.0.table=${data.root}/q.csv"])
    assert referring.data.sources[0].table == elsewhere / "r" / "q.csv"


def test_a_space_may_be_a_file_next_to_the_experiment(write, tmp_path):
    (tmp_path / "space.yaml").write_text("parameters: {training.batch_size: {type: categorical, choices: [8, 16]}}")
    path = write(lambda data: data["search"].update(space="space.yaml", sampler="grid"))
    assert load_experiment(path).search.space.parameters["training.batch_size"].choices == (8, 16)


def test_overrides_reach_lists_and_nested_keys_and_read_numbers(write):
    experiment = load_experiment(
        write(),
        ["data.sources.0.cohort=Y", "training.optimizer.lr=1e-4", "refit.seeds=[3, 4]", "arms.unet.backbone.width=0.5"],
    )
    assert experiment.data.sources[0].cohort == "Y"
    assert experiment.training.optimizer.lr == pytest.approx(1e-4)
    assert experiment.refit.seeds == (3, 4)
    assert experiment.arms["unet"].backbone.width == 0.5


WRONG = {
    "unknown key": (lambda d: d["data"].update(sorces=[]), ["sorces", "data", 'Did you mean "sources"?']),
    "key in a union": (lambda d: d["data"]["sources"][0].update(tabel="x"), ["tabel", "data.sources.0", "table"]),
    "missing key": (lambda d: d.pop("arms"), ["arms", "missing"]),
    "unknown kind": (lambda d: d["data"]["sources"][0].update(kind="tabel"), ["data.sources.0", "tabel", "table"]),
    "number as text": (
        lambda d: d.update(training={"optimizer": {"lr": "1e-4"}}),
        ["training.optimizer.lr", '"1e-4"', "1.0e-04"],
    ),
    "text for a number": (lambda d: d.update(training={"batch_size": "many"}), ["training.batch_size", "many"]),
    "out of bounds": (
        lambda d: d.update(training={"max_epochs": 0}),
        ["training.max_epochs", "0", "should be 1 or more"],
    ),
    "low above high": (
        lambda d: d["search"]["space"]["parameters"]["training.optimizer.lr"].update(low=1.0, high=0.1),
        ["training.optimizer.lr", "low 1.0", "high 0.1", "swap"],
    ),
    "log from zero": (
        lambda d: d["search"]["space"]["parameters"]["training.optimizer.lr"].update(low=0.0, log=True),
        ["training.optimizer.lr", "above 0"],
    ),
    "unknown parameter": (
        lambda d: d["search"]["space"].update(
            parameters={"training.optimiser.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}
        ),
        ["training.optimiser.lr", 'Did you mean "optimizer"?'],
    ),
    "unknown condition": (
        lambda d: d["search"]["space"]["parameters"]["training.optimizer.lr"].update(
            when={"training.optimiser.name": "adam"}
        ),
        ["training.optimiser.name", 'Did you mean "optimizer"?'],
    ),
    "parameter outside": (
        lambda d: d["search"]["space"].update(parameters={"seed": {"type": "int", "low": 0, "high": 2}}),
        ["seed", "training, backbone"],
    ),
    "bound outside the field": (
        lambda d: d["search"]["space"]["parameters"]["training.optimizer.lr"].update(high=50.0),
        ["training.optimizer.lr", "50.0", "should be 10 or less"],
    ),
    "grid over a range": (lambda d: d["search"].update(sampler="grid"), ["training.optimizer.lr", "choices"]),
    "unknown stage": (lambda d: d["arms"]["unet"].update(pretraining=["brats"]), ["unet", "brats", "none"]),
    "seed twice": (lambda d: d.update(refit={"seeds": [1, 1]}), ["refit.seeds", "twice"]),
    "shares": (
        lambda d: d["data"].update(split={"fractions": {"train": 0.5, "validation": 0.1, "test": 0.1}}),
        ["data.split", "0.7"],
    ),
    "slices": (
        lambda d: d["data"].update(preprocessing={"slice_range_mm": [90.0, 20.0]}),
        ["slice_range_mm", "90", "swap"],
    ),
    "no such user": (lambda d: d["data"].update(root="~nobody-of-this-name/x"), ["data.root", "~nobody-of-this-name"]),
    "null byte": (lambda d: d["data"].update(root="a\0b"), ["data.root", "null byte"]),
    "null byte in the space's path": (lambda d: d["search"].update(space="a\0b"), ["search.space", "null byte"]),
    "reference to a reference": (
        lambda d: d["data"].update(root="${name}/images"),
        ["${data.root}", "${name}/images", "a reference too"],
    ),
    "reference in other letters": (lambda d: d["data"].update(root="${DATA}/x"), ["${DATA}", "stands for nothing"]),
    "dangling reference": (
        lambda d: d["data"]["sources"][0].update(table="${data.rot}/x.csv"),
        ["${data.rot}", "stands for nothing"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_file_key_value_and_fix(write, name):
    change, words = WRONG[name]
    path = write(change)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainin.optimizer.lr=1", ["trainin", 'Did you mean "training"?']),
        ("training.optimizer.rate=1", ["rate", "training.optimizer"]),
        ("training.optimizer.lr", ["no =", "key.path=value"]),
        ("training.optimizer.lr=[1", ["neither JSON nor YAML"]),
        ("training.optimizer.lr=2020-99-99", ["neither JSON nor YAML"]),
        ("training.optimizer.lr=" + "9" * 5000, ["neither JSON nor YAML"]),
        ("training.optimizer.lr=" + "[" * 100_000, ["neither JSON nor YAML"]),
        ("training.optimizer={2020-01-01: 1}", ["neither JSON nor YAML"]),
        ("name=&x [*x]", ["neither JSON nor YAML"]),
        ("training.optimizer.lr=-1", ["training.optimizer.lr", "-1", "should be above 0"]),
        ("data.root.deeper=1", ["deeper"]),
        ("data.sources.\u00b2.root=x", ["\u00b2", "data.sources"]),
        (f"data.sources.{'9' * 5000}.root=x", ["data.sources"]),
        ("data.root=~nobody-of-this-name/x", ["data.root", "~nobody-of-this-name"]),
        ("arms.unett.backbone.width=1", ["unett", "arms", 'Did you mean "unet"?']),
        ("pretraining.brats.seeds=2", ["brats", "pretraining"]),
        ("data.sources.7.root=x", ["7 is no place in a list of 1", "Count from 0"]),
    ],
)
def test_a_misspelt_override_is_named(write, override, words):
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(), [override])
    for word in ["--set", *words]:
        assert word in str(caught.value)


def test_an_override_may_add_a_whole_arm(write):
    assert len(load_experiment(write(), ["arms.wide={backbone: {kind: unet, width: 2.0}}"]).arms) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", ["not YAML", "line 1"]),
        ("- a", ['holds ["a"], not keys and values']),
        ("", ["holds null"]),
        ("name: a\nname: b\n", ["'name' is written twice"]),
    ],
)
def test_what_is_no_experiment_file_is_said(write, text, words):
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(text=text))
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_names_its_nearest_sibling(write, tmp_path):
    write()
    with pytest.raises(ConfigError, match=r"Did you mean .*x\.yaml"):
        load_experiment(tmp_path / "y.yaml")


def test_binary_rubbish_is_no_crash(tmp_path):
    (tmp_path / "x.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError):
        read_yaml(tmp_path / "x.yaml")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_any_yaml_value_in_place_of_a_section_is_a_config_error(tmp_path_factory, value):
    path = write_yaml(tmp_path_factory.mktemp("any") / "x.yaml", {**MINIMAL, "arms": value})
    with pytest.raises(ConfigError):
        load_experiment(path)


def test_every_dotted_path_of_a_loaded_experiment_has_an_annotation():
    experiment = load_experiment(ROOT / "experiments" / "quickstart.yaml")
    for path in _leaves(experiment.to_json()):
        assert annotation_at(Experiment, path) is not None or path[0] == "search", path
    assert annotation_at(Experiment, ["data", "nothing"]) is None
    assert "optimizer" in keys_at(Experiment, ["training"])


def _leaves(node, path=()):
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, (*path, key))
    else:
        yield path

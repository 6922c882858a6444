"""Whatever is written in place of what should be there: it loads, or it is a ConfigError of one paragraph."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml
from config_files import write_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "search_spaces" / "learning_rate.yaml"
TEXT = (ROOT / "experiments" / "quickstart.yaml").read_text().replace(f"../search_spaces/{SPACE.name}", str(SPACE))
QUICKSTART = yaml.safe_load(TEXT)
QUICKSTART["search"]["space"] = {
    "parameters": {
        **yaml.safe_load(SPACE.read_text())["parameters"],
        "training.optimizer.name": {"type": "categorical", "choices": ["adamw", "sgd"]},
        "training.optimizer.momentum": {
            "type": "float", "low": 0.5, "high": 0.9, "when": {"training.optimizer.name": "sgd"},
        },
        "training.batch_size": {"type": "int", "low": 8, "high": 32, "step": 8},
    }
}  # fmt: skip
SPOILT = [
    "1e-4",
    "NaN",
    ".nan",
    "",
    "~",
    "~nobody-of-this-name/x",
    "a\0b",
    "${name}",
    "${name",
    "unet",
    "CN",
    "training",
]


def places(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def at(node: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


KEYS = st.text(st.characters(exclude_categories=["C"]), max_size=8)
PLACES = [path for path in places(QUICKSTART) if path]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.sampled_from(SPOILT)
)
ELSEWHERE = st.sampled_from(PLACES).map(lambda path: at(QUICKSTART, path))
VALUES = ELSEWHERE | st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=3),
    max_leaves=4,
)


def misspelt(key: str, i: int) -> str:
    return key[: i % len(key)] + key[i % len(key) + 1 :] if i % 2 else key[: i % len(key)] + "x" + key[i % len(key) :]


@st.composite
def mutants(draw: st.DrawFn) -> dict[str, Any]:
    """Return quickstart.yaml with one to three values replaced, keys dropped, misspelt or put where they are not."""
    data = copy.deepcopy(QUICKSTART)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in places(data) if path]))
        parent, key = at(data, path[:-1]), path[-1]
        match draw(st.sampled_from(["replace", "replace", "drop", "misspell", "add"])):
            case "replace":
                parent[key] = copy.deepcopy(draw(VALUES))
            case "misspell" if isinstance(key, str) and key:
                parent[misspelt(key, draw(st.integers(0, 40)))] = parent.pop(key)
            case "add" if isinstance(parent, dict):
                parent[draw(KEYS)] = copy.deepcopy(draw(VALUES))
            case _ if len(data) > 1:
                del parent[key]
    return data


def loads_or_says_why(path: Path, *overrides: str) -> None:
    try:
        load_experiment(path, overrides)
    except ConfigError as error:
        message = str(error)
        assert "\n" not in message
        assert str(path.parent) in message or "--set" in message


def test_what_is_spoilt_below_loads_whole(tmp_path):
    load_experiment(write_yaml(tmp_path / "x.yaml", QUICKSTART))
    (tmp_path / "y.yaml").write_text(TEXT)
    load_experiment(tmp_path / "y.yaml")


@given(mutants())
@settings(max_examples=300, deadline=None)
def test_a_spoilt_experiment_loads_or_is_a_config_error(tmp_path_factory, data):
    loads_or_says_why(write_yaml(tmp_path_factory.mktemp("any") / "x.yaml", data))


@given(
    st.integers(0, len(TEXT)), st.integers(0, 40),
    st.text(st.characters(codec="ascii"), max_size=6) | st.sampled_from(["- ", "{", "[", "&a ", "*a", "? ", "<<: "]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_file_with_a_slip_of_the_keyboard_loads_or_is_a_config_error(tmp_path_factory, start, length, typed):
    path = tmp_path_factory.mktemp("any") / "x.yaml"
    path.write_text(TEXT[:start] + typed + TEXT[start + length :])
    loads_or_says_why(path)


@given(st.sampled_from(PLACES), st.integers(0, 40), st.booleans(), st.sampled_from(SPOILT) | st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_override_loads_or_is_a_config_error(tmp_path_factory, place, i, spoil, value):
    keys = ".".join(map(str, place))
    path = write_yaml(tmp_path_factory.mktemp("any") / "x.yaml", QUICKSTART)
    loads_or_says_why(path, f"{misspelt(keys, i) if spoil else keys}={value}")

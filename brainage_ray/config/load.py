"""From a file and --set overrides to an experiment that is known to be consistent."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from brainage_ray.config.experiment import Experiment
from brainage_ray.config.read import annotation_at, keys_at, nearest, read_yaml, validate
from brainage_ray.config.run import TrainingRun, apply_params, check_path
from brainage_ray.config.space import holds
from brainage_ray.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([a-z_.0-9]+)\}")


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Paths in the file are relative to the file, paths in overrides to the current folder.
    ``${data.root}`` and the like stand for the value at that key.

    Args:
        path: the YAML file.
        overrides: ``key.path=value``, applied in order; the value is read as JSON or YAML.

    Raises:
        ConfigError: what is wrong, with file, key path, value and fix.
    """
    path = Path(path)
    data = read_yaml(path)
    for text in overrides:
        _override(data, text)
    data = _interpolate(data, data, path)
    space_file = _include_space(data, path)
    _absolute_paths(Experiment, data, path.resolve().parent)
    experiment = validate(Experiment, data, _where(path, overrides))
    _check_space(experiment, str(space_file or path))
    return experiment


def _where(path: Path, overrides: Sequence[str]) -> str:
    return f"{path} with --set {' --set '.join(overrides)}" if overrides else str(path)


def _override(data: dict[str, Any], text: str) -> None:
    """Put ``key.path=value`` into the raw data."""
    path, equals, written = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {text}: there is no =", "Write --set key.path=value.")
    keys: list[str | int] = [int(key) if key.isdigit() else key for key in path.split(".")]
    _check_override(text, keys)
    node: Any = data
    for key in keys[:-1]:
        node = _item(node, key, text) if isinstance(node, list) else node.setdefault(str(key), {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {text}: {key} is a value, not a group of keys", "Shorten the path.")
    value = _absolute(_read_value(written, text), keys)
    if isinstance(node, list):
        _item(node, keys[-1], text)
        node[int(keys[-1])] = value
    else:
        node[str(keys[-1])] = value


def _item(node: list[Any], key: str | int, text: str) -> Any:
    if not isinstance(key, int) or key >= len(node):
        raise ConfigError(f"--set {text}: {key} is no place in a list of {len(node)}", "Count from 0.")
    return node[key]


def _absolute(value: Any, keys: list[str | int]) -> Any:
    """Make paths in an override absolute, from the current folder; references are looked up later."""
    if isinstance(value, dict | list):
        _absolute_paths(Experiment, value, Path.cwd(), tuple(keys))
    if not isinstance(value, str):
        return value
    is_file = keys == ["search", "space"] or _names_file(annotation_at(Experiment, keys), tuple(keys), value)
    return _joined(Path.cwd(), value) if is_file else value


def _check_override(text: str, keys: list[str | int]) -> None:
    for i, key in enumerate(keys):
        if annotation_at(Experiment, keys[: i + 1]) is None:
            place = ".".join(map(str, keys[:i])) or "an experiment"
            known = keys_at(Experiment, keys[:i])
            raise ConfigError(f'--set {text}: there is no "{key}" in {place}', nearest(str(key), known))


def _read_value(written: str, text: str) -> Any:
    try:
        return json.loads(written)
    except json.JSONDecodeError:
        pass
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value is neither JSON nor YAML", "Quote it.") from None


def _is_path(annotation: Any, keys: Sequence[str | int]) -> bool:
    return annotation is Path or Path in get_args(annotation) or list(keys) == ["search", "space"]


def _interpolate(node: Any, root: Mapping[str, Any], file: Path) -> Any:
    if isinstance(node, dict):
        return {key: _interpolate(value, root, file) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate(value, root, file) for value in node]
    if isinstance(node, str):
        return _REFERENCE.sub(lambda match: _look_up(match.group(1), root, file), node)
    return node


def _look_up(reference: str, root: Mapping[str, Any], file: Path) -> str:
    node: Any = root
    for key in reference.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, str | int | float):
        raise ConfigError(f"{file}: ${{{reference}}} stands for nothing", f"Add {reference}, or --set {reference}=...")
    return str(node)


def _include_space(data: dict[str, Any], path: Path) -> Path | None:
    """Replace the path of a search space by its content; return the path."""
    search = data.get("search")
    if not isinstance(search, dict) or not isinstance(search.get("space"), str):
        return None
    file = Path(os.path.normpath(path.parent / str(search["space"])))
    search["space"] = read_yaml(file)
    return file


def _absolute_paths(model: Any, node: Any, base: Path, keys: tuple[str | int, ...] = ()) -> None:
    """Make every path in the raw data absolute, in place."""
    for key, value in enumerate(node) if isinstance(node, list) else list(node.items()):
        place = (*keys, key)
        if isinstance(value, dict | list):
            _absolute_paths(model, value, base, place)
        elif isinstance(value, str) and _names_file(annotation_at(model, place), place, value):
            node[key] = _joined(base, value)


def _joined(base: Path, value: str) -> str:
    return value if value.startswith("${") else os.path.normpath(base / Path(value).expanduser())


def _names_file(annotation: Any, keys: tuple[str | int, ...], value: str) -> bool:
    is_local_uri = keys[0] == "pretraining" and keys[-1] == "uri" and "://" not in value
    return is_local_uri or (annotation is not None and keys[-1] != "space" and _is_path(annotation, keys))


def _check_space(experiment: Experiment, where: str) -> None:
    """Try every bound and choice of the space on every arm, before anything starts."""
    space = experiment.search.space
    for arm in experiment.arms.values():
        run = TrainingRun(
            task="age", backbone=arm.backbone, training=experiment.training, seed=0,
            store=Path(), store_hash="", folder=Path(),
        )  # fmt: skip
        for path, parameter in space.parameters.items():
            for named in (path, *parameter.when):
                check_path(named, where)
            if holds(parameter.when, run.to_json()):
                for value in parameter.values:
                    apply_params(run, {path: value}, where)
        if experiment.search.sampler == "grid":
            try:
                space.grid(run.to_json())
            except ValueError as error:
                raise ConfigError(f"{where}: {error}", "Give choices, or use sampler: random or tpe.") from None

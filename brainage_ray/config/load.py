"""From a file and --set overrides to an experiment that is known to be consistent."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from brainage_ray.config.experiment import ArmConfig, Experiment
from brainage_ray.config.read import annotation_at, keys_at, nearest, read_yaml, validate
from brainage_ray.config.run import TrainingRun, apply_params, check_path
from brainage_ray.config.space import FloatParameter, SearchSpace, look_up
from brainage_ray.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_PLACE = re.compile(r"[0-9]{1,9}")
"""A place in a list, in a dotted path."""


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
    where = _where(path, overrides)
    data = _interpolate(data, data, where)
    space_file = _include_space(data, path, where)
    _absolute_paths(Experiment, data, _Base(path.resolve().parent, where))
    experiment = validate(Experiment, data, where)
    _check_space(experiment, str(space_file or where))
    return experiment


def _where(path: Path, overrides: Sequence[str]) -> str:
    return " --set ".join([f"{path} with" if overrides else str(path), *map(_shown, overrides)])


def _shown(text: str) -> str:
    """Return an override for a message: one line of bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}..."


def _override(data: dict[str, Any], text: str) -> None:
    """Put ``key.path=value`` into the raw data."""
    path, equals, written = text.partition("=")
    text = _shown(text)
    if not equals or not path:
        raise ConfigError(f"--set {text}: there is no =", "Write --set key.path=value.")
    keys: list[str | int] = [int(key) if _PLACE.fullmatch(key) else key for key in path.split(".")]
    _check_override(text, keys)
    node: Any = data
    for i, key in enumerate(keys[:-1]):
        if isinstance(node, dict):
            _check_name(text, node, keys[: i + 1])
        node = _item(node, key, text) if isinstance(node, list) else node.setdefault(str(key), {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {text}: {key} is a value, not a group of keys", "Shorten the path.")
    value = _absolute(_read_value(written, text), keys, f"--set {text}")
    if isinstance(node, list):
        _item(node, keys[-1], text)
        node[int(keys[-1])] = value
    else:
        node[str(keys[-1])] = value


def _check_name(text: str, node: Mapping[str, Any], keys: Sequence[str | int]) -> None:
    """Refuse to go through an arm, a stage or the like that there is not: half of a new one is no use."""
    *parent, key = keys
    if str(key) not in node and key not in keys_at(Experiment, parent):
        place = ".".join(map(str, parent))
        raise ConfigError(f'--set {text}: there is no "{key}" in {place}', nearest(str(key), [*map(str, node)]))


def _item(node: list[Any], key: str | int, text: str) -> Any:
    if not isinstance(key, int) or key >= len(node):
        raise ConfigError(f"--set {text}: {key} is no place in a list of {len(node)}", "Count from 0.")
    return node[key]


def _absolute(value: Any, keys: list[str | int], where: str) -> Any:
    """Make paths in an override absolute, from the current folder; references are looked up later."""
    if isinstance(value, dict | list):
        _absolute_paths(Experiment, value, _Base(Path.cwd(), where), tuple(keys))
    if not isinstance(value, str):
        return value
    is_file = keys == ["search", "space"] or _names_file(annotation_at(Experiment, keys), tuple(keys), value)
    return _Base(Path.cwd(), where).join(keys, value) if is_file else value


def _check_override(text: str, keys: list[str | int]) -> None:
    for i, key in enumerate(keys):
        if annotation_at(Experiment, keys[: i + 1]) is None:
            place = ".".join(map(str, keys[:i])) or "an experiment"
            known = keys_at(Experiment, keys[:i])
            raise ConfigError(f'--set {text}: there is no "{key}" in {place}', nearest(str(key), known))


def _read_value(written: str, text: str) -> Any:
    for read in (json.loads, yaml.safe_load):
        try:
            value = read(written)
            json.dumps(value, default=str)  # neither endless nor with keys that are no text
        except (ValueError, TypeError, RecursionError, yaml.YAMLError):
            continue
        return value
    raise ConfigError(f"--set {text}: the value is neither JSON nor YAML", "Quote it.")


def _is_path(annotation: Any, keys: Sequence[str | int]) -> bool:
    return annotation is Path or Path in get_args(annotation) or list(keys) == ["search", "space"]


def _interpolate(node: Any, root: Mapping[str, Any], where: str) -> Any:
    if isinstance(node, dict):
        return {key: _interpolate(value, root, where) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate(value, root, where) for value in node]
    if isinstance(node, str):
        return _REFERENCE.sub(lambda match: _resolve(match.group(1), root, where), node)
    return node


def _resolve(reference: str, root: Mapping[str, Any], where: str) -> str:
    value = look_up(root, reference)
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{where}: ${{{reference}}} stands for nothing", f"Add {reference}, or --set {reference}=...")
    if _REFERENCE.search(str(value)):
        raise ConfigError(f"{where}: ${{{reference}}} stands for {value}, a reference too", "Write out what it means.")
    return str(value)


def _include_space(data: dict[str, Any], path: Path, where: str) -> Path | None:
    """Replace the path of a search space by its content; return the path."""
    search = data.get("search")
    if not isinstance(search, dict) or not isinstance(search.get("space"), str):
        return None
    file = Path(_Base(path.parent, where).join(["search", "space"], search["space"]))
    try:
        search["space"] = read_yaml(file)
    except ConfigError as error:
        raise ConfigError(f"{where}: search.space: {error.problem}", error.fix) from None
    validate(SearchSpace, search["space"], file)
    return file


@dataclass(frozen=True)
class _Base:
    """A folder that paths are relative to, and where they are written, for the message."""

    folder: Path
    where: str

    def join(self, keys: Sequence[str | int], value: str) -> str:
        """Return a path that does not depend on the current folder; references are left for later."""
        if _REFERENCE.match(value):
            return value
        try:
            if "\0" in value:
                raise ValueError("it has a null byte")
            return os.path.normpath(self.folder / Path(value).expanduser())
        except (ValueError, RuntimeError) as error:
            key = ".".join(map(str, keys))
            raise ConfigError(
                f"{self.where}: {key} is {json.dumps(value)}, no path: {error}", "Write a path."
            ) from None


def _absolute_paths(model: Any, node: Any, base: _Base, keys: tuple[str | int, ...] = ()) -> None:
    """Make every path in the raw data absolute, in place."""
    for key, value in enumerate(node) if isinstance(node, list) else list(node.items()):
        place = (*keys, key)
        if isinstance(value, dict | list):
            _absolute_paths(model, value, base, place)
        elif isinstance(value, str) and _names_file(annotation_at(model, place), place, value):
            node[key] = base.join(place, value)


def _names_file(annotation: Any, keys: tuple[str | int, ...], value: str) -> bool:
    is_local_uri = keys[0] == "pretraining" and keys[-1] == "uri" and ":/" not in value
    is_word = any(value in get_args(choice) for choice in get_args(annotation))  # of Literal[...] | Path
    return is_local_uri or (
        annotation is not None and keys[-1] != "space" and _is_path(annotation, keys) and not is_word
    )


def _check_space(experiment: Experiment, where: str) -> None:
    """Try every condition, bound and choice of the space on the arms, before anything starts."""
    space = experiment.search.space
    runs = {name: _run(experiment, arm) for name, arm in experiment.arms.items()}
    active = {name: space.active(run.to_json()) for name, run in runs.items()}
    for path in space.parameters:
        _check_conditions(space, path, list(runs.values()), where)
        if not any(path in found for found in active.values()):
            raise _never(space, path, list(runs.values()), where)
    for name, found in active.items():
        for path, parameter in found.items():
            _check_encoder_stays(name, experiment.arms[name], path, where)
            conditioned = apply_params(runs[name], parameter.when, f"{where}: when of {path}")
            tried = [apply_params(conditioned, {path: value}, where) for value in parameter.values]
            with _named(where, "Take that value out of the space."):
                for run in tried:
                    experiment.check_slices(name, run.backbone)
        if experiment.search.sampler == "grid":
            with _named(where, "Give choices, or use sampler: random or tpe."):
                space.grid(runs[name].to_json())


def _run(experiment: Experiment, arm: ArmConfig) -> TrainingRun:
    return TrainingRun(
        task="age", backbone=arm.backbone, training=experiment.training, seed=0,
        store=Path(), store_hash="", folder=Path(),
    )  # fmt: skip


def _check_conditions(space: SearchSpace, path: str, runs: Sequence[TrainingRun], where: str) -> None:
    """Refuse paths that there are not, and conditions on values that their fields do not take.

    A backbone's values are left to the arms: those of one kind need not fit another.
    """
    check_path(path, where)
    place = f"{where}: when of {path}"
    for named, value in space.parameters[path].when.items():
        check_path(named, place)
        if isinstance(space.parameters.get(named), FloatParameter):
            raise ConfigError(f"{place} waits for one value of the range {named}", f"Give {named} choices.")
        if not named.startswith("backbone.") and named not in space.parameters:
            apply_params(runs[0], {named: value}, place)


def _never(space: SearchSpace, path: str, runs: Sequence[TrainingRun], where: str) -> ConfigError:
    """Describe a parameter whose conditions hold in no trial."""
    when = space.parameters[path].when
    known = {named: _known_values(space, named, runs) for named in when}
    wrong = {named: value for named, value in when.items() if value not in known[named]} or when
    shown = " and ".join(f"{named}: {json.dumps(value)}" for named, value in wrong.items())
    named, value = next(iter(wrong.items()))
    return ConfigError(
        f"{where}: {path} would never be searched, as no trial has {shown}",
        f"{nearest(str(value), [str(known) for known in known[named]])} Correct its when, or take {path} out.",
    )


def _known_values(space: SearchSpace, path: str, runs: Sequence[TrainingRun]) -> list[Any]:
    searched = space.parameters.get(path)
    return list(dict.fromkeys(searched.values if searched else [look_up(run.to_json(), path) for run in runs]))


def _check_encoder_stays(name: str, arm: ArmConfig, path: str, where: str) -> None:
    if arm.pretraining and path.startswith("backbone."):
        raise ConfigError(
            f'{where}: parameters has "{path}", but arm {name} starts from the weights of {arm.pretraining[-1]}, '
            f"which fit its backbone as it is and no other",
            f"Take {path} out and write an arm for each of its values.",
        )


@contextmanager
def _named(where: str, fix: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{where}: {error}", fix) from None

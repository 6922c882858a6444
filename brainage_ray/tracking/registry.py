"""MLflow's registry: one registered model an experiment, whose versions are its arms' models. docs/decisions/0015."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainage_ray.errors import EngineError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
"""Alias of the arm that was chosen on the validation split."""
DIGEST, ARM, SEED, FACTS = "brainage.models", "brainage.arm", "brainage.seed", "brainage.facts"
"""Tags: what names a version's content; its arm; its seed, where it is one; and what `brainage models` lists."""
_RESERVED = re.compile(r"v\d+|latest|champion", re.IGNORECASE)
_DESCRIPTION = 5000
"""Characters that MLflow's databases hold."""
_PAGE = 200


@dataclass(frozen=True)
class Registration:
    """An arm's final models, as the registry is told of them."""

    experiment: str
    arm: str
    digest: str
    """Names the content: the same again makes no version."""
    champion: bool = False
    """Whether the rule of the experiment chose this arm on the validation split."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values that `list_models` returns."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """For people: what the models need and what is known of them, by tag."""
    seeds: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """By seed, the tags of its model; "file" is its name in the folder."""
    card: str = ""
    """Markdown."""


def register(client: MlflowClient, about: Registration, source: str, run_id: str) -> None:
    """Make the versions of an arm, its ensemble's and each seed's, where they are not there, and give the aliases.

    Args:
        client: of the registry.
        about: the models.
        source: URI of the folder with their files.
        run_id: of the arm's run.
    """
    name = about.experiment
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, {"brainage.kind": "experiment"}, "Brain-age models: a version an arm.")
    own = {**about.tags, FACTS: json.dumps(dict(about.facts)), "brainage.kind": "ensemble"}
    ensemble = _version(client, about, source, run_id, own)
    client.update_model_version(name, ensemble, about.card[:_DESCRIPTION])
    alias = _alias(client, name, about.arm)
    client.set_registered_model_alias(name, alias, ensemble)
    for seed, tags in about.seeds.items():
        of_seed = {**tags, SEED: str(seed), "brainage.kind": "seed"}
        version = _version(client, about, f"{source}/{tags['file']}", run_id, of_seed)
        client.set_registered_model_alias(name, f"{alias}-seed-{seed}", version)
    _crown(client, about, ensemble)
    _retire(client, about)


def find_version(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return what an alias of an experiment names, or None."""
    from mlflow import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise EngineError(f"MLflow cannot be asked for {name}@{alias}: {error}", "Look at the server.") from None


def ensembles(client: MlflowClient, name: str | None = None) -> Iterator[tuple[ModelVersion, list[str]]]:
    """Yield each arm's newest ensemble and its aliases, of one experiment or of all."""
    wanted = f"name = '{name}'" if name else None
    models = _pages(client.search_registered_models, wanted)
    for model in sorted(models, key=lambda one: str(one.name)):
        newest: dict[str, ModelVersion] = {}
        for version in _versions(client, model.name):
            arm = version.tags.get(ARM)
            if arm and SEED not in version.tags:
                newest[arm] = max(newest.get(arm, version), version, key=lambda one: int(one.version))
        for _, version in sorted(newest.items()):
            number = str(version.version)
            yield version, sorted(alias for alias, other in model.aliases.items() if str(other) == number)


def _version(client: MlflowClient, about: Registration, source: str, run_id: str, tags: Mapping[str, str]) -> str:
    """Return the number of the version with this content; what it is tagged with is renewed."""
    tags = {**tags, DIGEST: about.digest, ARM: about.arm}
    same = [v for v in _versions(client, about.experiment) if all(v.tags.get(k) == tags.get(k) for k in _IDENTITY)]
    if not same:
        return str(client.create_model_version(about.experiment, source, run_id, tags=tags).version)
    there = same[0]
    for key in (key for key, value in tags.items() if there.tags.get(key) != value):
        client.set_model_version_tag(about.experiment, there.version, key, tags[key])
    return str(there.version)


_IDENTITY = (DIGEST, ARM, SEED)


def _alias(client: MlflowClient, name: str, arm: str) -> str:
    """Return an arm's alias: MLflow allows letters, digits, - and _ in one, arms . and + as well."""
    alias = re.sub(r"[^A-Za-z0-9_-]", "_", arm)
    if _RESERVED.fullmatch(alias):
        alias = f"arm-{alias}"
    there = find_version(client, name, alias)
    while there is not None and there.tags.get(ARM) != arm:  # a.b and a+b, for example
        alias += "_"
        there = find_version(client, name, alias)
    return alias


def _crown(client: MlflowClient, about: Registration, version: str) -> None:
    """Give the alias of the chosen arm to it, and to no other."""
    if about.champion:
        client.set_registered_model_alias(about.experiment, CHAMPION, version)
        return
    there = find_version(client, about.experiment, CHAMPION)
    if there is not None and there.tags.get(ARM) == about.arm:
        client.delete_registered_model_alias(about.experiment, CHAMPION)


def _retire(client: MlflowClient, about: Registration) -> None:
    """Take the alias champion from what earlier versions registered: a model an arm, each its own champion."""
    old = f"{about.experiment}-{about.arm}".replace("+", "_")
    there = find_version(client, old, CHAMPION)
    if there is not None and DIGEST in there.tags and ARM not in there.tags:
        client.delete_registered_model_alias(old, CHAMPION)


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    return list(_pages(client.search_model_versions, f"name = '{name}'"))


def _pages(search: Any, wanted: str | None) -> Iterator[Any]:
    page = search(wanted, max_results=_PAGE)
    yield from page
    while page.token:
        page = search(wanted, max_results=_PAGE, page_token=page.token)
        yield from page

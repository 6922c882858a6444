"""YAML in, checked models out; every error names file, key, value and the fix."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from brainage_ray.config.words import either, requirement, words_in
from brainage_ray.errors import ConfigError, UnsafeFileError

Model = TypeVar("Model", bound=BaseModel)
_TEXT_TAG = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
_NAMES = {yaml.SequenceNode: "list", yaml.MappingNode: "mapping"}
_NUMBER_AS_TEXT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")


_LONGEST_SHOWN = 200
"""Characters of a value that a message shows."""
_MOST_NAMED = 3
"""Places that a message names."""


_LARGEST_BYTES = 2**23
"""Of a YAML file; ours have some thousand."""
_MOST_NODES = 10**6
"""Values and keys of a YAML file, each counted wherever an alias puts it."""
_CODE_TAG = "tag:yaml.org,2002:python"


class _KeyError(Exception):
    """A key is no text or written twice: (line, problem, fix)."""


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key that is no text, or is written twice."""


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag != _TEXT_TAG:
            shown = key.value if isinstance(key, yaml.ScalarNode) else f"a {_NAMES.get(type(key), 'value')}"
            raise _KeyError(line, f"the key {shown} is no text", "Put it in quotes, or correct it.")
        if key.value in seen:
            raise _KeyError(line, f"the key {key.value!r} is written twice", "Keep one of them.")
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: no such file, not text, not YAML, a key that is no text or there twice, or not a mapping.
        UnsafeFileError: it asks for Python objects, or is or unfolds to more than any experiment.
    """
    try:
        data = _load(path)
    except FileNotFoundError:
        raise ConfigError(f"There is no file {path}", _suggest_file(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "Give the path of a YAML text file.") from None
    except _KeyError as error:
        line, problem, fix = error.args
        raise ConfigError(f"{path}, line {line}: {problem}", fix) from None
    except (yaml.YAMLError, ValueError) as error:  # a ValueError comes from dates that do not exist
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {problem}", "Correct that line.") from None
    except RecursionError:
        raise ConfigError(f"{path} nests brackets too deep to be an experiment", "Close each bracket.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {_shown(data)}, not keys and values", "Write `key: value` lines.")
    return data


def _load(path: Path) -> Any:
    with path.open("rb") as file:  # not all of it: it may have no end
        content = file.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise UnsafeFileError(f"{path} has more than {_LARGEST_BYTES >> 20} MiB, which no experiment has")
    loader = _Loader(content.decode("utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(path, node, {}) > _MOST_NODES:
            problem = f"{path} unfolds its aliases to more than {_MOST_NODES:,} values, as a bomb does"
            raise UnsafeFileError(problem, "Do not use it, or write the values out.")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(path: Path, node: yaml.Node, known: dict[int, int]) -> int:
    """Count the nodes below a node, those of an alias each time that it is used; one that holds itself counts once."""
    if node.tag.startswith(_CODE_TAG):
        raise UnsafeFileError(f"{path}, line {node.start_mark.line + 1}, asks for a Python object: {node.tag}")
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 1
        children = [child for item in node.value for child in (item if isinstance(item, tuple) else [item])]
        known[id(node)] += sum(_count(path, child, known) for child in children)
    return known[id(node)]


def validate(model: type[Model], data: Mapping[str, Any], where: Path | str) -> Model:
    """Check plain data against a model.

    Args:
        model: what the data should be.
        data: YAML's mappings, lists and scalars.
        where: the file, or the option, that the data came from; for the message.

    Raises:
        ConfigError: the first things that are wrong, each with its key path, value and fix.
    """
    try:
        text = json.dumps(data, default=str)
    except (TypeError, ValueError) as error:  # of a key that is a date or a list, and of a mapping in itself
        raise ConfigError(
            f"{where}: {error}", "Keys are text, in quotes where they look like something else; nothing holds itself."
        ) from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems, fixes = _explain_all(model, data, [dict(e) for e in error.errors()])
    raise ConfigError(f"{where}: {problems}", fixes)


def annotation_at(model: Any, path: Sequence[str | int]) -> Any | None:
    """Return the type annotation at a key path below a model, None where there is no such key."""
    options: list[Any] = [model]
    for key in path:
        options = [inner for option in options for kind in _alternatives(option) for inner in _inside(kind, key)]
    return options[0] if options else None


def keys_at(model: Any, path: Sequence[str | int]) -> list[str]:
    """Return the keys that are known at a key path below a model."""
    found = [model]
    for key in path:
        found = [inner for option in found for kind in _alternatives(option) for inner in _inside(kind, key)]
    kinds = [kind for option in found for kind in _alternatives(option)]
    return sorted({name for kind in kinds if _is_model(kind) for name in kind.model_fields})


_SYNONYMS = {"metric": "objective", "n_trials": "trials", "num_samples": "trials", "epochs": "max_epochs"}
"""What Ray, Optuna and others call what is called otherwise here."""


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ` Did you mean "x"?` for the nearest known word, else a list of what is known."""
    close = [_SYNONYMS[word]] if _SYNONYMS.get(word) in known else []
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f'Did you mean "{close[0]}"?'
    return f"Known here: {', '.join(known)}." if known else ""


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _alternatives(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif origin in (Union, types.UnionType):
        for option in get_args(kind):
            yield from _alternatives(option)
    elif kind is not type(None):
        yield kind


def _inside(kind: Any, key: str | int) -> Iterator[Any]:
    if _is_model(kind):
        if key in kind.model_fields:
            field = kind.model_fields[str(key)]
            yield field.annotation
    elif get_origin(kind) is dict:
        yield get_args(kind)[1]
    elif get_origin(kind) is tuple and isinstance(key, int):
        yield get_args(kind)[0]


def _explain_all(model: Any, data: Any, errors: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Turn pydantic's errors into the problems and fixes of the first places that have one."""
    # A list whose items were refused is then too short as well: only the items are news.
    errors = [error for error in errors if error["type"] != "too_short"] or errors
    places: dict[str, list[dict[str, Any]]] = {}
    for error in errors:
        at = error["loc"][:-1] if _is_entry(data, error) else error["loc"]
        places.setdefault(_dotted(_real_path(data, at)), []).append(error)
    lines = [_explain(model, data, found) for found in list(places.values())[:_MOST_NAMED]]
    return "; ".join(problem for problem, _ in lines), " ".join(dict.fromkeys(fix for _, fix in lines if fix))


def _explain(model: Any, data: Any, errors: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Turn what is wrong with one value into (problem, fix); several errors are of the alternatives of a union."""
    # of several the one that we worded ourselves knows best
    error = next((error for error in errors if error["type"] == "value_error"), errors[0])
    of_key = error["loc"][-1:] == ("[key]",)
    location = _real_path(data, error["loc"][:-1] if of_key else error["loc"])
    path, kind, value = _dotted(location), error["type"], error.get("input")
    if kind == "extra_forbidden":
        return _unknown(model, location)
    if of_key and kind == "literal_error":
        known = words_in(error.get("ctx", {}).get("expected", ""))
        return f'unknown key "{value}" in {_dotted(location[:-1])}', nearest(str(value), known)
    if _is_entry(data, error):
        wanted = len(get_args(annotation_at(model, location[:-1])))
        return f"{_dotted(location[:-1])} is {_shown(value)}", f"{_dotted(location[:-1])} should have {wanted} entries."
    if kind == "missing":
        return f"the key {path} is missing", f"Add {path}."
    if kind.startswith("union_tag"):
        return _wrong_kind(model, location, error)
    if isinstance(value, str) and _NUMBER_AS_TEXT.fullmatch(value):
        mantissa, exponent = f"{float(value):e}".split("e")
        why = "because YAML wants a point and a sign in such numbers"
        return f'{path} is the text "{value}", {why}', f"Write {float(mantissa)}e{exponent}."
    if kind == "value_error":
        return f"{path}: {str(error['msg']).removeprefix('Value error, ')}".removeprefix(": "), ""
    return f"{path or 'the file'} is {_shown(value)}", _what_it_should_be(model, location, errors)


def _what_it_should_be(model: Any, location: Sequence[str | int], errors: Sequence[dict[str, Any]]) -> str:
    wanted = [requirement(error) for error in errors]
    if not all(wanted):
        return f"{errors[0]['msg']}."
    words = [word for error in errors for word in words_in(str(error.get("ctx", {}).get("expected", "")))]
    value, should = errors[0].get("input"), either(wanted)
    if "be text" in wanted and _takes_path(annotation_at(model, location)):
        should = should.replace("text", "a path")
    guess = nearest(value, words) if isinstance(value, str) else ""
    return f"{_dotted(location) or 'It'} should {should}.{f' {guess}' if guess.startswith('Did') else ''}"


def _takes_path(annotation: Any) -> bool:
    return any(kind is Path for kind in _alternatives(annotation))


def _unknown(model: Any, location: Sequence[str | int]) -> tuple[str, str]:
    parent, key = location[:-1], str(location[-1])
    return f'unknown key "{key}" in {_dotted(parent) or "the file"}', nearest(key, keys_at(model, parent))


def _wrong_kind(model: Any, location: Sequence[str | int], error: dict[str, Any]) -> tuple[str, str]:
    """Explain that one of several models is wanted, and the key that says which has no or a wrong word."""
    key = words_in(error["ctx"]["discriminator"])[0]
    options = list(_alternatives(annotation_at(model, location)))
    known = [word for option in options for word in get_args(option.model_fields[key].annotation)]
    path = _dotted((*location, key))
    if error["type"] == "union_tag_not_found":
        return f"the key {path} is missing", f"Add {path}: {' or '.join(known)}."
    tag = error["ctx"]["tag"]
    return f'{path} is "{tag}"', nearest(tag, known)


def _is_entry(data: Any, error: dict[str, Any]) -> bool:
    """Tell whether an error is of an entry that a list lacks, of a fixed number of them."""
    inside = error["type"] == "missing" and isinstance(error["loc"][-1], int)
    return inside and isinstance(error.get("input"), list)


def _dotted(location: Sequence[str | int]) -> str:
    return ".".join(map(str, location))


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _real_path(data: Any, location: Sequence[str | int]) -> tuple[str | int, ...]:
    """Drop the union tags that pydantic puts between the keys; a key that is missing can only be the last."""
    path: list[str | int] = []
    node = data
    tagged: Any = None
    for i, part in enumerate(location):
        last = i == len(location) - 1
        if (
            isinstance(node, Mapping)
            and node is not tagged
            and not last
            and part in (node.get("kind"), node.get("type"))
        ):
            tagged = node
        elif isinstance(node, Mapping) and (part in node or last):
            path.append(part)
            node = node.get(part)
        elif isinstance(node, list | tuple) and isinstance(part, int):
            path.append(part)
            node = node[part] if part < len(node) else None
    return tuple(path)


def _suggest_file(path: Path) -> str:
    siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.75)
    return f"Did you mean {path.parent / close[0]}?" if close else "Give the path of an existing file."

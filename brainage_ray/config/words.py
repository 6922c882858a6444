"""What a value should be, said to whoever writes an experiment: in whole numbers, lists, and keys and values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = {
    "bool": "true or false",
    "dict": "keys and values",
    "finite": "a number",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "model": "keys and values",
    "path": "a path",
    "string": "text",
    "tuple": "a list",
}
"""By the first word of a pydantic error's type: int_type, int_parsing and int_from_float are one to a reader."""
_BOUNDS = {
    "greater_than": "be above {gt:g}",
    "greater_than_equal": "be {ge:g} or more",
    "less_than": "be below {lt:g}",
    "less_than_equal": "be {le:g} or less",
    "string_too_long": "have {max_length} characters or fewer",
    "too_long": "have {max_length} entries or fewer",
    "too_short": "have {min_length} or more in it",
}


def requirement(error: Mapping[str, Any]) -> str:
    """Say what a value should do or be, to go after "should"; "" where pydantic alone has words for it.

    Args:
        error: one of pydantic's, with its type and ctx.
    """
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind == "literal_error":
        return "be " + str(context["expected"]).replace("'", "")
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    what = _KINDS.get(kind.partition("_")[0])
    return f"be {what}" if what and not kind.startswith("string_pattern") else ""


def either(requirements: Sequence[str]) -> str:
    """Join what each alternative of a union wants."""
    first, *others = dict.fromkeys(requirements)
    return ", or ".join([first, *(other.removeprefix("be ") for other in others)])


def words_in(listed: str) -> list[str]:
    """Return the words of a list that pydantic quotes, such as 'unet', 'resnet50'."""
    return re.findall(r"'([^']*)'", listed)

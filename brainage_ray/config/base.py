"""The base of every config model, and the digest that names what was made from it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Unknown keys are refused, numbers must be numbers, nothing changes after loading."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain JSON values: all that crosses a process border."""
        return self.model_dump(mode="json")


def matching(pattern: str, words: str) -> AfterValidator:
    """Return what refuses text that does not match a pattern as a whole.

    Args:
        pattern: a regular expression.
        words: what the text should be, for who wrote it.
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{json.dumps(text)} is not {words}")
        return text

    return AfterValidator(check)


def digest(*parts: Any) -> str:
    """Return 16 hex digits of the SHA-256 of JSON-able parts, whatever the order of their keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

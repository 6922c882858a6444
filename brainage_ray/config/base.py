"""The base of every config model, and the digest that names what was made from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Unknown keys are refused, numbers must be numbers, nothing changes after loading."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain JSON values: all that crosses a process border."""
        return self.model_dump(mode="json")


def digest(*parts: Any) -> str:
    """Return 16 hex digits of the SHA-256 of JSON-able parts, whatever the order of their keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Pickles that another library keeps in a study: read without running what else may be in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection
from typing import Any

from brainage_ray.errors import UnsafeFileError

_ARRAYS = {
    f"numpy{name}" for name in (".ndarray", ".dtype", "._core.multiarray._reconstruct", "._core.multiarray.scalar")
}


def read_pickle(content: bytes, classes: Collection[str], name: str) -> Any:
    """Read a pickle of NumPy arrays, and of no other classes than those named.

    Args:
        content: the pickle.
        classes: that it may hold, with their modules.
        name: where it is from, for the message.

    Raises:
        UnsafeFileError: it calls for anything else.
    """

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, kind: str) -> Any:
            called = f"{module}.{kind}"
            if called not in _ARRAYS and called not in classes:
                raise UnsafeFileError(f"{name} holds more than numbers: it calls for {called}, which is not run")
            return super().find_class(module, kind)

    return Unpickler(io.BytesIO(content)).load()

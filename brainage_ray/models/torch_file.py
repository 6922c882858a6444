"""PyTorch's own files, read so that nothing in them is run or unpacks to more than the file is.

`torch.load(weights_only=True)` runs no code, but calls what it holds to be harmless, `bytearray(2**40)` for example,
and unpacks archives that are compressed. So the pickle is looked through first, which runs none of it.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from brainage_ray.errors import UnsafeFileError

UNREADABLE = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError, LookupError)
"""What a damaged file raises."""
_REBUILT = ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter")
_HARMLESS = {
    "collections OrderedDict",
    "_codecs encode",
    "torch Size",
    "torch device",
    *(f"torch._utils {name}" for name in _REBUILT),
}
_NUMPY = ("numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
"""Numbers of NumPy's, as nnU-Net keeps beside its weights: they are read as nothing, and no NumPy runs."""
_ZIP = b"PK\3\4"
_STORAGES = ("torch", "torch.storage")
_LEGACY_PICKLES = 5
"""A magic number, a version, the system, the content and the names of the storages."""
_FIX = "Save the network's state_dict alone with torch.save, or as safetensors."


def load_torch(path: Path, mmap: bool = False) -> Any:
    """Read tensors and plain values onto the CPU.

    Args:
        path: what torch.save wrote.
        mmap: leave the tensors on the disk until they are used.

    Raises:
        UnsafeFileError: it calls for anything but tensors, or unpacks to more than it is.
        Exception: it is damaged, one of UNREADABLE.
    """
    with path.open("rb") as file:
        archive = file.read(len(_ZIP)) == _ZIP  # as torch tells; zipfile.is_zipfile looks at the end
        file.seek(0)
        if archive:
            _check_archive(path, file)
        else:
            for _ in range(_LEGACY_PICKLES):
                _check_pickle(path, file)
    with torch.serialization.safe_globals([(_Nothing, name.replace(" ", ".")) for name in _NUMPY]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)  # noqa: TID251


class _Nothing:
    """Stands where a number of NumPy's was."""

    def __init__(self, *state: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _check_archive(path: Path, file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > entry.compress_size
                     for entry in entries)  # fmt: skip
        total = sum(entry.file_size for entry in entries)
        size = path.stat().st_size
        if packed or total > size:
            problem = f"{path} unpacks from {size / 2**20:.1f} to {total / 2**20:,.1f} MiB; torch.save packs nothing"
            raise UnsafeFileError(problem, _FIX)
        for entry in entries:
            if entry.filename.lower().endswith(".pkl"):
                with archive.open(entry) as content:
                    _check_pickle(path, content)


def _check_pickle(path: Path, file: Any) -> None:
    """Go through one pickle without doing what it says."""
    for name in _named(file):
        module, _, kind = name.partition(" ")
        storage = module in _STORAGES and kind.endswith("Storage")
        dtype = module == "torch" and isinstance(getattr(torch, kind, None), torch.dtype)
        if not (name in _HARMLESS or name in _NUMPY or storage or dtype):
            called = name.replace(" ", ".")
            raise UnsafeFileError(f"{path} is more than weights: it calls for {called}, which is not run", _FIX)


def _named(file: Any) -> Iterator[str]:
    """Yield what the pickle imports, as "module name"."""
    for code, value, _ in pickletools.genops(file):
        if code.name in ("GLOBAL", "INST"):
            yield str(value)
        elif code.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):  # torch.save writes none
            yield "something by a name that it computes"

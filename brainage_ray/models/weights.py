"""Files of weights: written atomically, named by their checksum, read without running code in them."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import uuid4

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from brainage_ray.errors import NoSpaceError, UnsafeFileError, WeightsError
from brainage_ray.models.torch_file import UNREADABLE, load_torch
from brainage_ray.models.transfer import check_fit

TIMEOUT_S = 60.0
"""Longest silence of a server before a download is given up, seconds."""
MOST_BYTES = 2**33
"""Of a download: the largest network that can be built has a tenth of that."""
_PART_BYTES = 2**20


def save_state(module: nn.Module, path: Path) -> str:
    """Write a module's state as safetensors: whole or not at all; the same weights give the same bytes.

    Returns:
        SHA-256 of the file, 64 hex digits.

    Raises:
        NoSpaceError: the disk is full.
    """
    return save_tensors(module.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors by name, as save_state does.

    Returns:
        SHA-256 of the file, 64 hex digits.

    Raises:
        NoSpaceError: the disk is full.
    """
    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    with _replacing(path) as part:
        part.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_state(module: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Fill a module from a safetensors file that holds its whole state and nothing else.

    Raises:
        WeightsError: the file is missing, damaged, has another checksum or does not fit the module.
    """
    state = read_weights(path, sha256)
    check_fit(module.state_dict(), state)
    module.load_state_dict({**module.state_dict(), **state})


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read weights by name from safetensors or from a PyTorch file such as torchvision's.

    Names stay as the file has them: the backbones bear torchvision's, and load_encoder
    leaves the classifier (``fc.*``) out and says so in its report.

    Args:
        path: a .safetensors, .pth or .pt file.
        sha256: checksum of the file, or its first digits, 8 at least; None skips the check.

    Raises:
        WeightsError: the file is missing, has another checksum, is damaged or holds no weights.
        UnsafeFileError: it holds code, or unpacks to more than it is.
    """
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}", "Give the path of an existing file.")
    if sha256 is not None:
        check_sum(path, sha256)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt"):
        return state_of(path, read_content(path))
    raise WeightsError(f"{path} is of no known kind of weights", "Give a .safetensors, .pth or .pt file.")


def fetch_weights(uri: str, sha256: str, cache: Path) -> Path:
    """Return a local file of weights, downloading it once.

    Args:
        uri: a local path or an https address.
        sha256: checksum of the file, or its first digits, 8 at least.
        cache: folder that keeps downloads, made where absent.

    Raises:
        WeightsError: the file is missing, cannot be downloaded or has another checksum.
        UnsafeFileError: the server sends without an end.
        NoSpaceError: the disk is full.
    """
    if "://" not in uri:
        path = Path(uri).expanduser()
        if not path.is_file():
            raise WeightsError(f"there are no weights at {path}", "Give an existing file or an https address.")
        check_sum(path, sha256)
        return path
    if not uri.startswith("https://"):
        raise WeightsError(f"weights cannot be fetched from {uri}", "Give a local path or an https address.")
    _check_digits(uri, sha256)
    path = cache / f"{sha256[:8].lower()}-{PurePosixPath(urlsplit(uri).path).name}"
    if not (path.is_file() and _matches(path, sha256)):
        with _replacing(path) as part:
            _download(uri, part)
            check_sum(part, sha256, name=uri)
    return path


def _download(uri: str, part: Path) -> None:
    try:
        with urlopen(uri, timeout=TIMEOUT_S) as response, part.open("wb") as file:
            while part_of_it := response.read(_PART_BYTES):
                file.write(part_of_it)
                if file.tell() > MOST_BYTES:
                    raise UnsafeFileError(f"{uri} sends more than {MOST_BYTES >> 30} GiB, as no weights have")
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise WeightsError(
            f"{uri} cannot be downloaded: {error}",
            "Check the address and the network, or download the file by hand and give its path as the uri.",
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}", "Fetch or write it again.") from error


def read_content(path: Path) -> Any:
    """Read a PyTorch file of tensors and plain values.

    Raises:
        WeightsError: it is damaged.
        UnsafeFileError: it holds code, or unpacks to more than it is.
    """
    try:
        return load_torch(path)
    except UNREADABLE as error:
        raise WeightsError(f"{path} cannot be read as a PyTorch file: {error}", "Fetch or write it again.") from error


def state_of(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the weights by name in the content of a PyTorch file.

    Raises:
        WeightsError: it has none.
    """
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"{path} holds no weights by name", "Save a network's state_dict alone.")
    return dict(state)


def check_sum(path: Path, sha256: str, name: str | None = None) -> None:
    """Check the checksum of a file.

    Args:
        path: of the file.
        sha256: its SHA-256, or its first digits, 8 at least.
        name: to call it in the message.

    Raises:
        WeightsError: it has another, or these are no digits.
    """
    _check_digits(name or path, sha256)
    if not _matches(path, sha256):
        raise WeightsError(
            f"{name or path} has the SHA-256 {_digest(path)}, which does not begin with {sha256}",
            "Fetch the file again, or correct sha256 if these weights are the ones wanted.",
        )


def _check_digits(name: str | Path, sha256: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise WeightsError(f'the sha256 "{sha256}" of {name} is not 8 to 64 hex digits', "Correct it.")


def _matches(path: Path, sha256: str) -> bool:
    return _digest(path).startswith(sha256.lower())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a new name beside a path, which becomes the path if all goes well and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise NoSpaceError(f"the disk is full: {path} does not fit", "Make room and run again.") from error
        raise
    finally:
        part.unlink(missing_ok=True)

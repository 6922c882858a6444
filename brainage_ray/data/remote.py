"""A folder at a URI: s3://, gs:// or file://, through pyarrow's file systems.

Objects appear whole or not at all. What fails for a while is tried again; what cannot succeed is said at once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from brainage_ray.data.files import atomic_write, no_space
from brainage_ray.errors import BrainageError, ConfigError, DataError, EngineError

Result = TypeVar("Result")

SCHEMES = ("s3", "gs", "file")
PATIENCE_SECONDS = 180.0
"""How long a network that fails is tried again."""
_CHUNK = 2**22
_KEYS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, to keys that may read, write, list "
    "and delete there.",
    "gs": "Run `gcloud auth application-default login`, or name a service account's file in "
    "GOOGLE_APPLICATION_CREDENTIALS; it must be allowed to read, write, list and delete there.",
    "file": "Change the folder's rights, or name another one.",
}
_REFUSED = ("ACCESS_DENIED", "SIGNATURE_DOES_NOT_MATCH", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "TOKEN",
            "HTTP STATUS 403", "HTTP STATUS 401", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNRECOGNIZED_CLIENT",
            "UNSUPPORTEDALGORITHM", "MISSING_AUTHENTICATION")  # fmt: skip
_NO_BUCKET = ("NO_SUCH_BUCKET", "BUCKET DOES NOT EXIST", "BUCKET NOT FOUND")
_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_uri(text: str) -> bool:
    """Tell whether a text names a place by a scheme, known or not, and not a folder by its path."""
    return "://" in text


class RemoteFolder:
    """A folder at a URI; names of objects are paths below it, with slashes.

    Args:
        uri: s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH; what follows a question mark is pyarrow's:
            endpoint_override=HOST:PORT, scheme=http, region=... AWS_ENDPOINT_URL names another S3 server too.
        patience: seconds for which a network that fails is tried again.

    Raises:
        ConfigError: the URI is wrong, or holds a password.
    """

    def __init__(self, uri: str, patience: float | None = None) -> None:
        parts = urlsplit(uri)
        self.scheme, self.uri = parts.scheme, uri
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        """As it may be shown."""
        self.patience = PATIENCE_SECONDS if patience is None else patience
        if self.scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise ConfigError(f"{self.shown} starts with {self.scheme}://, which is not known", f"Use one of {known}.")
        if "@" in parts.netloc:
            raise ConfigError(f"the address {self.shown} has a name or a password in it", _KEYS[self.scheme])
        if self.scheme != "file" and not parts.netloc:
            raise ConfigError(f"{uri} names no bucket", f"Write {self.scheme}://BUCKET/PATH.")
        self.bucket = parts.netloc
        self.endpoint = parse_qs(parts.query).get("endpoint_override", [os.environ.get("AWS_ENDPOINT_URL", "")])[0]
        self._fs, self._base = self._open()

    def _open(self) -> tuple[Any, str]:
        from pyarrow import ArrowInvalid, fs  # half a second

        if self.scheme == "s3" and self.endpoint:  # servers other than Amazon's mostly know no trailing checksums
            os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        try:
            found, base = fs.FileSystem.from_uri(self.uri)
        except (ArrowInvalid, NotImplementedError) as error:
            problem = f"{self.shown} cannot be used: {str(error).strip()}"
            raise ConfigError(problem, "Write s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH.") from None
        except OSError as error:
            raise self._explain(error, "") from None
        return found, base.rstrip("/")

    def check(self) -> None:
        """See that objects can be listed, written, read and deleted, before anything depends on it.

        Raises:
            ConfigError: no bucket of this name, or no right to use it.
            EngineError: no answer within seconds: no network, or a wrong endpoint.
        """
        patience, self.patience = self.patience, min(self.patience, 5.0)
        try:
            name = f".brainage/probe-{os.getpid()}"
            self.write(name, b"probe")
            if self.read(name) != b"probe":
                raise EngineError(f"{self.shown} gives back another object than was written", "Name another place.")
            self.delete(name)
        finally:
            self.patience = patience

    def list(self, below: str = "") -> dict[str, int]:
        """Return the objects below a folder of it: bytes by name."""
        from pyarrow import fs

        folder = f"{self._base}/{below}".rstrip("/")
        selector = fs.FileSelector(folder, recursive=True, allow_not_found=True)
        found = self._patiently(below, lambda: self._fs.get_file_info(selector))
        files = {f.path[len(self._base) + 1 :]: int(f.size) for f in found if f.type == fs.FileType.File}
        return {name: size for name, size in files.items() if not name.endswith(".partial")}

    def modified(self, name: str) -> float | None:
        """Return when an object was written by the clock of the other side, seconds since 1970; None: no such one."""
        found = self._patiently(name, lambda: self._fs.get_file_info(f"{self._base}/{name}"))
        return None if found.mtime_ns is None else found.mtime_ns / 1e9

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes; None where there is none."""

        def read() -> bytes:
            with self._fs.open_input_stream(f"{self._base}/{name}", compression=None) as stream:
                return bytes(stream.read())

        try:
            return self._patiently(name, read)
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in place of the one of this name."""
        self._patiently(name, lambda: self._put(name, lambda out: out.write(data)))

    def put(self, file: Path, name: str) -> None:
        """Write a file as an object."""

        def copy(out: Any) -> None:
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    out.write(chunk)

        self._patiently(name, lambda: self._put(name, copy))

    def fetch(self, name: str, to: Path, sha256: str | tuple[str, ...]) -> str:
        """Bring an object as a file, which appears only when it is whole and has the checksum.

        Args:
            name: of the object.
            to: the file.
            sha256: the checksum, 64 hex digits; or several, any of which will do.

        Returns:
            The checksum.

        Raises:
            DataError: it is not there, or is not what was written.
            NoSpaceError: the disk here is full.
        """
        allowed = (sha256,) if isinstance(sha256, str) else sha256

        def fetch() -> str:
            digest = hashlib.sha256()
            with atomic_write(to) as file:
                with self._fs.open_input_stream(f"{self._base}/{name}", compression=None) as stream:
                    while chunk := stream.read(_CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                if digest.hexdigest() not in allowed:
                    problem = f"{self.shown}/{name} is damaged: its SHA-256 is {digest.hexdigest()}, not {allowed[-1]}"
                    raise DataError(problem, "Remove that object, or put back the right one; then run again.")
            return digest.hexdigest()

        try:
            return self._patiently(name, fetch)
        except FileNotFoundError:
            raise DataError(f"{self.shown}/{name} is gone", "Put it back, or start in another workspace.") from None

    def delete(self, name: str) -> None:
        """Delete an object; there may be none."""

        def delete() -> None:
            try:
                self._fs.delete_file(f"{self._base}/{name}")
            except FileNotFoundError:
                return

        self._patiently(name, delete)

    def _put(self, name: str, fill: Callable[[Any], Any]) -> None:
        path = f"{self._base}/{name}"
        if self.scheme != "file":  # an object appears when its stream is closed
            with self._fs.open_output_stream(path, compression=None) as out:
                fill(out)
            return
        with no_space(Path(path).parent), atomic_write(Path(path)) as file:
            fill(file)

    def _patiently(self, name: str, act: Callable[[], Result]) -> Result:
        """Do something, again and again while only the network is at fault."""
        end, pause = time.monotonic() + self.patience, 0.5
        while True:
            try:
                return act()
            except FileNotFoundError:
                raise
            except OSError as error:
                problem = self._explain(error, name)
                if not isinstance(problem, EngineError) or time.monotonic() + pause > end:
                    raise problem from None
            time.sleep(pause)
            pause = min(2 * pause, 30.0)

    def _explain(self, error: OSError, name: str) -> BrainageError | OSError:
        """Return what went wrong in words; an EngineError only where it may go well later."""
        what = f"{self.shown}/{name}".rstrip("/")
        text = " ".join(str(error).split())
        upper = text.upper()
        if error.errno in _FULL:
            return error
        if any(sign in upper for sign in _NO_BUCKET):
            fix = f"Make it first, or correct the name: {self.scheme}://BUCKET/PATH."
            return ConfigError(f"{what}: there is no bucket {self.bucket}", fix)
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} or any(sign in upper for sign in _REFUSED):
            return ConfigError(f"{what}: access is refused: {text[-300:]}", _KEYS[self.scheme])
        if self.scheme == "file":
            return ConfigError(f"{what} cannot be used: {text}", "Name another folder.")
        server = f" at {self.endpoint}" if self.endpoint else ""
        return EngineError(
            f"{what}: the server{server} could not be reached, or failed: {text[-300:]}",
            "Look at the network, and at endpoint_override or AWS_ENDPOINT_URL; then run again: what is done is kept.",
        )

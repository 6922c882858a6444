"""What an image shows, as a hash: the same for one scan however its file is named, compressed or turned."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np

from brainage_ray.data.files import no_space, stamp_of
from brainage_ray.data.safety import open_image
from brainage_ray.data.scan import Scan
from brainage_ray.errors import DataError

AFFINE_DECIMALS = 3
"""Of a millimetre: tools that write an image anew move its affine by less."""


def content_hash(path: Path) -> str:
    """Return a hash of an image's voxels and of where they lie; 32 hex digits.

    The voxels count as float32 in the order RAS, so that .nii and .nii.gz, another level of compression, another type
    of numbers that holds the same values and flipped or swapped stored axes are all the same content.

    Raises:
        DataError: the image cannot be read.
        UnsafeFileError: it claims or unpacks to more than any scan has.
    """
    try:
        image = nib.as_closest_canonical(nib.squeeze_image(open_image(path)))  # type: ignore[no-untyped-call]
        voxels = np.asarray(image.dataobj, dtype=np.float32)
    except DataError:
        raise
    except Exception as error:  # nibabel, numpy, gzip and zlib raise what they like at a damaged file
        problem = f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        raise DataError(problem, "Get the file again or leave the scan out.") from error
    affine = np.round(np.asarray(image.affine, dtype=np.float64), AFFINE_DECIMALS) + 0.0  # no negative zeros
    about = f"{list(voxels.shape)} {affine.tolist()}".encode()
    found = hashlib.sha256(about)
    found.update(np.ascontiguousarray(voxels + np.float32(0)).data)
    return found.hexdigest()[:32]


def contents_of(scan: Scan) -> tuple[str, ...]:
    """Return the content hash of each image of a scan, in the order of the modalities' names.

    Raises:
        DataError: one cannot be read.
    """
    return tuple(content_hash(scan.files[name]) for name in sorted(scan.files))


class ContentCache:
    """Hashes of files that were read before, by path, size and time of change; a file of JSON lines.

    Args:
        file: made on first use. Only added to: what a kill cuts short is one line, which is then ignored.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, tuple[list[int], str]] = {}
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        for line in lines:
            try:
                path, stamp, found = json.loads(line)
            except ValueError:
                continue
            self._known[path] = (stamp, found)

    def hash_all(self, paths: Iterable[Path], advance: Callable[[], None] = lambda: None) -> Mapping[Path, str]:
        """Return the content hash of each file on all cores; empty for one that cannot be read.

        Args:
            paths: of images.
            advance: called as each is done.
        """
        wanted = list(dict.fromkeys(paths))
        found: dict[Path, str] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, content in zip(wanted, pool.map(self._hash, wanted), strict=True):
                found[path] = content
                self._keep(path, content)
                advance()
        return found

    def _hash(self, path: Path) -> str:
        stamp, content = self._known.get(str(path), ([], ""))
        if content and stamp == stamp_of(path):
            return content
        try:
            return content_hash(path)
        except DataError:
            return ""

    def _keep(self, path: Path, content: str) -> None:
        entry = (stamp_of(path), content)
        if not content or self._known.get(str(path)) == entry:
            return
        self._known[str(path)] = entry
        with no_space(self._file.parent):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([str(path), *entry]) + "\n")


def images_of(scans: Sequence[Scan]) -> list[Path]:
    """Return the files of the images of some scans, without their label maps."""
    return [scan.files[name] for scan in scans for name in sorted(scan.files)]

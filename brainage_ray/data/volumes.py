"""NIfTI files in, arrays in RAS order out; what cannot be used is refused with its name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from brainage_ray.data.safety import open_image
from brainage_ray.data.scan import Scan
from brainage_ray.errors import DataError

MODALITIES = ("flair", "t1", "t1ce", "t2")
"""Order of the channels of a segmentation scan."""

_CLASS_OF_LABEL = {0: 0, 1: 1, 2: 2, 3: 3, 4: 3}
_UNREADABLE = (
    OSError,
    EOFError,
    OverflowError,
    TypeError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


@dataclass(frozen=True)
class Volumes:
    """The volumes of one scan on one grid; axes x to the right, y to the front, z up (RAS)."""

    images: tuple[np.ndarray, ...]
    """One channel each, float32, X x Y x Z."""
    labels: np.ndarray | None
    """uint8, X x Y x Z: 0 background, 1 necrosis, 2 oedema, 3 enhancing tumour."""
    affine: np.ndarray
    """Voxel -> mm, 4 x 4."""

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of neighbouring voxels along x, y and z, mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))


def read_volumes(scan: Scan) -> Volumes:
    """Read all files of a scan: its T1, or the four modalities and the label map of a tumour case.

    The order and direction of the stored axes do not matter: the affine says where right,
    front and up are. An oblique grid keeps its own axes, named by the nearest anatomical ones.

    Raises:
        DataError: a file is missing, damaged, not three-dimensional, empty, nowhere positive, not finite, of colours
            or complex numbers, without an orientation, on another grid than its neighbours, or has an unknown label.
    """
    names = ("t1",) if scan.segmentation is None else MODALITIES
    if missing := [name for name in names if name not in scan.files]:
        raise DataError(
            f"{scan.cohort} {scan.subject} has no {missing[0]} image", "Add the file or leave the scan out."
        )
    read = {scan.files[name]: read_image(scan.files[name]) for name in names}
    first = scan.files[names[0]]
    labels = None
    if scan.segmentation is not None:
        array, affine = read_image(scan.segmentation)
        labels = _classes(array, scan.segmentation, dict(scan.label_classes))
        _check_same_grid(first, read, scan.segmentation, (array, affine))
    for path, volume in read.items():
        _check_same_grid(first, read, path, volume)
        if not volume[0].any():
            raise DataError(f"{path} is empty: every voxel is 0", "Get the file again or leave the scan out.")
        if not (volume[0] > 0).any():
            problem = f"{path} has no voxel above 0: they are from {volume[0].min():g} to {volume[0].max():g}"
            raise DataError(problem, "Its scale or its sign is wrong (scl_slope, scl_inter); convert the scan anew.")
    images = tuple(read[scan.files[name]][0] for name in names)
    return Volumes(images, labels, read[first][1])


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a file's voxels (float32, X x Y x Z, RAS) and their affine (voxel -> mm, 4 x 4).

    Raises:
        DataError: it is missing, damaged, not three-dimensional, not finite, of colours or complex numbers, or
            without an orientation.
        UnsafeFileError: it claims or unpacks to more than any scan has.
    """
    try:
        image = open_image(path)
        _check_orientation(path, image)
        image = nib.squeeze_image(image)  # type: ignore[no-untyped-call]
        _check_header(path, image)
        image = nib.as_closest_canonical(image)  # type: ignore[no-untyped-call]
        array = np.asarray(image.dataobj, dtype=np.float32)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", "Correct the path in the source's table or folder.") from None
    except MemoryError as error:
        problem = f"{path} is too large for the memory: {' '.join(str(error).split()) or 'MemoryError'}"
        fix = "Raise resources.memory_gib_per_scan, or get the file again if its header claims too much."
        raise DataError(problem, fix) from error
    except _UNREADABLE as error:
        problem = f"{path} cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
        raise DataError(problem, "The file is damaged; get it again or leave the scan out.") from error
    if not np.isfinite(array).all():
        problem = f"{path} has {np.count_nonzero(~np.isfinite(array))} voxels that are NaN or infinite"
        raise DataError(problem, "Repeat the step that wrote it, or set those voxels to 0.")
    return array, image.affine


def _check_orientation(path: Path, image: nib.filebasedimages.FileBasedImage) -> None:
    """Refuse a file that does not say where right, front and up are: nibabel would make it up."""
    fix = "Nobody can tell up from left in it; convert the scan anew, from DICOM, to NIfTI."
    if not isinstance(image, nib.Nifti1Pair | nib.MGHImage):
        kind = type(image).__name__
        raise DataError(f"{path} has no orientation: it is no NIfTI or MGH file, but nibabel's {kind}", fix)
    if isinstance(image, nib.Nifti1Pair) and not image.header["sform_code"] and not image.header["qform_code"]:
        raise DataError(f"{path} has no orientation: its sform_code and qform_code are 0", fix)


def _check_header(path: Path, image: nib.spatialimages.SpatialImage) -> None:
    if (dtype := image.get_data_dtype()).kind not in "iuf":
        problem = f"{path} has voxels of the type {dtype}, not one number each"
        raise DataError(problem, "Give the brightness alone: no colours, no complex numbers.")
    if len(image.shape) != 3 or 0 in image.shape:
        shape = " x ".join(map(str, image.shape))
        raise DataError(f"{path} has the shape {shape}, not three dimensions", "Give one 3D volume a file.")
    directions = image.affine[:3, :3]
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(directions)) < 1e-6:
        problem = f"{path} has an affine without a volume ({directions.tolist()})"
        raise DataError(problem, "Nobody can tell up from left in it; convert the scan anew, from DICOM.")


def _check_same_grid(
    first: Path,
    read: Mapping[Path, tuple[np.ndarray, np.ndarray]],
    path: Path,
    volume: tuple[np.ndarray, np.ndarray],
) -> None:
    array, affine = read[first]
    if array.shape != volume[0].shape or not np.allclose(affine, volume[1], atol=1e-2):
        problem = f"{path} (shape {volume[0].shape}) is not on the grid of {first} (shape {array.shape})"
        raise DataError(problem, "Resample them to one grid, or get both files from one release.")


def _classes(labels: np.ndarray, path: Path, said: Mapping[int, int]) -> np.ndarray:
    """Translate labels into classes 0 to 3, as the source says, else as BraTS does: 0, 1, 2 and 4 (3 since 2023)."""
    known = said or _CLASS_OF_LABEL
    present = [float(value) for value in np.unique(labels)]
    if unknown := [value for value in present if value not in known]:
        those = f"dataset.json has {', '.join(map(str, said))}" if said else "BraTS labels are 0, 1, 2 and 4 (or 3)"
        raise DataError(f"{path} has the label {unknown[0]:g}", f"{those}; renumber it.")
    if not said and 3 in present and 4 in present:
        raise DataError(f"{path} has the labels 3 and 4", "Enhancing tumour is one of them; renumber it.")
    classes = np.zeros(labels.shape, dtype=np.uint8)
    for value, number in known.items():
        classes[labels == value] = number
    return classes

"""BraTS folders: `CASE/CASE_{flair,t1,t1ce,t2,seg}.nii(.gz)`."""

from __future__ import annotations

from pathlib import Path

from brainage_ray.config import BratsSource
from brainage_ray.data.scan import Scan
from brainage_ray.data.sources.fields import check_folder, in_order
from brainage_ray.errors import MetadataError

MODALITIES = ("flair", "t1", "t1ce", "t2")


def read_brats(source: BratsSource) -> list[Scan]:
    """List the cases; each folder in the root is one, so none can vanish unseen.

    Raises:
        MetadataError: the root is missing or has no folders, or a case lacks a file.
    """
    check_folder(source.root, "brats")
    cases = [entry for entry in source.root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not cases:
        problem = f"brats: {source.root} holds no folders"
        raise MetadataError(problem, "Give the folder that holds one folder a case, such as BraTS20_Training_001.")
    return in_order(_read_case(folder, source.cohort) for folder in cases)


def _read_case(folder: Path, cohort: str) -> Scan:
    return Scan(
        cohort=cohort,
        subject=folder.name,
        session="",
        image=folder.name,
        files={modality: _find(folder, modality) for modality in MODALITIES},
        segmentation=_find(folder, "seg"),
    )


def _find(folder: Path, kind: str) -> Path:
    """Find one file of a case.

    BraTS'2020 itself has a case, BraTS20_Training_355, whose label map goes by another name.
    """
    wanted = folder / f"{folder.name}_{kind}.nii.gz"
    for path in (wanted, wanted.with_suffix("")):
        if path.is_file():
            return path
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    problem = f"brats: there is no {wanted.name} (or .nii) in {folder}, which holds {', '.join(there) or 'nothing'}"
    raise MetadataError(problem, "Rename the file if it is there under another name, or move the folder away.")

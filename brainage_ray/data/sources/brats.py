"""BraTS folders: `CASE/CASE_{flair,t1,t1ce,t2,seg}.nii(.gz)`."""

from __future__ import annotations

from pathlib import Path

from brainage_ray.config import BratsSource
from brainage_ray.data.scan import Found, Scan
from brainage_ray.data.sources.fields import check_folder
from brainage_ray.data.sources.findings import Findings
from brainage_ray.errors import MetadataError

MODALITIES = ("flair", "t1", "t1ce", "t2")


class Brats:
    """A folder of cases, as BraTS'2020 is published.

    Args:
        source: where it is.
    """

    def __init__(self, source: BratsSource) -> None:
        self._source = source

    def read(self) -> Found:
        """List the cases; each folder in the root is one, and so is a NIfTI file that lies in none.

        Raises:
            MetadataError: the root is missing or has no folders.
        """
        root = self._source.root
        check_folder(root, "brats")
        entries = [entry for entry in sorted(root.iterdir()) if not entry.name.startswith(".")]
        if not any(entry.is_dir() for entry in entries):
            problem = f"brats: {root} holds no folders"
            raise MetadataError(problem, "Give the folder that holds one folder a case, such as BraTS20_Training_001.")
        findings = Findings(self._source.cohort)
        for entry in entries:
            with findings.rejecting(entry.name, entry.name):
                if entry.is_dir():
                    findings.take(self._case(entry))
                elif entry.name.endswith((".nii", ".nii.gz")):
                    raise MetadataError(f"brats: {entry} lies in no folder of a case", "Move it there, or away.")
        return findings.found()

    def _case(self, folder: Path) -> Scan:
        return Scan(
            cohort=self._source.cohort,
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
    paths = [path for path in (wanted, wanted.with_suffix("")) if path.is_file()]
    if len(paths) == 1:
        return paths[0]
    if paths:
        raise MetadataError(f"brats: {paths[0]} is there a second time, without .gz", "Keep one of the two files.")
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    problem = f"brats: there is no {wanted.name} (or .nii) in {folder}, which holds {', '.join(there) or 'nothing'}"
    raise MetadataError(problem, "Rename the file if it is there under another name, or move the folder away.")

"""An nnU-Net v2 raw dataset: `dataset.json`, `imagesTr/CASE_0000.nii.gz` ... and `labelsTr/CASE.nii.gz`.

The layout: github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainage_ray.config import NnUnetSource
from brainage_ray.data.scan import Found, Scan
from brainage_ray.data.sources.brats import MODALITIES
from brainage_ray.data.sources.fields import check_folder
from brainage_ray.data.sources.findings import Findings
from brainage_ray.data.sources.nnunet_labels import label_classes
from brainage_ray.errors import MetadataError

_SPELLINGS = {
    "flair": ("flair", "t2flair", "t2f"),
    "t1": ("t1", "t1w", "t1n", "t1native"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1wce", "t1wgd", "t1post", "t1contrast"),
    "t2": ("t2", "t2w"),
}
_ENDINGS = (".nii.gz", ".nii")


class NnUnet:
    """The training cases of an nnU-Net raw dataset; imagesTs has no labels and is left alone.

    Args:
        source: where it is.
    """

    def __init__(self, source: NnUnetSource) -> None:
        self._source = source

    def read(self) -> Found:
        """List the cases; one that is in imagesTr or in labelsTr only is rejected.

        Raises:
            MetadataError: a folder or dataset.json is missing, or dataset.json does not say which channel is which
                modality or which label is which tissue.
        """
        root = self._source.root
        check_folder(root, "nnunet")
        about = _read_json(root / "dataset.json")
        channels, ending = _channels(root, about), _ending(root, about)
        classes = label_classes(root / "dataset.json", about.get("labels"))
        for name in ("imagesTr", "labelsTr"):
            check_folder(root / name, "nnunet")
        findings = Findings(self._source.cohort)
        cases = self._cases(findings, ending)
        for case in sorted(cases):
            with findings.rejecting(case, case):
                findings.take(self._case(case, channels, ending, classes))
        wanted = about.get("numTraining")
        if wanted is not None and str(wanted) != str(len(cases)):
            reason = f"nnunet: {root / 'dataset.json'} says numTraining {wanted}, but there are {len(cases)} cases"
            findings.reject(f"{reason}. Get those that are missing, or correct the number.", "dataset.json")
        return findings.found()

    def _cases(self, findings: Findings, ending: str) -> set[str]:
        """Return the names of all cases; a file that belongs to none is rejected."""
        cases = set()
        for folder, form in (("imagesTr", r"(.+)_\d{4}"), ("labelsTr", r"(.+)")):
            pattern = re.compile(form + re.escape(ending))
            for path in sorted((self._source.root / folder).iterdir()):
                if found := pattern.fullmatch(path.name):
                    cases.add(found[1])
                elif not path.name.startswith("."):
                    reason = f"nnunet: {path} is not named as dataset.json says (CASE_0000{ending}, CASE{ending})"
                    findings.reject(f"{reason}. Rename it, or move it away.", f"{folder}/{path.name}")
        return cases

    def _case(self, case: str, channels: Mapping[str, int], ending: str, classes: tuple[tuple[int, int], ...]) -> Scan:
        images, labels = self._source.root / "imagesTr", self._source.root / "labelsTr"
        files = {modality: images / f"{case}_{channels[modality]:04d}{ending}" for modality in MODALITIES}
        segmentation = labels / f"{case}{ending}"
        for path in (*files.values(), segmentation):
            if not path.is_file():
                raise MetadataError(f"nnunet: there is no {path}", "Get it, or move the case's other files away.")
        return Scan(self._source.cohort, case, "", case, files, segmentation, label_classes=classes)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        fix = "Give the folder of the dataset, nnUNet_raw/Dataset001_Name."
        raise MetadataError(f"nnunet: there is no {path}", fix) from None
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(f"{path} is not readable as JSON: {error}", "Get it again, or correct it.") from None
    if not isinstance(about, dict):
        raise MetadataError(f"{path} holds {type(about).__name__}, not keys and values", "Get it again.")
    for key, fix in (
        ("modality", "It is of nnU-Net 1: convert the dataset with nnUNetv2_convert_old_nnUNet_dataset."),
        ("dataset", "Lay the files out in imagesTr and labelsTr."),
    ):
        if key in about:
            raise MetadataError(f'{path} has the key "{key}", which is not read', fix)
    return about


def _channels(root: Path, about: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of each modality's channel; further channels are left alone."""
    path, names = root / "dataset.json", about.get("channel_names")
    if not isinstance(names, dict):
        raise MetadataError(f"{path} has no channel_names", 'Write "channel_names": {"0": "FLAIR", "1": "T1w", ...}.')
    found: dict[str, int] = {}
    for number, name in names.items():
        modality = _modality(str(name))
        if not modality:
            continue
        if not number.isdecimal() or modality in found:
            problem = f'{path}: channel_names has "{number}": "{name}", which is no number or the second {modality}'
            raise MetadataError(problem, "Name each channel once, by its number.")
        found[modality] = int(number)
    if missing := [modality for modality in MODALITIES if modality not in found]:
        problem = f"{path}: channel_names has no {missing[0]}; it has {', '.join(map(str, names.values()))}"
        raise MetadataError(problem, f"Call it one of {', '.join(_SPELLINGS[missing[0]])}, or leave the source out.")
    return found


def _modality(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((modality for modality, known in _SPELLINGS.items() if plain in known), "")


def _ending(root: Path, about: Mapping[str, Any]) -> str:
    ending = about.get("file_ending")
    if ending not in _ENDINGS:
        problem = f"{root / 'dataset.json'}: file_ending is {ending!r}"
        raise MetadataError(problem, f"Only NIfTI is read, {' or '.join(_ENDINGS)}: convert the files.")
    return str(ending)

"""Builds small downloads of ADNI whose images are empty files: sources do not open images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from brainage_ray.data.phantoms.adni_xml import image_xml
from brainage_ray.data.phantoms.cohort import Person, Visit


@dataclass(frozen=True)
class Image:
    subject: str = "301_S_6056"
    image: int = 45107
    day: date = date(2018, 3, 13)
    visit: str = "ADNI Screening"
    group: str = "CN"
    sex: str = "F"
    age_years: float = 71.25
    sequence: str = "Accelerated_Sagittal_MPRAGE"
    processed: bool = False

    def but(self, **changes) -> Image:
        return replace(self, **changes)

    @property
    def xml_name(self) -> str:
        return f"ADNI_{self.subject}_{self.sequence}_S1_I{self.image}.xml"

    @property
    def nifti_name(self) -> str:
        folder = f"{self.subject}/{self.sequence}/{self.day}_10_30_00.0/I{self.image}"
        return f"{folder}/ADNI_{self.subject}_MR_{self.sequence}_I{self.image}.nii.gz"


def add_nifti(root: Path, image: Image) -> Path:
    path = root / image.nifti_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def add_xml(root: Path, image: Image) -> Path:
    rid = int(image.subject.split("_")[-1])
    person = Person(0, rid, image.sex, "CN", None, (0, 0, 0), ())
    visit = Visit(image.subject, "", image.visit, image.group, image.day, image.age_years, image.image)
    path = root / image.xml_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_xml(person, visit, image.sequence, image.processed))
    return path


def add(root: Path, *images: Image) -> None:
    for image in images:
        add_nifti(root, image)
        add_xml(root, image)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

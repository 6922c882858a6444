"""A tree like a download of ADNI from LONI, with invented people in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from brainage_ray.data.phantoms.adni_xml import image_xml
from brainage_ray.data.phantoms.ageing import personal_course
from brainage_ray.data.phantoms.anatomy import grow, template
from brainage_ray.data.phantoms.cohort import Person, Visit, draw_person, person_rng
from brainage_ray.data.phantoms.imaging import scan, t1_brightness, touch, write_nifti

_SEQUENCE = {
    "ADNI-1": "MPR; GradWarp; B1 Correction; N3",
    "ADNI-GO": "MT1; GradWarp; N3m",
    "ADNI-2": "MT1; GradWarp; N3m",
    "ADNI-3": "Accelerated Sagittal MPRAGE",
}


def write_adni(folder: Path, subjects: int, seed: int, done: Callable[[], None], images: bool = True) -> None:
    """Write `SUBJECT/SEQUENCE/DATE_TIME/I12345/*.nii.gz`, one XML an image, and CROSSVAL.csv.

    Args:
        folder: of the tree.
        subjects: people.
        seed: of everything.
        done: called after each person.
        images: False leaves their files empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    people = [draw_person(seed, index) for index in range(subjects)]
    rows = sorted((p.rid, p.training) for p in people if p.training is not None)
    (folder / "CROSSVAL.csv").write_text("RID,TRAINING\n" + "".join(f"{rid},{training}\n" for rid, training in rows))
    for person in people:
        for number, visit in enumerate(person.visits):
            path = _write_description(folder, person, visit)
            if images:
                _write_image(path, person, visit, person_rng(seed, person.index, stream=2 + number), seed)
            else:
                touch(path)
        done()


def _write_description(folder: Path, person: Person, visit: Visit) -> Path:
    """Write the XML of an image; return where the image goes."""
    sequence = _SEQUENCE[visit.phase]
    words = sequence.replace("; ", "__").replace(" ", "_")
    series, image = f"S{visit.image + 500}", f"I{visit.image}"
    (folder / f"ADNI_{visit.subject}_{words}_{series}_{image}.xml").write_bytes(
        image_xml(person, visit, sequence, processed=visit.phase != "ADNI-3")
    )
    day = visit.day.isoformat()
    name = f"ADNI_{visit.subject}_MR_{words}_Br_{day.replace('-', '')}103000000_{series}_{image}.nii.gz"
    return folder / visit.subject / words / f"{day}_10_30_00.0" / image / name


def _write_image(path: Path, person: Person, visit: Visit, session: np.random.Generator, seed: int) -> None:
    course = personal_course(visit.age_years, person.diagnosis, person.scatter)
    tissues = grow(person_rng(seed, person.index, stream=1), session, course)
    volume = scan(t1_brightness(tissues, course.contrast), tissues.brain, session)
    write_nifti(path, template().embed(volume), template().affine)

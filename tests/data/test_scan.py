from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from brainage_ray.data.scan import Scan

SCAN = Scan("ADNI", "301_S_6056", "2018-03-13", "I45107", {"t1": Path("a.nii.gz")})


def test_person_is_cohort_and_subject_unless_the_source_knows_better():
    assert SCAN.person == "ADNI/301_S_6056"
    assert dataclasses.replace(SCAN, person="ADNI/6056").person == "ADNI/6056"


def test_what_a_source_need_not_say_is_empty():
    said = {"cohort", "subject", "session", "image", "files", "person"}
    rest = {f.name: getattr(SCAN, f.name) for f in dataclasses.fields(Scan) if f.name not in said}
    assert rest == {
        "segmentation": None, "age_years": None, "sex": "", "diagnosis": "", "site": "", "phase": "", "given_split": "",
        "note": "", "label_classes": (),
    }  # fmt: skip


def test_a_scan_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SCAN.subject = "other"


def test_a_scan_survives_a_process_border():
    assert pickle.loads(pickle.dumps(SCAN)) == SCAN

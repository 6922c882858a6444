from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.data.sources.adni_ids import SubjectId, parse_image, parse_subject, phase_of
from brainage_ray.errors import MetadataError


@given(st.integers(0, 999), st.integers(0, 99999))
def test_subject_ids_come_back_as_they_went_in(site, rid):
    subject = SubjectId(f"{site:03d}", rid)
    assert parse_subject(str(subject), "here") == subject
    assert str(parse_subject(str(subject), "here")) == f"{site:03d}_S_{rid:04d}"


@pytest.mark.parametrize("text", ["", "6056", "01_S_6056", "301_S_56", "301_s_6056", "301_S_6056 ", "301_S_06056", "x"])
def test_what_is_no_subject_id_is_refused_with_its_place(text):
    with pytest.raises(MetadataError, match=r"file\.xml: .* is no ADNI subject id.*301_S_6056"):
        parse_subject(text, "file.xml")


@given(st.integers(0, 10**8))
def test_image_ids_have_one_form(number):
    assert parse_image(str(number), "here") == parse_image(f"I{number}", "here") == f"I{number}"


@pytest.mark.parametrize("text", ["", "I", "S123", "I12a", "D12", "12 13"])
def test_what_is_no_image_id_is_refused(text):
    with pytest.raises(MetadataError, match="is no image id"):
        parse_image(text, "here")


@pytest.mark.parametrize(
    ("visit", "rid", "phase"),
    [
        ("ADNI Screening", 42, "ADNI-1"),
        ("ADNI Baseline", 1435, "ADNI-1"),
        ("ADNI1 Baseline", 42, "ADNI-1"),
        ("ADNI Screening", 6056, "ADNI-3"),
        ("ADNI1/GO Month 12", 42, "ADNI-1"),
        ("ADNI1/GO Month 36", 42, "ADNI-1"),
        ("ADNI1/GO Month 48", 42, "ADNI-GO"),
        ("ADNI1/GO Month 12", 2010, "ADNI-GO"),
        ("ADNIGO Screening MRI", 2010, "ADNI-GO"),
        ("ADNIGO Month 60", 42, "ADNI-GO"),
        ("ADNI2 Screening MRI-New Pt", 4100, "ADNI-2"),
        ("ADNI2 Initial Visit-Cont Pt", 42, "ADNI-2"),
        ("ADNI3 Initial Visit-Cont Pt", 42, "ADNI-3"),
        ("ADNI3 Year 2 Visit", 6056, "ADNI-3"),
    ],
)
def test_visits_name_their_phase(visit, rid, phase):
    assert phase_of(visit, rid, "here") == phase


@pytest.mark.parametrize("visit", ["", "Unscheduled", "No Visit Defined", "ADNI", "ADNI2", "ADNI4 Month 12", "adni2 x"])
def test_visits_without_phase_are_refused(visit):
    with pytest.raises(MetadataError, match=f'here: the visit "{visit}" names no phase'):
        phase_of(visit, 42, "here")

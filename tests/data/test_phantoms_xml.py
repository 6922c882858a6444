from __future__ import annotations

from datetime import date
from xml.etree import ElementTree as ET

import pytest

from brainage_ray.data.phantoms.adni_xml import image_xml
from brainage_ray.data.phantoms.cohort import Person, Visit
from brainage_ray.data.sources.adni_xml import read_xml

VISIT = Visit("301_S_6056", "ADNI-3", "ADNI3 Year 1 Visit", "CN", date(2018, 3, 13), 71.25, 45107)
PERSON = Person(0, 6056, "M", "CN", None, (0, 0, 0), (VISIT,))


@pytest.mark.parametrize("processed", [False, True])
def test_what_is_written_reads_back(tmp_path, processed):
    path = tmp_path / "a.xml"
    path.write_bytes(image_xml(PERSON, VISIT, "MT1; GradWarp; N3m", processed))
    record = read_xml(path).record()
    assert (record.path, record.image, str(record.subject)) == (path, "I45107", "301_S_6056")
    assert (record.group, record.sex, record.age_years, record.phase) == ("CN", "M", 71.25, "ADNI-3")


def test_the_two_forms_differ_in_where_the_image_id_is():
    plain, processed = (ET.fromstring(image_xml(PERSON, VISIT, "MPRAGE", form)) for form in (False, True))
    assert plain.findtext(".//study/imagingProtocol/imageUID") == "45107"
    assert plain.find(".//derivedProduct") is None
    assert processed.findtext(".//derivedProduct/imageUID") == "45107"
    assert processed.findtext(".//originalRelatedImage/imageUID") == "45112"
    assert processed.find(".//study/imagingProtocol") is None


@pytest.mark.shared_data
def test_the_elements_are_those_of_a_real_download(shared_data):
    for subject, processed in (("123_S_4567", False), ("234_S_5678", True)):
        real = ET.parse(shared_data / "adni_xml" / f"ADNI_{subject}_template.xml")
        ours = ET.fromstring(image_xml(PERSON, VISIT, "MPRAGE", processed))
        assert {element.tag for element in ours.iter()} <= {element.tag for element in real.iter()}

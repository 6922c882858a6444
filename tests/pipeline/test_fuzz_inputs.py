"""Spoilt downloads: no crash, no silent drop, one line of the ledger each, and the rest of the cohort is done."""

from __future__ import annotations

import zlib
from random import Random

import pytest
from fuzz_cohorts import VICTIM_FILE, Cohort, build, serial_map
from spoilt_files import BAD_IMAGES, ODD_IMAGES, UNCERTAIN_IMAGES, flipped, instead, text

from brainage_ray.errors import BrainageError, MetadataError

IMAGES = [
    *((name, spoil, "failed") for name, spoil in BAD_IMAGES.items()),
    *((name, spoil, "done") for name, spoil in ODD_IMAGES.items()),
    *((name, spoil, "any") for name, spoil in UNCERTAIN_IMAGES.items()),
]
SOME = [name for name, _, _ in IMAGES][::4]
ROW = "P0,60.5,F,CN,s 0.nii.gz"
BAD_ROWS = {
    "age -1": ROW.replace("60.5", "-1"),
    "age 999": ROW.replace("60.5", "999"),
    "age 120.5": ROW.replace("60.5", "120.5"),
    "age in words": ROW.replace("60.5", "sixty"),
    "no age": ROW.replace("60.5", ""),
    "age NaN": ROW.replace("60.5", "nan"),
    "age infinite": ROW.replace("60.5", "inf"),
    "age beyond float": ROW.replace("60.5", "1e999"),
    "age with a decimal comma": ROW.replace("60.5", "60,5"),
    "age in quotes with a comma": ROW.replace("60.5", '"60,5"'),
    "unknown sex": ROW.replace("F", "9"),
    "unknown diagnosis": ROW.replace("CN", "Healthy"),
    "no subject": ROW.replace("P0", ""),
    "no image": ROW.replace("s 0.nii.gz", ""),
    "image of nothing": ROW.replace("s 0", "s 00"),
    "image is a folder": ROW.replace("s 0.nii.gz", "."),
    "image of a name beyond the file system": ROW.replace("s 0", "s" * 5000),
    "image above the root": ROW.replace("s 0.nii.gz", "../nothing/../../x.nii.gz"),
    "a value too few": ROW.rpartition(",")[0],
    "a value too many": f"{ROW},more",
    "open quote": ROW.replace("CN", '"CN'),
    "open quote at the end": f'{ROW}"'.replace("s 0", '"s 0"x'),
    "text after a quote": ROW.replace("CN", '"CN"x'),
    "semicolons": ROW.replace(",", ";"),
    "tabs": ROW.replace(",", "\t"),
    "only a word": "total",
}  # fmt: skip
GOOD_TABLES = {
    "UTF-16 with a mark": lambda content, _: content.decode().encode("utf-16"),
    "UTF-32 with a mark": lambda content, _: content.decode().encode("utf-32"),
    "UTF-8 with a mark": lambda content, _: content.decode().encode("utf-8-sig"),
    "lines of Windows": lambda content, _: content.replace(b"\n", b"\r\n"),
    "lines of old Macs": lambda content, _: content.replace(b"\n", b"\r"),
    "no last line end": lambda content, _: content.rstrip(b"\n"),
    "empty lines": lambda content, _: content.replace(b"\n", b"\n\n , \n"),
    "all in quotes": lambda content, _: b"\n".join(
        b",".join(b'"' + value + b'"' for value in line.split(b",")) for line in content.splitlines()
    ),
    "accents": text("P0", "Pé"),
    "letters of other scripts": text("P0", "患者"),
}
NO_TABLES = {
    "empty": instead(b""),
    "blank": instead(b"\n \n\n"),
    "only the names of columns": lambda content, _: content.splitlines()[0],
    "no names of columns": lambda content, _: content.partition(b"\n")[2],
    "a column is missing": text("age_years", "years"),
    "a column is there twice": text("sex", "image"),
    "semicolons": lambda content, _: content.replace(b",", b";"),
    "zeros": instead(bytes(500)),
    "UTF-16 without a mark": lambda content, _: content.decode().encode("utf-16-le"),
    "UTF-16 cut in a letter": lambda content, _: content.decode().encode("utf-16")[:-1],
    "latin-1": text("P0", "Pé", "latin-1"),
    "a workbook": instead(b"PK\x03\x04" + bytes(range(256))),
    "Parquet under another name": instead(b"PAR1\x00\x00PAR1"),
}  # fmt: skip
XML = "128_S_0100_MPRAGE_S1_I100.xml"
BAD_XML = {
    "empty": instead(b""),
    "half": lambda content, _: content[: len(content) // 2],
    "HTML": instead(b"<html><body>Please log in<br></body></html>"),
    "another XML": instead(b"<a/>"),
    "entities without end": instead(b'<!DOCTYPE a [<!ENTITY b "&c;"><!ENTITY c "&b;">]><a>&b;</a>'),
    "an encoding that there is not": text("UTF-8", "UTF-9"),
    "another encoding than it says": lambda content, _: content.decode().encode("utf-16")[2:],
    "age -1": text("71.25", "-1"),
    "age 999": text("71.25", "999"),
    "no age": text("<subjectAge>71.25</subjectAge>", ""),
    "age in months": text("<ageQualifier>Y<", "<ageQualifier>M<"),
    "another person": text("128_S_0100", "128_S_0999"),
    "no subject id": text("128_S_0100", "128-0100"),
    "no image id": text("<imageUID>100<", "<imageUID>none<"),
    "no sex": text("<subjectSex>F<", "<subjectSex><"),
    "no group": text("<researchGroup>CN<", "<researchGroup> <"),
    "no visit": text("ADNI Screening", "Unscheduled"),
}  # fmt: skip
BAD_BIDS = {
    "age -1": text("sub-0\t60", "sub-0\t-1"),
    "age 999": text("sub-0\t60", "sub-0\t999"),
    "age 89+": text("sub-0\t60", "sub-0\t89+"),
    "sex": text("sub-0\t60\tF", "sub-0\t60\t1"),
    "not in the table": text("sub-0\t60\tF\n", ""),
    "twice in the table": text("sub-0\t60\tF\n", "sub-0\t60\tF\nsub-0\t61\tF\n"),
    "a value too few": text("sub-0\t60\tF", "sub-0\t60"),
    "open quote": text("sub-0\t60\tF", 'sub-0\t60\t"F'),
}  # fmt: skip
NO_BIDS = {
    "empty": instead(b""),
    "commas": lambda content, _: content.replace(b"\t", b","),
    "no ids": text("participant_id", "id"),
    "latin-1": text("sub-0\t60\tF", "sub-0\t60\té", "latin-1"),
}
NO_NNUNET = {
    "empty": instead(b""),
    "a list": instead(b"[1, 2]"),
    "cut": lambda content, _: content[:-5],
    "nested without end": instead(b"[" * 100000),
    "no labels": text('"labels"', '"label"'),
    "labels are a list": instead(b'{"labels": [1]}'),
    "a label of no tissue": text("edema", "bone"),
    "a label without number": text('"edema": 1', '"edema": "1"'),
    "no channels": text('"channel_names"', '"channels"'),
    "a channel twice": text("T1gd", "T1w"),
    "a channel of no number": text('"2": "T1gd"', '"two": "T1gd"'),
    "another ending": text('".nii.gz"', '".mha"'),
}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Each kind of cohort once, prepared as it is when nothing is spoilt."""
    made: dict[str, Cohort] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainage_ray.pipeline.prepare.parallel_map", serial_map)

        def cohort(kind: str) -> Cohort:
            if kind not in made:
                folder = tmp_path_factory.mktemp(kind)
                made[kind] = Cohort(kind, folder, build(folder / "sound", kind))
                made[kind].sound = made[kind].prepare(made[kind].root)
                assert set(made[kind].sound["status"]) == {"done"}
            return made[kind]

        yield cohort


def spoilt(cohort: Cohort, file: str, spoil, name: str):
    """Return a copy of the cohort's tree in which one file is spoilt."""
    root = cohort.copy()
    path = root / cohort.kind / file
    path.write_bytes(spoil(path.read_bytes(), Random(zlib.crc32(name.encode()))))
    return root


def refused(cohort: Cohort, root) -> None:
    with pytest.raises(MetadataError) as error:
        cohort.prepare(root)
    assert str(root) in str(error.value)
    assert error.value.fix
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "spoil", "expected"), IMAGES, ids=[name for name, _, _ in IMAGES])
def test_one_spoilt_image_of_a_table(cohorts, name, spoil, expected):
    cohort = cohorts("table")
    cohort.check(cohort.prepare(spoilt(cohort, VICTIM_FILE["table"], spoil, name)), expected)


@pytest.mark.parametrize(("name", "spoil", "expected"), [i for i in IMAGES if i[0] in SOME], ids=SOME)
@pytest.mark.parametrize("kind", ["adni", "bids", "brats", "nnunet"])
def test_one_spoilt_image_of_other_sources(cohorts, kind, name, spoil, expected):
    cohort = cohorts(kind)
    cohort.check(
        cohort.prepare(spoilt(cohort, VICTIM_FILE[kind], spoil, name)), "any" if expected == "any" else expected
    )


@pytest.mark.parametrize("name", BAD_ROWS)
def test_one_spoilt_row(cohorts, name):
    cohort = cohorts("table")
    cohort.check(cohort.prepare(spoilt(cohort, "people.csv", text(ROW, BAD_ROWS[name]), name)), "failed")


@pytest.mark.parametrize("name", GOOD_TABLES)
def test_tables_that_look_otherwise(cohorts, name):
    cohort = cohorts("table")
    cohort.check(cohort.prepare(spoilt(cohort, "people.csv", GOOD_TABLES[name], name)), "done")


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_is_refused_as_a_whole(cohorts, name):
    cohort = cohorts("table")
    refused(cohort, spoilt(cohort, "people.csv", NO_TABLES[name], name))


@pytest.mark.parametrize("name", BAD_XML)
def test_one_spoilt_xml(cohorts, name):
    cohort = cohorts("adni")
    cohort.check(cohort.prepare(spoilt(cohort, f"ADNI_{XML}", BAD_XML[name], name)), "failed")


@pytest.mark.parametrize("name", BAD_BIDS)
def test_one_spoilt_participant(cohorts, name):
    cohort = cohorts("bids")
    cohort.check(cohort.prepare(spoilt(cohort, "participants.tsv", BAD_BIDS[name], name)), "failed")


@pytest.mark.parametrize("name", NO_BIDS)
def test_spoilt_participants_are_refused_as_a_whole(cohorts, name):
    cohort = cohorts("bids")
    refused(cohort, spoilt(cohort, "participants.tsv", NO_BIDS[name], name))


@pytest.mark.parametrize("name", NO_NNUNET)
def test_a_spoilt_dataset_json_is_refused_as_a_whole(cohorts, name):
    cohort = cohorts("nnunet")
    refused(cohort, spoilt(cohort, "dataset.json", NO_NNUNET[name], name))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("kind", "file"), [("table", "people.csv"), ("adni", f"ADNI_{XML}"), ("adni", "ADNIMERGE.csv"),
                                            ("bids", "participants.tsv"), ("nnunet", "dataset.json")])  # fmt: skip
def test_one_flipped_bit_of_what_is_said_about_scans(cohorts, kind, file, seed):
    """It may change what nobody can check, such as a digit of an age; it may not lose the others."""
    cohort = cohorts(kind)
    root = spoilt(cohort, file, flipped, f"{file} {seed}")
    try:
        ledger = cohort.prepare(root)
    except BrainageError:  # and no other
        return
    sound = cohort.sound
    assert len(ledger) >= len(sound) - 1  # a flipped line end makes one row of two
    assert (ledger["status"] == "done").sum() >= len(sound) - 2
    assert ledger.loc[ledger["status"] != "done", "reason"].all()


class TestTrees:
    """Files that are missing, doubled or elsewhere."""

    def changed(self, cohorts, kind, change, expected="failed"):
        cohort = cohorts(kind)
        root = cohort.copy()
        change(root / kind)
        cohort.check(cohort.prepare(root), expected)

    @pytest.mark.parametrize("kind", VICTIM_FILE)
    def test_a_missing_image(self, cohorts, kind):
        self.changed(cohorts, kind, lambda root: (root / VICTIM_FILE[kind]).unlink())

    @pytest.mark.parametrize("kind", VICTIM_FILE)
    def test_a_link_to_nothing(self, cohorts, kind):
        def change(root):
            (root / VICTIM_FILE[kind]).unlink()
            (root / VICTIM_FILE[kind]).symlink_to(root / "nothing")

        self.changed(cohorts, kind, change)

    @pytest.mark.parametrize("kind", VICTIM_FILE)
    def test_a_link_to_itself(self, cohorts, kind):
        def change(root):
            (root / VICTIM_FILE[kind]).unlink()
            (root / VICTIM_FILE[kind]).symlink_to(root / VICTIM_FILE[kind])

        self.changed(cohorts, kind, change)

    @pytest.mark.parametrize("kind", VICTIM_FILE)
    def test_a_folder_in_the_place_of_an_image(self, cohorts, kind):
        def change(root):
            (root / VICTIM_FILE[kind]).unlink()
            (root / VICTIM_FILE[kind]).mkdir()

        self.changed(cohorts, kind, change)

    @pytest.mark.parametrize("kind", ["adni", "bids", "brats"])
    def test_an_image_in_two_forms(self, cohorts, kind):
        def change(root):
            path = root / VICTIM_FILE[kind]
            path.with_suffix("").write_bytes(b"again")

        self.changed(cohorts, kind, change)

    def test_no_xml_and_nothing_else(self, cohorts):
        def change(root):
            (root / f"ADNI_{XML}").unlink()
            lines = (root / "ADNIMERGE.csv").read_text().splitlines()
            (root / "ADNIMERGE.csv").write_text("\n".join(line for line in lines if not line.startswith('"100"')))

        self.changed(cohorts, "adni", change)

    def test_no_xml_but_adnimerge(self, cohorts):
        self.changed(cohorts, "adni", lambda root: (root / f"ADNI_{XML}").unlink(), "done")

    @pytest.mark.parametrize("name", ["copy.xml", "deeper/ADNI_I100.xml"])
    @pytest.mark.parametrize(("end", "expected"), [(b"", "done"), (b"<!-- of another day -->", "failed")])
    def test_two_xml(self, cohorts, name, end, expected):
        def change(root):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes((root / f"ADNI_{XML}").read_bytes() + end)

        self.changed(cohorts, "adni", change, expected)

    @pytest.mark.parametrize("ages", [("-1", "failed"), ("999", "failed"), ("abc", "failed")])
    def test_a_bad_age_in_adnimerge_where_there_is_no_xml(self, cohorts, ages):
        def change(root):
            (root / f"ADNI_{XML}").unlink()
            path = root / "ADNIMERGE.csv"
            path.write_text(path.read_text().replace('"71.2"', f'"{ages[0]}"', 1))

        self.changed(cohorts, "adni", change, ages[1])

    def test_a_case_without_labels(self, cohorts):
        self.changed(cohorts, "nnunet", lambda root: (root / "labelsTr" / "C0.nii.gz").unlink())
        self.changed(cohorts, "brats", lambda root: (root / "C0" / "C0_seg.nii.gz").unlink())

    @pytest.mark.parametrize(("kind", "labels"), [("brats", "C0/C0_seg.nii.gz"), ("nnunet", "labelsTr/C0.nii.gz")])
    @pytest.mark.parametrize("name", ["empty", "truncated gzip, half", "one NaN", "4D", "zero affine", "infinite"])
    def test_spoilt_labels(self, cohorts, kind, labels, name):
        cohort = cohorts(kind)
        cohort.check(cohort.prepare(spoilt(cohort, labels, BAD_IMAGES[name], name)), "failed")

    def test_a_name_that_is_not_unicode(self, cohorts):
        cohort = cohorts("brats")
        root = cohort.copy()
        (root / "brats" / "C\udcff").mkdir()
        ledger = cohort.prepare(root)
        assert ledger["status"].tolist().count("failed") == 1
        assert len(ledger) == len(cohort.sound) + 1

    def test_a_bids_name_that_is_none(self, cohorts):
        def change(root):
            path = root / VICTIM_FILE["bids"]
            path.rename(path.with_name("sub-0_run-one_T1w.nii.gz"))

        self.changed(cohorts, "bids", change)


def test_an_image_twice_in_a_table_is_twice_on_the_record(cohorts):
    cohort = cohorts("table")
    ledger = cohort.prepare(spoilt(cohort, "people.csv", text(ROW, f"{ROW}\n{ROW.replace('60', '70')}"), "twice"))
    assert ledger.loc[ledger["image"] == cohort.victim, "status"].tolist() == ["failed", "failed"]
    assert (ledger["status"] == "done").sum() == len(cohort.sound) - 1


def test_there_are_at_least_two_hundred_mutations():
    trees = 5 * 4 + 3 + 2 + 2 + 3 + 2 + 12 + 2 + 1
    tables = sum(map(len, (BAD_ROWS, GOOD_TABLES, NO_TABLES, BAD_XML, BAD_BIDS, NO_BIDS, NO_NNUNET)))
    assert len(IMAGES) + 4 * len(SOME) + tables + 5 * 12 + trees >= 200

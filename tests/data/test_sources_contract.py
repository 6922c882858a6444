"""What holds for every source, asked of every source."""

from __future__ import annotations

from datetime import date

import pytest
from invented_adni import Image, add, add_nifti
from invented_downloads import ADNIMERGE, add_bids, add_nnunet, add_table, merge_row, write_lines
from test_sources_brats import add_case

from brainage_ray.config import (
    AdniSource,
    BidsSource,
    BratsSource,
    NnUnetSource,
    PhantomSource,
    SourceConfig,
    TableSource,
)
from brainage_ray.data import Found
from brainage_ray.data.sources import make_source, read_source, read_sources
from brainage_ray.errors import BrainageError, ConfigError

KINDS = ("adni", "adni without xml", "brats", "nnunet", "bids", "table", "parquet", "phantom")
ONE_BAD = tuple(kind for kind in KINDS if kind != "phantom")


def make(kind: str, root) -> SourceConfig:
    """A source with two inputs at least."""
    if kind == "phantom":
        return PhantomSource(kind="phantom", subjects=2, tumours=1, seed=3)
    if kind == "brats":
        add_case(root, "B2")
        add_case(root, "B1")
        return BratsSource(kind="brats", root=root)
    if kind == "nnunet":
        return NnUnetSource(kind="nnunet", root=add_nnunet(root, "B2", "B1"), cohort="Ours")
    if kind == "bids":
        people = "participant_id,age,sex\nsub-02,61,M\nsub-01,62.5,F\n"
        add_bids(root, people, "sub-02_ses-1_T1w", "sub-01_run-2_T1w", "sub-01_run-1_T1w")
        return BidsSource(kind="bids", root=root, cohort="Ours", default_diagnosis="CN")
    if kind == "adni":
        add(root, Image(), Image(image=9, day=date(2019, 1, 1)), Image("128_S_0042", 8, group="LMCI"))
        return AdniSource(kind="adni", root=root)
    if kind == "adni without xml":
        add_nifti(root, Image())
        add_nifti(root, Image(image=9))
        write_lines(root / "ADNIMERGE.csv", ADNIMERGE, merge_row())
        return AdniSource(kind="adni", root=root)
    table = add_table(root, ".parquet" if kind == "parquet" else ".csv")
    return TableSource(kind="table", table=table, cohort="Ours")


def spoil(kind: str, root) -> None:
    """Break one input of those that `make` made."""
    if kind == "adni":
        next(root.glob("*_I9.xml")).write_text("<half")
    elif kind == "adni without xml":
        add_nifti(root, Image(subject="301_S_6057", image=10))  # of whom the table knows nothing
        next(root.rglob("*_I9.nii.gz")).unlink()
    elif kind == "brats":
        (root / "B1" / "B1_seg.nii.gz").unlink()
    elif kind == "nnunet":
        (root / "labelsTr" / "B1.nii.gz").unlink()
    elif kind == "bids":
        (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-02\t999\tM\nsub-01\t62.5\tF\n")
    else:
        (root / "1.nii.gz").unlink()


@pytest.fixture(scope="module", params=KINDS)
def source_and_cache(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return make(request.param, root), root / "cache"


@pytest.fixture(scope="module")
def found(source_and_cache):
    return read_source(*source_and_cache)


@pytest.fixture(scope="module")
def scans(found):
    return found.scans


def test_each_source_has_one_way_to_be_read(source_and_cache):
    assert make_source(*source_and_cache).read() == read_source(*source_and_cache)


def test_a_sound_source_rejects_nothing(found):
    assert isinstance(found, Found)
    assert found.rejected == ()


@pytest.mark.parametrize("kind", ONE_BAD)
def test_one_bad_input_is_on_the_record_and_the_others_are_scans(kind, tmp_path):
    source = make(kind, tmp_path)
    before = {scan.image for scan in read_source(source, tmp_path).scans}
    spoil(kind, tmp_path)
    after = read_source(source, tmp_path)
    (bad,) = after.rejected
    assert bad.cohort == after.scans[0].cohort
    assert bad.image
    assert bad.subject
    assert str(tmp_path) in bad.reason or bad.image in bad.reason
    assert "\n" not in bad.reason
    assert len(after.scans) == len(before) - 1
    assert {scan.image for scan in after.scans} < before


@pytest.mark.parametrize("kind", ONE_BAD)
def test_two_sources_of_the_same_images_are_twins_and_neither_is_trusted(kind, tmp_path):
    source = make(kind, tmp_path)
    once, twice = read_source(source, tmp_path), read_sources([source, source], tmp_path)
    assert twice.scans == ()
    assert sorted(r.image for r in twice.rejected) == sorted(2 * [scan.image for scan in once.scans])
    assert all("is there twice" in r.reason for r in twice.rejected)


def test_image_ids_are_unique_in_their_cohort(scans):
    assert len({(scan.cohort, scan.image) for scan in scans}) == len(scans) > 0


def test_files_exist(scans):
    for scan in scans:
        assert all(path.is_file() for path in scan.files.values())
        assert scan.segmentation is None or scan.segmentation.is_file()


def test_modalities_follow_from_the_kind_of_scan(scans):
    for scan in scans:
        assert tuple(scan.files) == (("t1",) if scan.segmentation is None else ("flair", "t1", "t1ce", "t2"))


def test_ages_are_plausible(scans):
    assert all(0 <= scan.age_years <= 120 for scan in scans if scan.segmentation is None)


def test_sex_is_a_letter_or_unknown(scans):
    assert {scan.sex for scan in scans} <= {"M", "F", ""}


def test_people_and_splits_are_named(scans):
    for scan in scans:
        assert scan.person.startswith((f"{scan.cohort}/", "ADNI/"))
        assert scan.given_split in ("train", "validation", "test", "")


def test_the_order_is_by_subject_session_and_image(scans):
    keys = [(scan.cohort, scan.subject, scan.session, scan.image) for scan in scans]
    assert keys == sorted(keys)


def test_read_twice_gives_the_same(source_and_cache, found):
    assert read_source(*source_and_cache) == found


@pytest.mark.parametrize("kind", [AdniSource, BratsSource, NnUnetSource, BidsSource, TableSource])
def test_a_missing_root_is_the_persons_mistake(kind, tmp_path):
    name = kind.model_fields["kind"].annotation.__args__[0]
    field = {"table": tmp_path / "no.csv"} if kind is TableSource else {"root": tmp_path / "no"}
    source = kind(kind=name, cohort="X", **field)
    with pytest.raises(BrainageError, match=str(tmp_path / "no")) as error:
        read_source(source, tmp_path)
    assert error.value.exit_code == 2


class TestPhantom:
    def test_is_made_once_and_reports_its_progress(self, tmp_path):
        calls = []
        source = PhantomSource(kind="phantom", subjects=1, tumours=0)
        first = read_source(source, tmp_path, lambda done, total: calls.append((done, total)))
        again = read_source(source, tmp_path, lambda done, total: calls.append((done, total)))
        assert first == again
        assert calls == [(1, 1)]
        assert {scan.cohort for scan in first.scans} == {"PhantomADNI"}

    def test_its_people_are_not_those_of_adni(self, tmp_path):
        scans = read_source(PhantomSource(kind="phantom", subjects=2, tumours=0), tmp_path).scans
        assert all(scan.person.startswith("PhantomADNI/") for scan in scans)

    def test_another_seed_is_another_folder(self, tmp_path):
        folders = set()
        for seed in (0, 1):
            scans = read_source(PhantomSource(kind="phantom", subjects=1, tumours=0, seed=seed), tmp_path).scans
            folders.add(scans[0].files["t1"].relative_to(tmp_path).parts[0])
        assert len(folders) == 2

    def test_nothing_is_left_of_one_that_was_cut_short(self, tmp_path):
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        source = PhantomSource(kind="phantom", subjects=2, tumours=0)
        with pytest.raises(KeyboardInterrupt):
            read_source(source, tmp_path, stop)
        assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]  # which is empty, and waits for the next

    def test_none_at_all_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="subjects 0 and tumours 0"):
            read_source(PhantomSource(kind="phantom", subjects=0, tumours=0), tmp_path)

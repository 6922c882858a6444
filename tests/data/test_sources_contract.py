"""What holds for every source, asked of every source."""

from __future__ import annotations

from datetime import date

import pytest
from invented_adni import Image, add
from test_sources_brats import add_case

from brainage_ray.config import AdniSource, BratsSource, PhantomSource, SourceConfig, TableSource
from brainage_ray.data.sources import read_source
from brainage_ray.errors import BrainageError, ConfigError

KINDS = ("adni", "brats", "table", "phantom")


def make(kind: str, root) -> SourceConfig:
    if kind == "phantom":
        return PhantomSource(kind="phantom", subjects=2, tumours=1, seed=3)
    if kind == "brats":
        add_case(root, "B2")
        add_case(root, "B1")
        return BratsSource(kind="brats", root=root)
    if kind == "adni":
        add(root, Image(), Image(image=9, day=date(2019, 1, 1)), Image("128_S_0042", 8, group="LMCI"))
        return AdniSource(kind="adni", root=root)
    rows = ["subject,age_years,sex,diagnosis,image", "p2,61,M,CN,2.nii.gz", "p1,62,F,AD,1.nii.gz"]
    for name in ("1.nii.gz", "2.nii.gz"):
        (root / name).touch()
    (root / "people.csv").write_text("\n".join(rows))
    return TableSource(kind="table", table=root / "people.csv", cohort="Ours")


@pytest.fixture(scope="module", params=KINDS)
def source_and_cache(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return make(request.param, root), root / "cache"


@pytest.fixture(scope="module")
def scans(source_and_cache):
    return read_source(*source_and_cache)


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
        assert scan.person.startswith(f"{scan.cohort}/")
        assert scan.given_split in ("train", "validation", "test", "")


def test_the_order_is_by_subject_session_and_image(scans):
    keys = [(scan.cohort, scan.subject, scan.session, scan.image) for scan in scans]
    assert keys == sorted(keys)


def test_read_twice_gives_the_same(source_and_cache, scans):
    assert read_source(*source_and_cache) == scans


@pytest.mark.parametrize("kind", ["adni", "brats", "table"])
def test_a_missing_root_is_the_persons_mistake(kind, tmp_path):
    field = {"table": tmp_path / "no.csv", "cohort": "X"} if kind == "table" else {"root": tmp_path / "no"}
    source = {"adni": AdniSource, "brats": BratsSource, "table": TableSource}[kind](kind=kind, **field)
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
        assert {scan.cohort for scan in first} == {"PhantomADNI"}

    def test_its_people_are_not_those_of_adni(self, tmp_path):
        scans = read_source(PhantomSource(kind="phantom", subjects=2, tumours=0), tmp_path)
        assert all(scan.person.startswith("PhantomADNI/") for scan in scans)

    def test_another_seed_is_another_folder(self, tmp_path):
        folders = set()
        for seed in (0, 1):
            scans = read_source(PhantomSource(kind="phantom", subjects=1, tumours=0, seed=seed), tmp_path)
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

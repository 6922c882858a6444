from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainage_ray.config import PhantomSource
from brainage_ray.data.phantoms import planted_course, write_phantoms
from brainage_ray.data.phantoms.ageing import Course, personal_course
from brainage_ray.data.phantoms.anatomy import Tissues, grow, template
from brainage_ray.data.phantoms.cohort import draw_person, person_rng
from brainage_ray.data.phantoms.imaging import scan, t1_brightness
from brainage_ray.data.phantoms.tumours import BRIGHTNESS, CORE, ENHANCING, OEDEMA, brightness, grow_tumour
from brainage_ray.data.sources import outline_phantoms, read_source
from brainage_ray.data.sources.phantom import phantom_folder


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def person(seed: int, course: Course) -> Tissues:
    return grow(rng(seed), rng(100 + seed), course)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, subjects=3, tumours=1, seed=4)
    return folder


@pytest.fixture(scope="module")
def young() -> Tissues:
    return person(0, planted_course(55))


@pytest.fixture(scope="module")
def old() -> Tissues:
    return person(0, planted_course(90))


@pytest.fixture(scope="module")
def labels(young) -> list[np.ndarray]:
    return [grow_tumour(young, rng(seed)) for seed in range(6)]


def bytes_by_name(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


class TestTree:
    def test_same_seed_same_bytes_however_many_there_are(self, tree, tmp_path):
        write_phantoms(tmp_path, subjects=2, tumours=1, seed=4)
        few, more = bytes_by_name(tmp_path), bytes_by_name(tree)
        few_people = few.pop("ADNI/CROSSVAL.csv").splitlines()
        assert few.items() <= more.items()
        assert set(few_people) <= set(more["ADNI/CROSSVAL.csv"].splitlines())

    def test_another_seed_gives_other_images(self, tree, tmp_path):
        write_phantoms(tmp_path, subjects=1, tumours=0, seed=5)
        assert not set(bytes_by_name(tmp_path).values()) & set(bytes_by_name(tree).values())

    def test_progress_counts_people_and_cases(self, tmp_path):
        calls = []
        write_phantoms(tmp_path, 1, 1, 0, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(1, 2), (2, 2)]

    def test_without_people_there_is_no_tree_of_them(self, tmp_path):
        write_phantoms(tmp_path, subjects=0, tumours=0, seed=0)
        assert list(tmp_path.iterdir()) == []

    def test_crossval_lists_the_people_of_adni1(self, tree):
        people = [draw_person(4, index) for index in range(3)]
        rows = sorted((p.rid, p.training) for p in people if p.training is not None)
        assert rows
        text = "RID,TRAINING\n" + "".join(f"{rid},{training}\n" for rid, training in rows)
        assert (tree / "ADNI/CROSSVAL.csv").read_text() == text

    def test_every_image_has_its_xml_and_none_a_time_stamp(self, tree):
        images = sorted((tree / "ADNI").glob("*/*/*/I*/*.nii.gz"))
        assert len(images) == sum(len(draw_person(4, index).visits) for index in range(3))
        for path in images:
            assert len(list((tree / "ADNI").glob(f"*_{path.parent.name}.xml"))) == 1
            assert path.read_bytes()[4:8] == bytes(4)

    def test_a_scan_lies_on_the_templates_grid(self, tree):
        image = nib.load(next((tree / "ADNI").rglob("*.nii.gz")))
        assert image.shape == template().grid == (99, 117, 95)
        assert np.array_equal(image.affine, template().affine)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        values = np.asarray(image.dataobj)
        assert values.dtype == np.int16
        assert 1.2 < (values > 0).sum() * 8e-6 < 2.4  # litres

    def test_a_case_has_the_grid_and_axes_of_brats_at_half_the_resolution(self, tree):
        case = tree / "BraTS/BraTS20_Training_001"
        assert len(list(case.iterdir())) == 5
        for kind in (*BRIGHTNESS, "seg"):
            image = nib.load(case / f"BraTS20_Training_001_{kind}.nii.gz")
            assert image.shape == (120, 120, 78)
            assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert set(np.unique(image.dataobj)) == {0, 1, 2, 4}

    def test_a_case_lies_as_brats_does_with_the_front_at_low_y(self, tree):
        t1 = np.asarray(nib.load(tree / "BraTS/BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz").dataobj)
        brain = template().embed(template().maps[:3].sum(0) > 0.5)[::-1, ::-1]
        ours = (t1 > 0).any(axis=2)
        expected = np.zeros_like(ours)
        expected[10:109, 1:118] = brain.any(axis=2)
        assert (ours & expected).sum() / (ours | expected).sum() > 0.85


class TestAnatomy:
    def test_tissue_shares_sum_to_one_in_the_brain_and_zero_outside(self, young, old):
        for tissues in (young, old):
            total = tissues.csf + tissues.gm + tissues.wm
            np.testing.assert_allclose(total[tissues.brain], 1, atol=1e-4)
            assert not total[~tissues.brain].any()
            assert min(tissues.csf.min(), tissues.gm.min(), tissues.wm.min()) > -1e-5

    def test_fluid_grows_and_grey_matter_shrinks_with_age(self, young, old):
        assert old.csf.sum() > 1.3 * young.csf.sum()
        assert old.gm.sum() < 0.95 * young.gm.sum()

    def test_the_ventricles_grow(self, young, old):
        distance = template().push[4]
        around = (distance > 0) & (distance < 4)
        assert old.csf[around].mean() > 2 * young.csf[around].mean()

    def test_the_ventricles_are_the_lateral_ones(self):
        inside = template().embed(template().push[4] < 0)
        at = nib.affines.apply_affine(template().affine, np.argwhere(inside))
        assert 5 < inside.sum() * 8e-3 < 30  # ml
        assert abs(at[:, 0].mean()) < 3
        assert at[:, 0].min() < -15 < 15 < at[:, 0].max()

    def test_two_people_differ_more_than_two_scans_of_one(self):
        course = planted_course(60)
        first = grow(rng(0), rng(1), course)
        again = grow(rng(0), rng(2), course)
        other = grow(rng(3), rng(2), course)
        assert np.abs(first.wm - again.wm).mean() < np.abs(first.wm - other.wm).mean()


class TestImaging:
    def test_outside_the_brain_all_is_zero_and_inside_nothing(self, young):
        image = scan(t1_brightness(young, 1), young.brain, rng())
        assert np.array_equal(image > 0, young.brain)

    def test_the_scale_is_arbitrary(self, young):
        levels = [scan(t1_brightness(young, 1), young.brain, rng(seed)).max() for seed in range(6)]
        assert max(levels) > 2 * min(levels)

    def test_white_matter_is_brightest_fluid_darkest(self, young):
        bright = t1_brightness(young, 1)
        csf, gm, wm = (bright[share > 0.9].mean() for share in (young.csf, young.gm, young.wm))
        assert csf < 0.5 < gm < wm - 0.1

    def test_contrast_falls(self, young):
        full, half = t1_brightness(young, 1), t1_brightness(young, 0.5)
        np.testing.assert_allclose(full - half, 0.5 * 0.21 * young.wm, atol=1e-5)


class TestTumours:
    def test_all_three_parts_are_there_inside_the_brain(self, young, labels):
        for volume in labels:
            counts = {label: (volume == label).sum() for label in (CORE, OEDEMA, ENHANCING)}
            assert min(counts.values()) >= 20
            assert 3 < (volume > 0).sum() * 8e-3 < 150  # ml
            assert not volume[~young.brain].any()

    def test_the_core_lies_innermost(self, labels):
        for volume in labels:
            centre = np.argwhere(volume == CORE).mean(axis=0)
            reach = [np.linalg.norm(np.argwhere(volume == k) - centre, axis=1).mean() for k in (1, 4, 2)]
            assert reach == sorted(reach)

    @pytest.mark.parametrize(
        ("modality", "label", "brighter"),
        [("flair", OEDEMA, True), ("t2", OEDEMA, True), ("t1ce", ENHANCING, True), ("t1", CORE, False)],
    )
    def test_each_part_stands_out_where_it_should(self, young, labels, modality, label, brighter):
        image = brightness(young, labels[0], modality)
        white = image[(young.wm > 0.9) & (labels[0] == 0)].mean()
        assert (image[labels[0] == label].mean() > white * 1.1) == brighter

    def test_fluid_is_dark_on_flair_and_bright_on_t2(self, young, labels):
        fluid, white = young.csf > 0.9, young.wm > 0.9
        for modality, sign in (("flair", -1), ("t2", 1)):
            image = brightness(young, labels[0], modality)
            assert sign * (image[fluid].mean() - image[white].mean()) > 0.2


@pytest.mark.slow
def test_age_can_be_read_from_the_images_and_disease_adds_to_it():
    """A line through two volumes, fitted to healthy people, is a few years off; MCI and AD look older."""
    volumes, ages, diagnoses = [], [], []
    for index in range(60):
        who = draw_person(0, index)
        session = person_rng(0, index, stream=2)
        course = personal_course(who.visits[0].age_years, who.diagnosis, who.scatter)
        tissues = grow(person_rng(0, index, stream=1), session, course)
        image = scan(t1_brightness(tissues, course.contrast), tissues.brain, session).astype(float)
        volumes.append(_fluid_shares(image))
        ages.append(who.visits[0].age_years)
        diagnoses.append(who.diagnosis)
    design, age, diagnosis = np.column_stack([np.ones(60), volumes]), np.array(ages), np.array(diagnoses)
    healthy = diagnosis == "CN"
    weights = np.linalg.lstsq(design[healthy], age[healthy], rcond=None)[0]
    delta = design @ weights - age
    null = np.abs(age[healthy] - np.median(age[healthy])).mean()
    assert 1.5 < np.abs(delta[healthy]).mean() < 0.6 * null
    assert 1 < delta[diagnosis == "MCI"].mean() < 5.5
    assert 3.5 < delta[diagnosis == "AD"].mean() < 9


def _fluid_shares(image: np.ndarray) -> tuple[float, float]:
    """Return dark voxels near the ventricles and elsewhere, as shares of the brain."""
    brain = image > 0
    dark = brain & ((image - image[brain].mean()) / image[brain].std() < -1.6)
    near = template().push[4] < 12
    return (dark & near).sum() / brain.sum(), (dark & ~near).sum() / brain.sum()


def test_phantoms_in_outline_are_listed_as_those_with_images_are(tree, tmp_path):
    source = PhantomSource(kind="phantom", subjects=3, tumours=1, seed=4)
    outline_phantoms([source], tmp_path / "outlines")
    outline, whole = phantom_folder(source, tmp_path / "outlines"), phantom_folder(source, tmp_path / "whole")
    assert sorted(bytes_by_name(outline)) == sorted(bytes_by_name(tree))
    assert not any(content for name, content in bytes_by_name(outline).items() if name.endswith(".nii.gz"))
    whole.parent.mkdir()
    whole.symlink_to(tree)
    listed = [read_source(source, folder.parent) for folder in (outline, whole)]
    people = [[(scan.subject, scan.image, scan.age_years) for scan in found.scans] for found in listed]
    assert people[0] == people[1] != []

from __future__ import annotations

import io
import json
import math
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainage_ray.data.quality_table import rate_scans
from brainage_ray.report import qc_page
from brainage_ray.report.qc_montage import COLUMNS, OUTLINE, ROWS, montage, positions
from brainage_ray.report.qc_page import THUMBNAILS, QcInputs, reasons, write_qc_page

EVIL = "</script><b>'x'"


def disc(n=12, size=32, radius=12.0, hole=False):
    grid = np.indices((size, size)) - size / 2 + 0.5
    distance = (grid**2).sum(0)
    mask = (distance < radius**2) & ~(hole & (distance < 4))
    image = np.where(mask, 1 + np.random.default_rng(0).normal(size=(n, size, size)), 0)
    return image.astype(np.float16)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def orange(page):
    return np.abs(page - OUTLINE).sum(-1) < 150


def test_a_montage_has_a_frame_for_each_slice_and_an_outline_around_each_brain():
    page = pixels(montage(disc()))
    height, width = page.shape[0] // ROWS, page.shape[1] // COLUMNS
    assert height == width == 160
    middle = orange(page[height // 2, :width])
    assert 0 < middle[:30].sum() <= 4, "left edge of the first brain"
    assert not middle[40:120].any(), "no line inside"
    assert (page[2:6, 2:6] < 12).all(), "background is black"


def test_a_voxel_of_exactly_the_mean_is_no_hole():
    with_hole = orange(pixels(montage(disc(hole=True))))
    assert with_hole.sum() == pytest.approx(orange(pixels(montage(disc()))).sum(), rel=0.05)


def test_a_small_brain_is_drawn_small():
    width = [orange(pixels(montage(disc(radius=r))))[80, :160].nonzero()[0] for r in (6.0, 12.0)]
    assert np.ptp(width[0]) == pytest.approx(np.ptp(width[1]) / 2, rel=0.15)


def test_few_slices_leave_the_other_frames_black():
    page = pixels(montage(disc(n=3)))
    assert page[:160, : 3 * 160].max() > 100
    assert page[160:].max() < 12
    assert montage(np.zeros((1, 16, 16), np.float16)), "a slice without brain is no error"


@pytest.mark.parametrize("n", [1, 7, 8, 9, 40])
def test_slices_are_spread_from_first_to_last(n):
    chosen = positions(n)
    assert len(chosen) == min(n, COLUMNS * ROWS)
    assert (chosen[0], chosen[-1]) == (0, n - 1)
    assert np.ptp(np.diff(chosen)) <= 1 if n > 1 else True


def inputs_of(folder, n=6, **changes):
    manifest = pd.DataFrame({
        "cohort": "ADNI", "subject": [f"S{i}" for i in range(n)], "session": "m00",
        "image": [f"I{i}" for i in range(n)],
        "age_years": [70.0 + i for i in range(n - 1)] + [math.nan], "sex": "F", "diagnosis": ["CN", "MCI"] * (n // 2),
        "site": EVIL, "phase": "ADNI-1", "split": ["train", "test"] * (n // 2),
        "brain_volume_ml": [1400.0 + i for i in range(n - 1)] + [700.0], "snr": [20.0 + i % 3 for i in range(n)],
    })  # fmt: skip
    rated = rate_scans(manifest)
    (folder / THUMBNAILS).mkdir(parents=True)
    (folder / THUMBNAILS / "a.webp").write_bytes(montage(disc()))
    left_out = pd.DataFrame(
        [("ADNI", "S8", "m00", "J0", "excluded", "diagnosis SMC is null in label_map"),
         ("ADNI", "S9", "m00", "J 1", "excluded", "quality control: motion"),
         ("ADNI", "S7", "m00", "J2", "failed", "truncated")],
        columns=["cohort", "subject", "session", "image", "status", "reason"],
    )  # fmt: skip
    known = {
        "experiment": EVIL, "date": "2026-01-01", "scans": rated.assign(thumbnail="a.webp", why=reasons(rated)),
        "left_out": left_out, "undo": [("ADNI", "J 1")], "command": ["--experiment", "tiny"],
        "exclusions": "qc.csv", "order": "from the bottom upwards", "test_images": True,
    }  # fmt: skip
    return QcInputs(**{**known, **changes})


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.labels, self.text, self._in = [], [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[key] for key in ("href", "src") if key in values]
        self._in = values.get("id", tag)

    def handle_data(self, data):
        self.text[self._in] = self.text.get(self._in, "") + data


def read(folder):
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    return page, json.loads(page.text["data"])


def test_outliers_come_first_and_say_why(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    _page, data = read(tmp_path)
    first = data["scans"][0]
    assert (first["image"], first["outlier"]) == ("I5", True)
    assert re.match(r"Brain volume 700\sml: \d+\.\d robust sd below ADNI's median, 140\d\sml", first["why"])
    assert [scan["z"] for scan in data["scans"]] == sorted((scan["z"] for scan in data["scans"]), reverse=True)
    assert first["age"] is None
    assert first["zs"][0] < -3.5
    table = pd.read_csv(tmp_path / "scans.csv")
    assert list(table["image"]) == [scan["image"] for scan in data["scans"]]
    assert table["why"][0] == first["why"]


def test_words_of_the_sources_do_not_leave_their_place(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    page, data = read(tmp_path)
    assert f"site {EVIL}" in data["scans"][0]["facts"]
    assert EVIL in page.text["h1"]
    assert "<b>" not in (tmp_path / "index.html").read_text()


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    page, data = read(tmp_path)
    assert all(link.startswith("#") or (tmp_path / link).is_file() for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert all(scan["picture"].startswith("data:image/webp;base64,") for scan in data["scans"])


def test_beyond_a_number_of_scans_the_pictures_stay_files(tmp_path, monkeypatch):
    monkeypatch.setattr(qc_page, "INLINE", 5)
    write_qc_page(inputs_of(tmp_path), tmp_path)
    assert all(scan["picture"] == f"{THUMBNAILS}/a.webp" for scan in read(tmp_path)[1]["scans"])


def test_a_scan_that_was_not_opened_has_no_picture(tmp_path):
    inputs = inputs_of(tmp_path, test_images=False)
    closed = inputs.scans["thumbnail"].where(inputs.scans["split"] != "test", "")
    write_qc_page(replace(inputs, scans=inputs.scans.assign(thumbnail=closed)), tmp_path)
    page, data = read(tmp_path)
    assert all(bool(scan["picture"]) == (scan["split"] != "test") for scan in data["scans"])
    assert any("were not opened" in text for text in page.text.values())


def test_each_scan_has_its_command_and_each_exclusion_the_way_back(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    page, data = read(tmp_path)
    assert shlex.split(data["scans"][0]["exclude"]) == ["brainage", "qc", "exclude", "I5", "--experiment", "tiny"]
    assert page.text["code"].count("qc include") == 1
    assert "brainage qc include 'J 1' --experiment tiny" in page.text["code"]


def test_an_id_that_two_cohorts_have_is_named_with_its_cohort(tmp_path):
    inputs = inputs_of(tmp_path)
    twice = pd.concat([inputs.left_out, inputs.left_out.iloc[:1].assign(cohort="IXI", image="I5")])
    write_qc_page(replace(inputs, left_out=twice), tmp_path)
    commands = {scan["image"]: scan["exclude"] for scan in read(tmp_path)[1]["scans"]}
    assert "--cohort ADNI" in commands["I5"]
    assert "--cohort" not in commands["I4"]


def test_what_a_person_left_out_or_what_failed_comes_before_the_rules(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert html.index(">J 1<") < html.index(">J2<") < html.index(">J0<")
    assert len(pd.read_csv(tmp_path / "left_out.csv")) == 3


def test_a_number_that_no_scan_has_is_said_and_not_shown(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    _page, data = read(tmp_path)
    assert [measure["name"] for measure in data["measures"]] == ["Brain volume", "SNR"]
    assert "Not measured on these scans: overlap with the template." in (tmp_path / "index.html").read_text()


def drawn(folder, script=""):
    """The page's cards as a browser draws them after a script."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    page = (folder / "index.html").read_text()
    (folder / "driven.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}",
               "--virtual-time-budget=3000", "--dump-dom", f"file://{folder / 'driven.html'}"]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    cards = dom[dom.index('id="cards"') : dom.index('id="pages"')]
    return re.findall(r'<span class="image">([^<]*)', cards), dom


CHANGE = "const e = document.querySelector('{}'); e.{} = {}; e.dispatchEvent(new Event('input', {{bubbles: true}}));"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "images"),
    [
        ("", ["I5", "I2", "I4", "I0", "I1", "I3"]),
        (CHANGE.format("[data-filter=split]", "value", "'test'"), ["I5", "I1", "I3"]),
        (CHANGE.format("#only", "checked", "true"), ["I5"]),
        (CHANGE.format("#search", "value", "'s3 ADNI'"), ["I3"]),
        (CHANGE.format("#order", "value", "'age'"), ["I0", "I1", "I2", "I3", "I4", "I5"]),
        (CHANGE.format("#search", "value", "'nobody'"), []),
    ],
)
def test_a_browser_shows_what_is_asked_for(tmp_path, script, images):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    found, dom = drawn(tmp_path, script)
    assert sorted(found) == sorted(images)
    assert found[:1] == images[:1]
    assert f"{len(images)} of 6 scans" in dom


@pytest.mark.slow
def test_thousands_of_scans_are_drawn_a_page_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(qc_page, "INLINE", 5)
    write_qc_page(inputs_of(tmp_path, n=5000), tmp_path)
    found, dom = drawn(tmp_path, "document.getElementById('next').click();")
    assert len(found) == 48
    assert "Page 2 of 105" in dom


@pytest.mark.slow
def test_a_reason_is_quoted_for_the_shell(tmp_path):
    write_qc_page(inputs_of(tmp_path), tmp_path)
    reason = 'it\'s "half" $HOME'
    _, dom = drawn(tmp_path, CHANGE.format("input.reason", "value", json.dumps(reason)))
    code = re.search(r'<p class="command"><code>([^<]*)', dom).group(1)
    command = code.replace("&quot;", '"').replace("&amp;", "&")
    assert shlex.split(command)[-2:] == ["--reason", reason]

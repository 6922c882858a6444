from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_inputs import experiment_of, inputs_of, predictions_of, slices_of

from brainage_ray.report import write_report

DESCRIPTION = 'A <b>"bold"</b> & careful question'


def made_up():
    return inputs_of(2, 2, people=36, experiment=experiment_of(2, 2, description=DESCRIPTION), samples=slices_of(1))


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.tags, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[key] for key in ("href", "src", "xlink:href") if key in values]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    path = write_report(made_up(), folder)
    assert path == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def html(report):
    return (report / "index.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(report, html):
    page = Page(html)
    assert not {"script", "link", "iframe"} & set(page.tags)
    outside = [link for link in page.links if not link.startswith(("#", "data:"))]
    assert outside
    assert all((report / link).is_file() for link in outside), "only its own files of figures"
    assert "url(http" not in html


def test_ids_are_unique_and_each_inner_link_has_its_end(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    inner = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inner | set(re.findall(r"url\(#([^)]+)\)", html)) <= set(page.ids)


def test_what_a_person_wrote_is_escaped(html):
    assert "A &lt;b&gt;&#34;bold&#34;&lt;/b&gt; &amp; careful question" in html
    assert "<b>&" not in html


def test_figures_take_their_colours_from_the_page(html):
    svg = html[html.index("<svg") :]
    assert "var(--arm0)" in svg
    assert "var(--ink)" in svg
    assert "#0072b2" not in svg
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_every_section_is_there(html):
    for heading in ("Results", "Statistics", "Training", "Methods", "Data", "Record"):
        assert f"<h2>{heading}</h2>" in html
    for text in (
        "Null model",
        "Search history",
        "Sample slices",
        "Openings of the test split",
        "Weights that",
        "GPU-hours",
    ):
        assert text in html


def test_tables_are_numbered_without_a_gap_in_both_formats(report, html):
    numbers = [int(n) for n in re.findall(r"<b>Table (\d+)\.</b>", html)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 10
    text = (report / "report.md").read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^\*\*Table (\d+)\.", text, re.MULTILINE)] == numbers


def test_what_could_not_be_computed_is_said(html):
    assert "Not computed: the change over years (nobody was scanned twice" in html


def test_figures_and_tables_are_files(report):
    figures = {path.name for path in (report / "figures").iterdir()}
    names = {"mae", "brain_age", "delta", "search", "search_curves", "refit_curves", "dice", "slices"}
    names |= {"delta_corrected", "bland_altman", "arms", "pretraining_effect", "p_values", "shift", "importance",
              "parallel", "slice_positions", "coverage"}  # fmt: skip
    assert figures == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (report / "figures").glob("*.png"))
    tables = {path.stem for path in (report / "tables").glob("*.csv")}
    assert tables == {path.stem for path in (report / "tables").glob("*.tex")}
    assert tables == {
        "mae", "delta", "pairs", "choice", "settings", "transfers", "data", "ledger", "left_out", "test_openings",
        "time", "versions", "regression", "pretraining",
        "arms", "delta_tests", "contrasts", "people", "bias", "bias_delta",
        "bias_pairs", "shift_tests", "shift_sex", "shift_age_decade", "aggregation",
        "uncertainty", "uncertainty_scans", "audit",
    }  # fmt: skip


def test_markdown_has_the_same_content(report, html):
    text = (report / "report.md").read_text(encoding="utf-8")
    assert DESCRIPTION in text
    sentences = re.findall(r'<p class="lead">(.*?)</p>', html)
    assert len(sentences) == 3
    assert sentences[0] in text
    for question in re.findall(r'<h3 class="topic">([^<]+)</h3>', html):
        assert "### " + question.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'") in text
    for figure in re.findall(r"figures/\w+\.png", html):
        assert figure in text
    for caption in re.findall(r"<b>Table \d+\.</b> ([^<]+)</figcaption>", html):
        assert caption in text
    assert all((report / link).is_file() for link in re.findall(r"\]\((.+?)\)", text))


def test_the_smallest_experiment_has_a_page_too(tmp_path):
    """One arm, one seed, one diagnosis; nothing searched, pre-trained, left out or shown."""
    experiment = experiment_of(1, 1, evaluation={"diagnoses": ("CN",)})
    predictions = predictions_of(["unet"], 1, 30).query("diagnosis == 'CN'")
    inputs = inputs_of(experiment=experiment, predictions=predictions)
    ledger = inputs.ledger[inputs.ledger["status"] == "done"]
    bare = replace(
        inputs,
        studies={},
        curves={},
        pretraining=(),
        transfers=(),
        samples=(),
        test_openings=(),
        cases=None,
        ledger=ledger,
    )
    html = write_report(bare, tmp_path).read_text(encoding="utf-8")
    assert "cannot be compared between diagnoses: there is one group only" in html
    assert "unet, which no search chose" in html
    assert "Kruskal" not in html
    assert "Every pair of arms" not in html
    assert "Every pair" not in html
    assert {p.stem for p in (tmp_path / "figures").glob("*.svg")} == {
        "mae", "brain_age", "delta", "delta_corrected", "bland_altman", "shift", "slice_positions",
        "coverage",
    }  # fmt: skip


def test_the_same_inputs_give_the_same_bytes(report, tmp_path):
    write_report(made_up(), tmp_path)
    files = [path.relative_to(report) for path in report.rglob("*.*") if path.is_file()]
    assert [path for path in files if (report / path).read_bytes() != (tmp_path / path).read_bytes()] == []


def test_looks_for_quality_control_are_told_from_openings_for_models(tmp_path, html):
    inputs = made_up()
    look = {**inputs.test_openings[0], "model": "quality control"}
    after = write_report(replace(inputs, test_openings=[*inputs.test_openings, look]), tmp_path)
    sentence = re.search(r"The test split was opened \d+ times?, for [^.]*\.[^<]*", html).group()
    looked = f"{sentence} Its images were looked at 1 time for quality control."
    assert looked in after.read_text(encoding="utf-8")
    assert "looked at" not in html

"""Pages of invented results, which take ten seconds each: one that is sound, and one of everything that is marked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from report_inputs import audit_of, experiment_of, inputs_of, slices_of

from brainage_ray.report import ReportInputs, write_report

DESCRIPTION = 'A <b>"bold"</b> & careful question'


@dataclass(frozen=True)
class Page:
    """A page and what it was made of."""

    inputs: ReportInputs
    folder: Path

    def text(self, name: str = "index.html") -> str:
        return (self.folder / name).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def sound(tmp_path_factory) -> Page:
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    experiment = experiment_of(2, 2, description=DESCRIPTION)
    inputs = inputs_of(2, 2, people=36, experiment=experiment, samples=slices_of(1))
    assert write_report(inputs, folder) == folder / "index.html"
    return Page(inputs, folder)


@pytest.fixture(scope="session")
def leaking(tmp_path_factory) -> Page:
    """People leak, and somebody looked at the images of the test split."""
    inputs = inputs_of(2, 2, people=36, audit=audit_of(contents="same"))
    look = {**inputs.test_openings[0], "model": "quality control"}
    page = Page(replace(inputs, test_openings=[*inputs.test_openings, look]), tmp_path_factory.mktemp("leaking"))
    write_report(page.inputs, page.folder)
    return page

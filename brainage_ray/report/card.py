"""The model card: what a model is, whom it learned from and how well it does, from facts alone.

After Mitchell et al. 2019, Model Cards for Model Reporting (doi:10.1145/3287560.3287596).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from brainage_ray.config import Experiment
from brainage_ray.report.methods import backbone_name, choice_sentence, slices_sentence
from brainage_ray.report.text import count, listed, mean_sd, number

CARD = "card.md"
"""Name of the file."""
_SITES = 30
"""That are written out; more are counted."""


@dataclass(frozen=True)
class People:
    """The scans that something was trained or tested on, and whose they are."""

    scans: int
    people: int
    age_years: tuple[float, float] | None
    """Youngest and oldest; None where there is no scan."""
    age_mean_years: float | None
    age_sd_years: float | None
    sex: Mapping[str, int]
    """People by sex."""
    diagnoses: Mapping[str, int]
    """Scans by diagnosis."""
    cohorts: Mapping[str, int]
    """Scans by cohort."""
    sites: Mapping[str, int]
    """Scans by site; none where no site is known."""


@dataclass(frozen=True)
class Stage:
    """A stage of pre-training, and whom its weights had seen when it was over."""

    name: str
    about: str
    people: int
    """Known by hash, all stages before included."""
    images: int
    unknown: tuple[str, ...]
    """Weights of which nobody says whom they saw."""


@dataclass(frozen=True)
class Delta:
    """The brain-age delta of the test scans of one diagnosis, years."""

    diagnosis: str
    n_scans: int
    mean_years: float | None
    corrected_years: float | None
    """With regression to the mean taken out; None where that is not done."""


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors, years."""

    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    mean: float | None
    sd: float | None
    ensemble: float | None
    """Of the brain ages averaged over the seeds."""
    scans: int


@dataclass(frozen=True)
class ModelCard:
    """All that a card says."""

    experiment: str
    arm: str
    champion: bool
    verdict: str
    backbone: Mapping[str, Any]
    """As in the experiment."""
    weights: int
    """Numbers in one seed's network."""
    seeds: tuple[int, ...]
    trained_on: People
    tested_on: People
    preprocessing: Mapping[str, Any]
    """All settings."""
    steps: tuple[str, ...]
    """Before slices, with the versions of what they stand on."""
    preprocessing_version: int
    epochs: int
    params: Mapping[str, Any]
    """What the search chose, by dotted path."""
    chosen: str
    """Among what, and by what rule."""
    validation: Errors
    """Of the search's models of the chosen settings, which were not fitted on the validation split."""
    validation_mae_years: float
    """That the choice was made on."""
    test: Errors
    null_mae_years: float | None
    """Of the median age of the training scans."""
    deltas: tuple[Delta, ...]
    audit: str
    leak: str
    """A sentence where people leak, else empty."""
    chain: tuple[Stage, ...]
    data_hash: str
    commit: str
    date: str
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    def facts(self) -> dict[str, Any]:
        """Return what `brainage models` lists, as plain JSON values."""
        ages = self.trained_on.age_years
        return {
            "seeds": list(self.seeds),
            "validation_mae": self.validation_mae_years,
            "validation_mae_sd": self.validation.sd,
            "test_mae": self.test.mean,
            "test_mae_sd": self.test.sd,
            "test_mae_ensemble": self.test.ensemble,
            "deltas": {d.diagnosis: [d.mean_years, d.corrected_years] for d in self.deltas},
            "age_years": list(ages) if ages else None,
            "scans": self.trained_on.scans,
            "leak": self.leak,
            "data_hash": self.data_hash,
            "commit": self.commit,
        }


def card_text(card: ModelCard, experiment: Experiment) -> str:
    """Write a card as Markdown.

    Args:
        card: the facts.
        experiment: as it ran; gives the sentences on slices and on the choice.
    """
    environment = Environment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"number": number, "counts": _counts, "plain": plain}
    template = environment.from_string(files("brainage_ray.report").joinpath("card.md.j2").read_text("utf-8"))
    return template.render(
        card=card,
        backbone=backbone_name(experiment.arms[card.arm].backbone),
        slices=slices_sentence(experiment.data.preprocessing),
        choice=choice_sentence(experiment),
        validation=_errors(card.validation),
        test=_errors(card.test),
        count=count,
        listed=listed,
    )


def plain(text: object) -> str:
    """Return text that a user wrote so that Markdown neither breaks a table nor takes it for markup."""
    words = " ".join(str(text).split())
    for character in "\\`*_|<>[]#":
        words = words.replace(character, f"\\{character}")
    return words


def _errors(errors: Errors) -> str:
    """Write mean (sd), each seed and the ensemble."""
    if errors.mean is None:
        return "no scans count"
    each = ", ".join(f"seed {seed}: {number(mae)}" for seed, mae in zip(errors.seeds, errors.per_seed, strict=True))
    return f"{mean_sd(errors.mean, errors.sd)} ({each}; ensemble {number(errors.ensemble)}; {errors.scans} scans)"


def _counts(counts: Mapping[str, int]) -> str:
    """Write counts, the largest first."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    more = len(ordered) - _SITES
    shown = ", ".join(f"{plain(name) or 'unknown'}: {n:,}" for name, n in ordered[:_SITES])
    return f"{shown} and {more} more" if more > 0 else shown or "none known"

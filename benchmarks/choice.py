"""How often a winner is declared among simulated arms: equal ones, and one that is truly better.

An arm is searched by trials of one seed, its finalists are trained again with fresh seeds, one is chosen, and the arms
are compared: `one_study` is all of that. The peer compares what the search itself found, the best trial of each arm
with its one seed, by paired t-tests over people and Holm. Everything is drawn anew in each repetition, the people too.

python -m benchmarks.choice WORKSPACE/EXPERIMENT prints the noise of an experiment's finalists.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_rel

from benchmarks.measure import Row
from brainage_ray.config import Experiment
from brainage_ray.data import SliceStore
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.arms import compare_arms
from brainage_ray.evaluation.choice import ALPHA, Candidate, Verdict, choose, declare_winner
from brainage_ray.evaluation.comparisons import adjust_p
from brainage_ray.evaluation.predictions import baseline_scans

REPEATS = 2_000
DRAWS = 300
"""Of the bootstrap in each repetition: the standard error that it estimates is known to 4 % then."""


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a person's absolute error, years."""

    person: float = 2.9
    """Between people, shared by all arms: a hard person is hard for all."""
    settings: float = 1.2
    """Between people, of the settings of a trial."""
    seed: float = 0.6
    """Between seeds, the same for all people."""
    rest: float = 1.5
    """Between people and seeds."""
    quality: float = 0.0
    """How much worse than the best there are a trial's settings are: half-normal. What a search finds is luck then."""


QUICKSTART = Noise(person=2.1, settings=0.0, seed=0.0, rest=1.4)
"""Of the quickstart's two arms, two finalists of five seeds each, six healthy people who count in the validation split.
With so few, what is smaller than half a year may come out as 0. Noise() has more of all, to be careful."""


@dataclass(frozen=True)
class Simulation:
    """A search of some arms."""

    arms: int = 2
    people: int = 60
    trials: int = 20
    seeds_per_trial: int = 1
    finalists: int = 3
    """0: the best trial is taken, and its own seeds judge the arm."""
    seeds: int = 3
    """Fresh ones of each finalist."""
    better_years: float = 0.0
    """By which the first arm is truly better than all others."""
    noise: Noise = Noise()


@dataclass(frozen=True)
class Outcome:
    """Of one repetition."""

    verdict: Verdict
    naive: bool
    """Whether the peer calls an arm better than another."""
    optimism_years: float
    """Fresh value less search value of the chosen trials, mean over the arms."""


def one_study(how: Simulation, rng: np.random.Generator) -> Outcome:
    """Search, train the finalists again, choose and compare."""
    person = rng.normal(0, how.noise.person, how.people)
    found = {f"arm{i}": _search(10 - how.better_years * (i == 0) + person, how, rng) for i in range(how.arms)}
    fresh = {arm: chosen for arm, (chosen, _, _) in found.items()}
    seed = int(rng.integers(2**32))
    comparisons = compare_arms(fresh, np.zeros(how.people), np.arange(how.people), DRAWS, seed)
    verdict = declare_winner({arm: float(errors.mean()) for arm, errors in fresh.items()}, comparisons)
    optimism = float(np.mean([errors.mean() - value for errors, value, _ in found.values()]))
    return Outcome(verdict, _naive([best for _, _, best in found.values()]), optimism)


def _search(
    level: NDArray[np.float64], how: Simulation, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Return the chosen settings' fresh errors [n_seeds, n_people] and search value, and the best trial's errors."""
    noise = how.noise
    worse = np.abs(rng.normal(0, 1, (how.trials, 1))) * noise.quality
    settings = level + worse + rng.normal(0, noise.settings, (how.trials, how.people))
    searched = np.array([_train(settings, noise, rng) for _ in range(how.seeds_per_trial)])
    values = searched.mean(axis=(0, 2))
    best = np.argsort(values)[: how.finalists or 1]
    if not how.finalists:
        return searched[:, best[0]], float(values[best[0]]), searched[0, best[0]]
    fresh = [np.array([_train(settings[i], noise, rng) for _ in range(how.seeds)]) for i in best]
    chosen = choose([Candidate(i, float(errors.mean())) for i, errors in enumerate(fresh)], "best").name
    return fresh[chosen], float(values[best[chosen]]), searched[0, best[0]]


def _train(settings: NDArray[np.float64], noise: Noise, rng: np.random.Generator) -> NDArray[np.float64]:
    """Add what a seed does to each trial."""
    seed = rng.normal(0, noise.seed, (*settings.shape[:-1], 1))
    return np.asarray(settings + seed + rng.normal(0, noise.rest, settings.shape))


def _naive(errors: Sequence[NDArray[np.float64]]) -> bool:
    p = np.array([[ttest_rel(a, b).pvalue] for a, b in combinations(errors, 2)])
    return bool((adjust_p(p, "holm") < ALPHA).any())


def rates(how: Simulation, repeats: int = REPEATS, seed: int = 0) -> dict[str, float]:
    """Return shares: any arm called better, a winner, the right one, the peer; and the mean optimism, years."""
    rng = np.random.default_rng(seed)
    gc.freeze()  # statsmodels collects garbage at each correction: 0.6 s where much is in memory
    try:
        found = [one_study(how, rng) for _ in range(repeats)]
    finally:
        gc.unfreeze()
    return {
        "any": float(np.mean([len(one.verdict.undecided) < how.arms for one in found])),
        "winner": float(np.mean([one.verdict.winner is not None for one in found])),
        "right": float(np.mean([one.verdict.winner == "arm0" for one in found])),
        "naive": float(np.mean([one.naive for one in found])),
        "optimism": float(np.mean([one.optimism_years for one in found])),
    }


def measure() -> list[Row]:
    """Simulate equal arms, with and without luck in what the search finds, and an arm that is a year better."""
    rows = []
    for luck, name in ((0.0, ""), (0.5, ", settings of unequal quality")):
        for arms in (2, 6):
            found = rates(Simulation(arms=arms, noise=Noise(quality=luck)))
            what = f"{arms} equal arms{name}: any called better, {REPEATS:,} simulations"
            rows.append(_row(what, found["any"], found["naive"], "<= 5 %", more=False))
            if arms == 2:
                what = f"search value too low{name}: mean optimism that fresh seeds take out"
                rows.append(Row(what, "years", found["optimism"]))
    found = rates(Simulation(seeds_per_trial=5, finalists=0))
    what = f"2 equal arms, no finalists, 5 seeds a trial: any called better, {REPEATS:,} simulations"
    rows.append(_row(what, found["any"], found["naive"], "<= 5 %", more=False))
    for name, noise, people, seeds in (
        ("quickstart", QUICKSTART, 6, 5), ("quickstart", QUICKSTART, 6, 10), ("quickstart", QUICKSTART, 20, 5),
        ("more", Noise(), 60, 3), ("more", Noise(), 60, 10),
    ):  # fmt: skip
        found = rates(Simulation(people=people, seeds=seeds, better_years=1.0, noise=noise))
        what = (
            f"1 of 2 arms a year better, noise: {name}, {people} people, {seeds} fresh seeds: it is declared the winner"
        )
        rows.append(_row(what, found["right"], None, "", more=True))
    return rows


def _row(what: str, ours: float, peer: float | None, goal: str, more: bool) -> Row:
    name = "paired t-tests over people of the best trials, Holm" if peer is not None else ""
    return Row(what, "%", 100 * ours, None if peer is None else 100 * peer, more, goal, name)


def noise_of(errors: NDArray[np.float64]) -> Noise:
    """Estimate the noise from absolute errors, years, by moments.

    Args:
        errors: [n_settings, n_seeds, n_people]; 2 or more of each.
    """
    settings, seeds, people = errors.shape
    by_seed = errors.mean(axis=2, keepdims=True)
    by_person = errors.mean(axis=1, keepdims=True)
    left = errors - by_seed - by_person + errors.mean(axis=(1, 2), keepdims=True)
    rest = (left**2).sum() / (settings * (seeds - 1) * (people - 1))
    seed = by_seed.var(axis=1, ddof=1).mean() - rest / people
    of_settings = by_person[:, 0] - by_person.mean(axis=2)
    own = (of_settings - of_settings.mean(axis=0)).var(axis=0, ddof=1).mean() - rest / seeds
    person = of_settings.mean(axis=0).var(ddof=1) - max(own, 0) / settings - rest / seeds / settings
    return Noise(*(float(np.sqrt(max(part, 0))) for part in (person, own, seed, rest)))


def read_errors(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Read the errors of the finalists of each arm at their last epoch, [n_settings, n_seeds, n_people], years.

    Args:
        folder: of an experiment whose finalists have been trained.
    """
    experiment = Experiment.model_validate_json((folder / "experiment.json").read_text())
    store = max((folder / "store").iterdir(), key=lambda path: path.stat().st_mtime)
    split = SliceStore.open(store / "age").split("validation")
    healthy = split.take(split.scans["diagnosis"].isin(experiment.training.diagnoses).to_numpy())
    scans = healthy.scans.reset_index(drop=True)
    rows, truth = baseline_scans(scans).index.to_numpy(), scans["age_years"].to_numpy()
    rule, found = experiment.evaluation.aggregate, {}
    for arm in experiment.arms:
        trials = sorted((folder / "search").glob(f"{arm}-*/finalists/*/trials/*"))
        slices = [
            [np.load(file)[-1] for file in sorted(trial.glob("seed-*/validation_slices.npy"))] for trial in trials
        ]
        ages = [[aggregate_slices(one, healthy.slice_scan, len(scans), rule) for one in trial] for trial in slices]
        found[arm] = np.abs(np.array(ages) - truth)[..., rows]
    return found


if __name__ == "__main__":
    for arm, errors in read_errors(Path(sys.argv[1])).items():
        print(arm, json.dumps({"people": errors.shape[2], **asdict(noise_of(errors))}))

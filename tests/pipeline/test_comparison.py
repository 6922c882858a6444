"""Made folders of finished experiments, put side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainage_ray.config import load_experiment
from brainage_ray.errors import ConfigError, DataError
from brainage_ray.evaluation.arms import compare_arms
from brainage_ray.evaluation.summary import summarise
from brainage_ray.pipeline import compare_experiments

QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
PEOPLE = 12
COMMITS = ("a" * 40, "b" * 40)


def predictions_of(arms=("unet", "unet+brats"), seed=0, people=range(PEOPLE), seeds=2):
    """Every person has a second scan a year later, which counts for no MAE; every third is CN, MCI or AD."""
    rng = np.random.default_rng(seed)
    rows = []
    for arm in arms:
        for model in range(seeds):
            for i in people:
                for year in (0, 1):
                    age = 60.0 + i + year
                    error = float(rng.normal(0, 4))
                    rows.append((
                        "X", f"s{i:02}", f"m{year}", f"I{i}{year}", f"X/{i}", "1", "test", ("CN", "MCI", "AD")[i % 3],
                        "F", age, arm, model, age + error, error,
                    ))  # fmt: skip
    columns = ["cohort", "subject", "session", "image", "person", "site", "split", "diagnosis", "sex", "age_years",
               "arm", "seed", "brain_age_years", "brain_age_delta_years"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def finish(folder, predictions, overrides=(), **changes):
    """Write the folder of a finished experiment."""
    experiment = load_experiment(QUICKSTART, [f"name={folder.name}", *overrides])
    ages = np.array([60.0, 70.0])
    summary = summarise(predictions, experiment.evaluation, experiment.statistics, ages)
    arms = list(predictions["arm"].unique())
    results = {
        "commit": COMMITS[0],
        "selected": {
            arm: {"trial": 0, "params": {"training.optimizer.lr": 0.001}, "epochs": 7, "validation_mae": 3.0 + i}
            for i, arm in enumerate(arms)
        },
        "summary": summary.to_json(),
        "models": [{"arm": arm, "seed": 0, "commit": COMMITS[1]} for arm in arms],
        "data_hash": "0123456789abcdef",
    } | changes
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(experiment.model_dump_json())
    (folder / "results.json").write_text(json.dumps(results))
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    return folder


@pytest.fixture
def runs(tmp_path):
    """A workspace with two experiments on the same people."""
    finish(tmp_path / "runs" / "one", predictions_of(seed=0))
    finish(tmp_path / "runs" / "two", predictions_of(seed=1), ["training.batch_size=16"])
    return tmp_path / "runs"


def healthy_baselines(predictions, arm):
    rows = predictions[
        (predictions["arm"] == arm) & (predictions["diagnosis"] == "CN") & (predictions["session"] == "m0")
    ]
    return rows.pivot_table(index="subject", columns="seed", values="brain_age_years").to_numpy().T


def test_every_arm_has_its_numbers(runs):
    found = compare_experiments(["one", "two"], runs)
    assert found.experiments == ("one", "two")
    assert [(arm.experiment, arm.arm) for arm in found.arms] == [
        (name, arm) for name in ("one", "two") for arm in ("unet", "unet+brats")
    ]
    summary = json.loads((runs / "two" / "results.json").read_text())["summary"]["arms"][1]
    arm = found.arms[3]
    assert arm.validation_mae_years == 4.0
    assert (arm.mae.mean_years, arm.mae.n_scans) == (summary["mae"]["mean_years"], PEOPLE // 3)
    assert (arm.pair.first, arm.pair.second, arm.pair.auc_mean) == ("MCI", "AD", summary["pairs"][2]["auc_mean"])
    assert (arm.settings, arm.epochs) == ({"training.optimizer.lr": 0.001}, 7)
    assert (arm.data_hash, arm.commits) == ("0123456789abcdef", (COMMITS[1],))


def test_results_without_the_models_commits_name_the_one_that_wrote_them(runs, tmp_path):
    finish(tmp_path / "old", predictions_of(), models=[{"arm": "unet", "seed": 0}])
    arms = compare_experiments(["one", str(tmp_path / "old")], runs).arms
    assert [arm.commits for arm in arms] == [(COMMITS[1],)] * 2 + [(COMMITS[0],)] * 2


def test_fields_that_differ_are_side_by_side(tmp_path):
    finish(tmp_path / "one", predictions_of())
    arms = json.dumps({"unet": {"backbone": {"kind": "unet", "width": 0.125, "depth": 5}}})
    overrides = [f"arms={arms}", "pretraining={}", "training.batch_size=16", "data.sources.0.subjects=61"]
    finish(tmp_path / "two", predictions_of(["unet"]), [*overrides, 'description="other"'])
    found = compare_experiments(["one", "two"], tmp_path).differences
    assert found["training.batch_size"] == ("8", "16")
    assert found["arms.unet.backbone.width"] == ("0.25", "0.125")
    assert found["arms.unet+brats.backbone.kind"] == ('"unet"', None)
    assert found["data.sources.0.subjects"] == ("60", "61")
    assert found["pretraining"] == (None, "{}")
    assert not {"name", "description", "training.max_epochs"} & found.keys()


def test_arms_of_one_name_are_compared_on_the_scans_that_count(runs):
    found = compare_experiments(["one", "two"], runs)
    assert found.unpaired == ()
    assert [(p.arm, p.n_scans, p.comparison.n_persons) for p in found.paired] == [("unet", 4, 4), ("unet+brats", 4, 4)]
    healthy = np.arange(0, PEOPLE, 3)
    for paired in found.paired:
        both = {f"{i}": healthy_baselines(predictions_of(seed=i), paired.arm) for i in (0, 1)}
        expected = compare_arms(both, 60.0 + healthy, healthy.astype(str))[0]
        assert (paired.comparison.first, paired.comparison.second) == ("one", "two")
        assert paired.comparison.difference_years == pytest.approx(expected.difference_years, abs=1e-12)
        assert paired.comparison.interval == pytest.approx(expected.interval, abs=1e-12)
        assert paired.comparison.p == pytest.approx(expected.p)
    p = sorted(paired.comparison.p for paired in found.paired)
    holm = sorted(paired.comparison.p_adjusted for paired in found.paired)
    assert holm == pytest.approx([min(1, 2 * p[0]), max(min(1, 2 * p[0]), p[1])])


def test_swapping_the_experiments_turns_the_difference(runs):
    there, back = (compare_experiments(order, runs).paired for order in (["one", "two"], ["two", "one"]))
    for a, b in zip(there, back, strict=True):
        assert a.comparison.difference_years == pytest.approx(-b.comparison.difference_years)


def test_the_order_of_the_rows_and_of_the_arms_changes_nothing(runs, tmp_path):
    shuffled = predictions_of(seed=1).sample(frac=1, random_state=0)
    finish(tmp_path / "two", shuffled, ["training.batch_size=16"])
    there, here = (compare_experiments(["one", two], runs).paired for two in ("two", str(tmp_path / "two")))
    by_arm = {paired.arm: paired.comparison.difference_years for paired in here}
    assert {paired.arm: paired.comparison.difference_years for paired in there} == pytest.approx(by_arm)


def older(predictions):
    return predictions.assign(age_years=predictions["age_years"] + 0.5)


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (predictions_of(people=range(100, 112)), "the people differ (they share 0 test scans, of 4 and 4)"),
        (predictions_of(people=range(9)), "the people differ (they share 3 test scans, of 4 and 3)"),
        (older(predictions_of()), "4 of their 4 test scans have another age or person"),
        (predictions_of().assign(person="Y/" + predictions_of()["subject"]), "4 of their 4 test scans have another"),
        (predictions_of(["resnet"]), "no arm of one has its name in the other"),
    ],
)
def test_what_cannot_be_paired_is_said(runs, tmp_path, predictions, words):
    finish(tmp_path / "three", predictions)
    found = compare_experiments(["one", str(tmp_path / "three")], runs)
    assert found.paired == ()
    (sentence,) = found.unpaired
    assert words in sentence
    assert sentence.startswith("one and three: ")
    assert sentence.endswith(", so no paired comparison is made.")


def test_of_three_the_two_that_share_people_are_paired(runs):
    finish(runs / "three", predictions_of(people=range(100, 112)))
    found = compare_experiments(["three", "one", "two"], runs)
    assert {(p.comparison.first, p.comparison.second) for p in found.paired} == {("one", "two")}
    assert len(found.unpaired) == 2


def test_one_seed_leaves_no_interval_and_its_reason(runs):
    finish(runs / "three", predictions_of(seeds=1))
    paired = compare_experiments(["one", "three"], runs).paired[0].comparison
    assert (paired.interval, paired.p, paired.p_adjusted) == (None, None, None)
    assert "one seed of three" in paired.reason


def test_experiments_of_one_name_are_told_apart_as_they_were_written(runs, tmp_path):
    other = str(finish(tmp_path / "other" / "one", predictions_of(seed=2)))
    assert compare_experiments(["one", other, "two"], runs).experiments == ("one", other, "two")


def test_experiments_that_are_not_there_are_named_with_those_that_are(runs, tmp_path):
    finish(runs / "half", predictions_of())
    (runs / "half" / "results.json").unlink()
    for names, words in (
        (["one", "tow"], ["no experiment tow", f"Finished in {runs}: one, two"]),
        (["one", "half"], ["half is not finished", "results.json", "one, two"]),
        (["one"], ["two experiments or more"]),
        (["one", "two", str(runs / "one")], ["the same experiment"]),
    ):
        with pytest.raises(ConfigError) as caught:
            compare_experiments(names, runs)
        assert all(word in str(caught.value) for word in words)
    with pytest.raises(ConfigError, match="None is finished"):
        compare_experiments(["one", "two"], tmp_path)


def spoil(name, change):
    def spoiled(folder):
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return spoiled


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        (lambda folder: (folder / "results.json").write_text("{"), ["results.json", "JSON"]),
        (lambda folder: (folder / "experiment.json").write_text("[]"), ["experiment.json is no experiment"]),
        (lambda folder: (folder / "predictions.parquet").write_bytes(b"x"), ["predictions.parquet cannot be read"]),
        (lambda folder: predictions_of().drop(columns="person").to_parquet(folder / "predictions.parquet"),
         ["predictions.parquet", "person"]),
        (lambda folder: predictions_of(seed=5).to_parquet(folder / "predictions.parquet"), ["arm unet has the MAE"]),
        (lambda folder: predictions_of(["unet"]).to_parquet(folder / "predictions.parquet"), ["have other arms"]),
        (spoil("results.json", lambda r: {k: v for k, v in r.items() if k != "data_hash"}), ["data_hash"]),
        (spoil("experiment.json", lambda e: e | {"evaluation": {"one_scan_per_subject": "all"}}), ["4 scans", "8 in"]),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_named(runs, spoiled, words):
    spoiled(runs / "two")
    with pytest.raises(DataError) as caught:
        compare_experiments(["one", "two"], runs)
    assert all(word in str(caught.value) for word in [str(runs / "two"), *words])


def test_through_the_command_line(commands, runs, tmp_path):
    def brainage(*arguments):
        return commands.run("compare", *arguments, "--workspace", runs)

    done = brainage("one", runs / "two", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert all(
        word in done.stdout for word in ("unet+brats", "training.batch_size", "MCI vs AD", "bbbbbbbb", "01234567")
    )
    assert f"Comparison: {tmp_path / 'out' / 'index.html'}" in done.stdout
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"index.html", "report.md", "tables/arms.csv", "tables/settings.csv", "tables/paired.csv"}
    wrong = brainage("one", "tow")
    assert wrong.returncode == 2
    assert "Finished in" in wrong.stderr
    assert "Traceback" not in wrong.stderr

"""One small experiment from phantoms to predictions, through every stage, for real."""

from __future__ import annotations

import doctest
import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

import brainage_ray
from brainage_ray.config import load_experiment
from brainage_ray.data import SliceStore
from brainage_ray.data.checksums import read_sums
from brainage_ray.errors import ConfigError, DataError, EngineError
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.predictions import COLUMNS, baseline_scans
from brainage_ray.pipeline import predict, pull, read_model_folder, read_status, run_experiment
from brainage_ray.pipeline.session import _alone
from brainage_ray.tracking import has_models, list_models

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXPERIMENT = {
    "name": "tiny",
    "data": {
        "sources": [{"kind": "phantom", "subjects": 24, "tumours": 3, "seed": 0}],
        "preprocessing": {
            "voxel_mm": 4.0, "slice_range_mm": [60.0, 100.0], "slice_step_mm": 20.0, "slice_shape": [48, 48],
        },
        "split": {"rule": "by_subject", "fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    },
    "arms": {
        "unet": {"backbone": {"kind": "unet", "width": 0.125, "depth": 3}},
        "unet+brats": {"backbone": {"kind": "unet", "width": 0.125, "depth": 3}, "pretraining": ["brats"]},
    },
    "pretraining": {"brats": {"kind": "segmentation", "training": {"max_epochs": 1, "batch_size": 8}}},
    "training": {"max_epochs": 2, "batch_size": 8},
    "search": {
        "space": {"parameters": {"training.optimizer.lr": {"type": "categorical", "choices": [1.0e-3, 1.0e-2]}}},
        "sampler": "grid",
    },
    "refit": {"seeds": [0, 1], "workers": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    return path


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def result(file, workspace, cluster):
    return run_experiment(load_experiment(file), workspace)


def test_the_examples_of_the_five_names_for_notebooks_run(result, file, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("experiment.yaml").symlink_to(file)
    Path("runs").symlink_to(workspace)
    Path("scan.nii.gz").symlink_to(next(workspace.glob("cache/phantoms/*/ADNI/**/*.nii.gz")))
    names = {name: getattr(brainage_ray, name) for name in brainage_ray.__all__}
    assert sorted(names) == ["audit", "load_experiment", "load_model", "predict", "run_experiment"]
    tests = [test for name in names for test in doctest.DocTestFinder().find(names[name], name, globs=dict(names))]
    for test in tests:
        assert test.examples
        assert doctest.DocTestRunner().run(test).failed == 0


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    ignored = {".lock", "experiment.json"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ignored]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def test_every_stage_leaves_what_the_readme_names(result, workspace):
    folder = workspace / "tiny"
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert list(predictions.columns) == COLUMNS
    assert set(predictions["arm"]) == {"unet", "unet+brats"}
    assert set(predictions["seed"]) == {0, 1}
    assert (predictions["split"] == "test").all()
    assert (predictions["brain_age_years"] - predictions["age_years"]).equals(predictions["brain_age_delta_years"])
    results = json.loads((folder / "results.json").read_text())
    assert results["champion"] == result.champion in {"unet", "unet+brats"}
    assert results["winner"] is None
    assert "one seed of unet+brats: its spread between seeds is unknown" in result.verdict
    assert result.page == folder / "report" / "index.html"
    assert "<svg" in result.page.read_text()
    assert (folder / "report" / "report.md").is_file()
    assert (workspace / "mlflow.db").is_file()


def test_no_person_is_in_two_splits_and_every_input_is_on_the_record(result, workspace):
    (store,) = (workspace / "tiny" / "store").iterdir()
    parts = [pd.read_parquet(store / name / "manifest.parquet") for name in ("age", "test")]
    assert [sorted(part["split"].unique()) for part in parts] == [["train", "validation"], ["test"]]
    manifest = pd.concat(parts)
    assert (manifest.groupby("person")["split"].nunique() == 1).all()
    ledger = pd.read_parquet(store / "ledger.parquet")
    cases = pd.read_parquet(store / "segmentation" / "manifest.parquet")
    assert (ledger["status"] == "done").sum() == len(manifest) + len(cases)
    assert set(ledger["status"]) <= {"done", "excluded"}


def test_the_bias_is_corrected_by_what_the_chosen_trials_read_in_the_validation_split(result, workspace):
    folder = workspace / "tiny"
    (store,) = (folder / "store").iterdir()
    split = SliceStore.open(store / "age").split("validation")
    healthy = split.take((split.scans["diagnosis"] == "CN").to_numpy())
    chosen = json.loads((folder / "results.json").read_text())["selected"]
    for arm in json.loads((folder / "analysis.json").read_text())["arms"]:
        trial = chosen[arm["arm"]]
        (study,) = folder.glob(f"search/{arm['arm']}-*")
        read = np.load(study / "trials" / f"{trial['trial']:03d}" / "seed-0" / "validation_slices.npy")
        assert len(read) == 2  # epochs
        ages = aggregate_slices(read[trial["epochs"] - 1], healthy.slice_scan, len(healthy.scans), "median")
        first = baseline_scans(healthy.scans).index
        mae = np.abs(ages - healthy.scans["age_years"])[first].mean()
        assert mae == pytest.approx(trial["validation_mae"], rel=1e-5)
        assert arm["corrected"]["correction"]["n"] == len(first)


def test_the_rules_of_aggregation_stand_beside_the_results(result, workspace):
    folder = workspace / "tiny"
    chosen = json.loads((folder / "results.json").read_text())["selected"]
    analysis = json.loads((folder / "analysis.json").read_text())
    for arm in result.summary.arms:
        slices = analysis["slices"][arm.arm]
        rules = {row["rule"]: row for row in slices["rules"]}
        assert slices["used"] == "median"
        assert rules["median"]["test_years"] == pytest.approx(arm.mae.mean_years)
        assert rules["median"]["validation_years"] == pytest.approx(chosen[arm.arm]["validation_mae"], rel=1e-5)
        assert [place["position_mm"] for place in slices["positions"]] == [60.0, 80.0]
        assert {place["n_slices"] for place in slices["positions"]} == {arm.mae.n_scans}


def test_the_test_split_was_opened_once_per_final_model_and_for_the_baseline(result, workspace):
    lines = (workspace / "tiny" / "test_ledger.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert len({json.loads(line)["model"] for line in lines}) == 5


def test_the_classical_baseline_stands_beside_the_networks(result, workspace):
    ridge = json.loads((workspace / "tiny" / "analysis.json").read_text())["ridge"]
    assert ridge["n_scans"] == result.summary.null.n_scans
    assert ridge["n_training"] == result.summary.null.n_training
    assert 0 < ridge["mae_years"] < result.summary.null.mae_years


def test_mlflow_holds_the_nested_runs(result, workspace):
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}

    def path(run) -> str:
        parent = runs.get(run.data.tags.get("mlflow.parentRunId"))
        return f"{path(parent)}/{run.info.run_name}" if parent else run.info.run_name

    paths = sorted(path(run) for run in runs.values())
    for arm in ("unet", "unet+brats"):
        assert sum(p.startswith(f"tiny/{arm}/study/") for p in paths) == 2
        assert sum(p.startswith(f"tiny/{arm}/refit/") for p in paths) == 2
    assert sum(p.startswith("tiny/pretraining/unet+brats/") for p in paths) == 1
    assert all(run.info.status == "FINISHED" for run in runs.values())


def test_a_second_run_does_nothing_again_though_the_commit_is_another(result, file, workspace, monkeypatch):
    for module in ("pretrain", "search"):
        monkeypatch.setattr(f"brainage_ray.pipeline.{module}.this_commit", lambda: "f" * 40)
    before = contents(workspace)
    again = run_experiment(load_experiment(file), workspace)
    assert contents(workspace) == before
    assert again.summary == result.summary


def test_status_counts_what_is_done(result, file, workspace, tmp_path):
    rows = read_status(load_experiment(file), workspace)
    assert [row.stage for row in rows] == [
        "prepare", "pretrain", "search", "search", "refit", "refit", "evaluate", "report",
    ]  # fmt: skip
    assert all(row.done == row.total for row in rows)
    assert "years" in rows[2].note
    fresh = read_status(load_experiment(file), tmp_path)
    assert [row.total for row in fresh] == [row.total for row in rows]
    assert all(row.done == 0 for row in fresh)
    assert not list(tmp_path.iterdir())


def test_a_new_seed_redoes_just_the_refit_that_needs_it(result, file, workspace, tmp_path):
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    before = contents(copy / "tiny")
    run_experiment(load_experiment(file, ["refit.seeds=[0, 1, 2]"]), copy)
    after = contents(copy / "tiny")
    changed = {path for path in after if after[path] != before.get(path)}
    parts = {Path(path).relative_to(copy / "tiny").parts[0] for path in changed}
    assert not parts & {"store", "pretraining", "search"}
    assert all("seed-2" in path for path in changed if "/refit/" in path)
    assert len((copy / "tiny" / "test_ledger.jsonl").read_text().splitlines()) == 7


def test_a_report_of_other_settings_is_not_done(result, file, workspace):
    rows = read_status(load_experiment(file, ["statistics.correction=none"]), workspace)
    assert {row.stage: row.done for row in rows}["report"] == 0
    assert all(row.done == row.total for row in rows[:-1])


def test_the_mae_is_of_those_who_train_whatever_groups_the_delta_table_has(result, file, workspace, tmp_path):
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    other = run_experiment(load_experiment(file, ['evaluation.diagnoses=["AD"]']), copy)
    assert [arm.mae for arm in other.summary.arms] == [arm.mae for arm in result.summary.arms]
    assert [arm.mae.n_scans > 0 for arm in other.summary.arms] == [True, True]
    assert other.summary.n_ungrouped_scans > 0
    predictions = pd.read_parquet(copy / "tiny" / "predictions.parquet")
    assert set(predictions["diagnosis"]) > {"AD"}
    assert "of other diagnoses are in no table" in other.page.read_text()
    assert len((copy / "tiny" / "test_ledger.jsonl").read_text().splitlines()) == 5


def test_a_database_that_was_deleted_is_filled_again(result, file, workspace, tmp_path):
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    (copy / "mlflow.db").unlink()
    shutil.rmtree(copy / "artifacts")
    assert pull("tiny", tmp_path / "from the folder", copy).arm == result.champion
    run_experiment(load_experiment(file), copy)
    assert has_models(copy, "tiny")
    assert len(list((copy / "artifacts" / "tiny").glob("*/artifacts/report/index.html"))) == 1
    assert len((copy / "tiny" / "test_ledger.jsonl").read_text().splitlines()) == 5
    shutil.rmtree(copy / "tiny" / "models")
    assert pull("tiny", tmp_path / "from mlflow", copy).arm == result.champion


def test_what_went_over_into_the_encoders_and_who_trained_is_on_the_record(result, workspace):
    fits = [json.loads(path.read_text()) for path in (workspace / "tiny" / "refit").glob("*/*/result.json")]
    transfers = [fit["transfer"] for fit in fits]
    assert transfers.count(None) == 2
    assert all(t["loaded"] > 0 == t["missing"] == t["left_out"] for t in transfers if t)
    (commit,) = {fit["commit"] for fit in fits}
    assert json.loads((workspace / "tiny" / "models" / "unet" / "model.json").read_text())["commit"] == commit
    page = (workspace / "tiny" / "report" / "report.md").read_text()
    assert commit in page
    assert f"| unet+brats | brats | {next(t for t in transfers if t)['loaded']} | 0 | 0 |" in page


def test_pulled_models_predict_new_scans(result, workspace, tmp_path):
    described = pull("tiny/unet+brats", tmp_path / "models", workspace)
    assert [member.seed for member in described.members] == [0, 1]
    scans = sorted(workspace.glob("cache/phantoms/*/ADNI/**/*.nii.gz"))[:2]
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(scans[0].read_bytes()[:1000])
    table = predict(tmp_path / "models", [scans[0], broken, scans[1], tmp_path / "absent.nii.gz"])
    assert list(table["error"] == "") == [True, False, True, False]
    good = table[table["error"] == ""]
    assert good["brain_age_years"].between(0, 200).all()
    assert good["brain_age_sd_years"].notna().all()
    assert "broken.nii.gz" in table["error"][1]
    assert "absent.nii.gz" in table["error"][3]


def test_predictions_of_a_pulled_model_are_those_of_the_evaluation(result, workspace, tmp_path):
    predictions = pd.read_parquet(workspace / "tiny" / "predictions.parquet")
    row = predictions[predictions["arm"] == result.champion].iloc[0]
    pull("tiny", tmp_path / "models", workspace)
    (scan,) = workspace.glob(f"cache/phantoms/*/ADNI/**/*{row['image']}.nii.gz")
    table = predict(tmp_path / "models", [scan])
    seeds = predictions[(predictions["arm"] == result.champion) & (predictions["image"] == row["image"])]
    assert table["brain_age_years"][0] == pytest.approx(seeds["brain_age_years"].mean(), abs=0.01)


def test_a_run_registers_each_arm_and_seed_and_one_champion(result, workspace, tmp_path):
    rows = {row["arm"]: row for row in list_models(workspace, "tiny")}
    assert [arm for arm, row in rows.items() if row["champion"]] == [result.champion]
    for arm in result.summary.arms:
        row = rows[arm.arm]
        assert (row["test_mae"], row["test_mae_sd"], row["seeds"]) == (arm.mae.mean_years, arm.mae.sd_years, [0, 1])
        assert row["validation_mae"] == result.validation_mae[arm.arm]
        assert [row["deltas"][group.diagnosis][0] for group in arm.deltas] == [g.mean_years for g in arm.deltas]
    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    (model,) = client.search_registered_models()
    assert len(client.search_model_versions("name = 'tiny'")) == 6
    assert sorted(model.aliases) == [
        "champion", "unet", "unet-seed-0", "unet-seed-1", "unet_brats", "unet_brats-seed-0", "unet_brats-seed-1",
    ]  # fmt: skip
    tags = client.get_model_version_by_alias("tiny", "champion").tags
    signature = mlflow.models.ModelSignature.from_dict(json.loads(tags["signature"]))
    assert signature.inputs.input_names() == ["image"]
    assert "brain_age_years" in signature.outputs.input_names()
    assert json.loads(tags["input_example"])["columns"] == ["image"]
    pull("models:/tiny@unet_brats", tmp_path / "models", workspace)
    assert read_model_folder(tmp_path / "models").arm == "unet+brats"


def test_the_card_says_what_the_results_say(result, workspace):
    folder = workspace / "tiny" / "models" / "unet+brats"
    card, facts = (folder / "card.md").read_text(), json.loads((folder / "card.json").read_text())
    arm = result.summary.arm("unet+brats")
    for number in (*arm.mae.per_seed_years, arm.mae.mean_years, result.validation_mae["unet+brats"]):
        assert f"{number:.2f}" in card
    store = next((workspace / "tiny" / "store").iterdir())
    learned = pd.read_parquet(store / "age" / "manifest.parquet").query("diagnosis == 'CN'")
    assert (facts["trained_on"]["scans"], facts["trained_on"]["people"]) == (len(learned), learned["person"].nunique())
    assert facts["trained_on"]["age_years"] == [learned["age_years"].min(), learned["age_years"].max()]
    assert facts["chain"][0]["name"] == "brats"
    assert facts["chain"][0]["people"] > 0
    assert str(workspace) not in card
    assert sorted(read_sums(folder)) == sorted({path.name for path in folder.iterdir()} - {"SHA256SUMS"})


def test_pull_says_what_there_is(result, workspace, tmp_path):
    with pytest.raises(ConfigError, match=r"no models of tiny/resnet .* tiny/unet, tiny/unet\+brats\."):
        pull("tiny/resnet", tmp_path / "a", workspace)
    with pytest.raises(ConfigError, match=r"no models of nothing/unet .* tiny/unet, "):
        pull("nothing/unet", tmp_path / "deep" / "b", workspace)
    with pytest.raises(ConfigError, match=r"Finished here: tiny"):
        pull("nothing", tmp_path / "c", workspace)
    assert not list(tmp_path.iterdir()), "a pull that fails leaves nothing"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="holds no model"):
        pull("tiny", tmp_path / "full", workspace)
    assert (tmp_path / "full" / "thesis.txt").is_file()


def test_two_runs_at_once_are_refused(result, file, workspace):
    with _alone(workspace / "tiny"), pytest.raises(EngineError, match="Another process is running tiny"):
        run_experiment(load_experiment(file), workspace)


def test_a_broken_scan_stops_the_run_and_keeps_the_others(result, file, workspace, tmp_path):
    source = next(iter(workspace.glob("cache/phantoms/*/ADNI"))).parent
    shutil.copytree(source, tmp_path / "data")
    victim = sorted((tmp_path / "data" / "ADNI").rglob("*.nii.gz"))[0]
    victim.write_bytes(victim.read_bytes()[:2000])
    sources = [{"kind": "adni", "root": str(tmp_path / "data" / "ADNI")},
               {"kind": "brats", "root": str(tmp_path / "data" / "BraTS")}]  # fmt: skip
    change = [f"data.sources={json.dumps(sources)}"]
    with pytest.raises(DataError, match=rf"1 of \d+ scans .*{victim.name}.*max_failures=1"):
        run_experiment(load_experiment(file, change), tmp_path / "ws", until="prepare")
    run_experiment(load_experiment(file, [*change, "data.max_failures=1"]), tmp_path / "ws", until="prepare")
    (ledger,) = (tmp_path / "ws" / "tiny" / "store").glob("*/ledger.parquet")
    table = pd.read_parquet(ledger)
    assert (table["status"] == "failed").sum() == 1

"""The command as a user types it: what it prints, its exit codes, and never a stack trace."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VERBS = ["run", "prepare", "pretrain", "search", "refit", "evaluate", "report", "status", "audit", "compare", "qc",
         "ui",
         "models", "pull", "predict", "phantom"]  # fmt: skip


@pytest.fixture
def brainage(commands):
    return commands.run


def complaint(done) -> str:
    """The one paragraph on stderr, as one line."""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("brainage: ")
    return " ".join(done.stderr.split())


@pytest.fixture
def people(tmp_path):
    """Six small brains in a table, and an experiment on them."""
    rng = np.random.default_rng(0)
    (tmp_path / "scans").mkdir()
    grid = np.indices((40, 48, 40)) - np.array([20, 24, 20])[:, None, None, None]
    mask = (grid**2).sum(0) < 17**2
    for i in range(6):
        volume = (100 + 10 * rng.standard_normal(mask.shape)) * mask
        image = nib.Nifti1Image(volume.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
        nib.save(image, tmp_path / "scans" / f"s{i}.nii.gz")
    rows = [f"s{i},{50 + i},F,CN,scans/s{i}.nii.gz" for i in range(6)]
    table = tmp_path / "people.csv"
    table.write_text("\n".join(["subject,age_years,sex,diagnosis,image", *rows]) + "\n")
    experiment = {
        "name": "small",
        "data": {
            "sources": [{"kind": "table", "table": "people.csv", "cohort": "X"}],
            "preprocessing": {"voxel_mm": 4.0, "slice_range_mm": [40.0, 100.0], "slice_step_mm": 20.0,
                              "slice_shape": [48, 48]},
            "split": {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
        },
        "arms": {"unet": {"backbone": {"kind": "unet", "width": 0.125, "depth": 3}}},
        "search": {"space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}},
    }  # fmt: skip
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path


def test_help_names_every_verb_and_needs_no_torch(brainage):
    done = brainage("--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    heavy = "{'torch', 'ray', 'mlflow', 'pandas'}"
    code = f"import sys; import brainage_ray.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(brainage, verb):
    done = brainage(verb, "--help")
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    assert f"brainage {verb}" in words
    assert "--debug" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "experiments/quickstrat.yaml"], ["quickstrat.yaml", "Did you mean", "quickstart.yaml"]),
        (["run", "experiments/quickstart.yaml", "--set", "trainin.max_epochs=3"], ["trainin", '"training"']),
        (["run", "experiments/quickstart.yaml", "--until", "serach"], ["serach", "search"]),
        (["run", "experiments/quickstart.yaml", "--set", "training.max_epochs=0"], ["training.max_epochs", "0"]),
        (["search", "experiments/quickstart.yaml", "--set", "search.sampler=grid"], ["choices"]),
        (["run", "experiments/quickstart.yaml", "--until", "serach", "--dry-run"], ["serach", "search"]),
        (["pull", "nothing/unet", "--workspace", "no-such-folder", "--to", "{tmp}/a"], ["no-such-folder", "nothing"]),
        (["pull", "nothing", "--workspace", "no-such-folder", "--to", "{tmp}/a"], ["no-such-folder", "nothing"]),
        (["pull", "small@", "--to", "{tmp}/a"], ["small@ names no models", "EXPERIMENT@ALIAS"]),
        (["models", "--workspace", "no-such-folder"], ["no-such-folder"]),
        (["ui", "--workspace", "no-such-folder"], ["no-such-folder"]),
        (["predict", "scan.nii.gz", "--model", "no-such-model"], ["no-such-model", "brainage pull"]),
        (["phantom", "--out", "brainage_ray"], ["brainage_ray", "not empty"]),
        (["report"], ["nothing to report", "report EXPERIMENT", "report --runs RUNS.csv --out DIR"]),
        (["report", "x.yaml", "--runs", "runs.csv", "--out", "{tmp}/a"], ["both", "x.yaml", "runs.csv", "Write:"]),
        (["report", "--runs", "runs.csv"], ["runs.csv needs a folder", "--out DIR"]),
        (["report", "--runs", "runs.csv", "--out", "{tmp}/a", "--set", "a=1"], ["--set a=1", "runs.csv"]),
        (["report", "x.yaml", "--out", "{tmp}/a"], ["--out", "--runs RUNS.csv"]),
        (["report", "--runs", "no-such.csv", "--out", "{tmp}/a"], ["no file no-such.csv"]),
        (["compare", "a", "--workspace", "no-such-folder"], ["two experiments", "compare RUN RUN"]),
        (["compare", "a", "b", "--workspace", "no-such-folder"], ["no experiment a", "no-such-folder"]),
    ],
)
def test_what_the_user_wrote_wrong_is_exit_code_2(brainage, arguments, words, tmp_path):
    done = brainage(*(argument.format(tmp=tmp_path) for argument in arguments), cwd=ROOT)
    assert done.returncode in ({2} if arguments[0] not in ("ui", "models") else {1, 2})
    for word in words:
        assert word in complaint(done)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["run"], ["nonsense"], ["run", "x.yaml", "--no-such-option"], ["phantom"]])
def test_wrong_usage_is_exit_code_2(brainage, arguments):
    done = brainage(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


BAD_TABLES = {
    "age that is no number": (lambda t: t.replace("51,", "fifty,", 1), ["people.csv", "line 3", "fifty"]),
    "age out of range": (lambda t: t.replace("51,", "510,", 1), ["people.csv", "510"]),
    "unknown label": (lambda t: t.replace("CN", "XX", 1), ["XX", "label_map"]),
    "missing column": (lambda t: t.replace("age_years", "age"), ["people.csv", "age_years"]),
    "missing image": (lambda t: t.replace("s3.nii.gz", "s33.nii.gz"), ["s33.nii.gz"]),
    "empty": (lambda t: "", ["people.csv"]),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_what_is_wrong_in_a_table_is_named(brainage, people, name):
    change, words = BAD_TABLES[name]
    table = people.parent / "people.csv"
    table.write_text(change(table.read_text()))
    done = brainage("prepare", people, "--workspace", people.parent / "runs")
    assert done.returncode == 2
    for word in words:
        assert word in complaint(done)


@pytest.mark.ray
def test_a_truncated_scan_is_exit_code_1_and_the_others_are_kept(brainage, people):
    scan = people.parent / "scans" / "s2.nii.gz"
    scan.write_bytes(scan.read_bytes()[:5000])
    done = brainage("prepare", people, "--workspace", people.parent / "runs")
    assert done.returncode == 1
    message = complaint(done)
    assert "s2.nii.gz" in message
    assert "max_failures" in message
    assert len(list((people.parent / "runs" / "cache" / "scans").glob("*/*.json"))) == 5
    again = brainage("prepare", people, "--workspace", people.parent / "runs", "--set", "data.max_failures=1")
    assert again.returncode == 0, again.stderr


@pytest.mark.ray
def test_debug_shows_the_trace(brainage, people):
    (people.parent / "scans" / "s2.nii.gz").write_bytes(gzip.compress(b"no scan"))
    done = brainage("prepare", people, "--workspace", people.parent / "runs", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_workspace_that_cannot_be_written_is_named(brainage, people):
    file = people.parent / "file"
    file.write_text("")
    done = brainage("prepare", people, "--workspace", file)
    assert done.returncode == 1
    assert str(file) in complaint(done)


def test_an_address_where_no_cluster_is_fails_in_words(brainage, people):
    done = brainage("prepare", people, "--workspace", people.parent / "runs", "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1" in complaint(done)


def test_phantoms_are_written_as_asked(brainage, tmp_path):
    done = brainage("phantom", "--out", tmp_path / "p", "--subjects", "2", "--tumours", "1", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "p" / "ADNI").glob("*_S_*"))) >= 2
    assert len(list((tmp_path / "p" / "BraTS").glob("*/*_seg.nii.gz"))) == 1


def test_tables_from_runs_say_where_they_lie_and_what_disagrees(brainage, tmp_path):
    head = "Group,lasttest_ps_MAE,besttest_ps_MAE,test_mci_ad_pvalue,val_mci_ad_pvalue"
    rows = [f"UNet,{mae},,0.091," for mae in (1.0, 2.0)]
    (tmp_path / "runs.csv").write_text("\n".join([head, *rows]))
    done = brainage("report", "--runs", tmp_path / "runs.csv", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["unet", "Refitted test MAE", "mean", "1.500", "3.138"],
        ["unet", "Refitted test MAE", "sd", "0.707", "0.069"],
        ["unet", "Refitted test p", "max", "0.091", "0.107"],
    ]
    assert "2 runs of 1 group give 4 of the published numbers; 1 agrees to 3 decimals, 3 do not." in done.stdout
    assert f"Tables: {tmp_path / 'out' / 'index.html'}" in done.stdout
    assert (tmp_path / "out" / "index.html").is_file()


def test_ctrl_c_says_that_nothing_is_lost(tmp_path):
    code = "import sys; from brainage_ray.cli import main; sys.argv[0] = 'brainage'; main()"
    command = [sys.executable, "-c", code, "phantom", "--out", str(tmp_path / "p"), "--subjects", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert "phantoms: 5" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, complaints = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopped" in complaints
    assert "Traceback" not in complaints


def test_local_weights_that_are_missing_are_said_before_anything_is_made(brainage, people, tmp_path):
    arm = {"resnet": {"backbone": {"kind": "resnet50"}, "pretraining": ["imagenet"]}}
    weights = {"imagenet": {"kind": "weights", "uri": str(tmp_path / "w.pth"), "sha256": "0676ba61"}}
    change = [f"--set=arms={json.dumps(arm)}", f"--set=pretraining={json.dumps(weights)}"]
    done = brainage("run", people, *change, "--workspace", tmp_path / "runs")
    assert done.returncode == 2
    assert "w.pth" in complaint(done)
    assert not (tmp_path / "runs" / "small" / "store").exists()


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_dry_run_goes_no_further_than_it_is_told_and_touches_nothing(brainage, people, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    done = brainage("run", people, "--dry-run", "--until", "search", "--set", 'description="[/b]"')
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path) == before
    assert "likely" in done.stdout
    assert "small [/b]" in done.stdout
    assert "search" in done.stdout
    assert "refit" not in done.stdout


def test_a_dry_run_of_the_preparation_asks_for_nothing_of_the_search(brainage, people):
    done = brainage("run", people, "--dry-run", "--until", "prepare", "--set", "search.start_from=/no-such-folder")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("setting", ["search.workers_per_trial=3000", "resources.gpus_per_trial=1000"])
def test_what_this_machine_cannot_place_is_refused_without_loading_torch_ray_or_optuna(people, setting):
    code = f"""if True:
        import sys
        from brainage_ray.cli import main
        sys.argv = ["brainage", "run", {str(people)!r}, "--set", {setting!r}]
        exit_now = lambda code: sys.exit(str((code, sorted({{"torch", "ray", "optuna", "mlflow"}} & set(sys.modules)))))
        sys.modules["brainage_ray.cli.main"].os._exit = exit_now
        main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=people.parent)
    assert "room for" in done.stderr
    loaded = ["torch"] if "gpus" in setting and list(Path("/dev").glob("nvidia*")) else []  # which counts them
    assert done.stderr.rstrip().endswith(f"(1, {loaded})")
    assert not (people.parent / "runs").exists()


def test_status_of_what_never_ran_touches_nothing(brainage, people, tmp_path):
    done = brainage("status", people, "--workspace", tmp_path / "none")
    assert done.returncode == 0, done.stderr
    assert "has not begun in" in done.stdout
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_dry_run_of_the_papers_six_arms_counts_its_ninety_runs(brainage):
    small = json.dumps({"kind": "unet", "width": 0.125, "depth": 3})
    shrunk = [f"--set=arms.{arm}.backbone={small}" for arm in ("unet", "unet+brats")]
    shrunk.append("--set=data.preprocessing.slice_shape=[64, 64]")
    done = brainage("run", "experiments/bracis2023.yaml", "--dry-run", *shrunk, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert words.count("3 trials x 5 seeds") == 6
    assert "train 606" in words
    assert "expected by the experiment file" in words

from __future__ import annotations

import csv
import re
from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from brainage_ray.errors import ConfigError, DataError
from brainage_ray.report.published_cells import MARK
from brainage_ray.report.published_runs import write_published_tables
from brainage_ray.report.run_results import ARMS

HEAD = ("ID", "Group", "learning_rate", "lasttest_ps_MAE", "besttest_ps_MAE", "test_mci_ad_pvalue", "val_mci_ad_pvalue")
REPEATS = 5
SPREAD = np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5)
"""Mean 0, sample standard deviation 1."""
SOURCES = {
    "test_mae": ("val_", "besttest_ps_MAE"),
    "refit_test_mae": ("", "lasttest_ps_MAE"),
    "validation_p": ("val_", "val_mci_ad_pvalue"),
    "test_p": ("val_", "test_mci_ad_pvalue"),
    "refit_test_p": ("", "test_mci_ad_pvalue"),
}
"""Published numbers, and the runs and column that each is made of."""
TITLES = {
    "test_mae": "Test MAE",
    "refit_test_mae": "Refitted test MAE",
    "validation_p": "Validation p",
    "test_p": "Test p",
    "refit_test_p": "Refitted test p",
}
HALF = 0.0005
"""What three decimals leave open."""


def read_published():
    """The paper's numbers, by arm and quantity: mean and sd of an MAE, mean and max of a p."""
    folder = files("brainage_ray.report")
    refitted, rest = (
        yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))["arms"]
        for name in ("reference", "published_tables")
    )
    return {arm: {key: (refitted[arm] | rest[arm])[key] for key in SOURCES} for arm in ARMS}


PUBLISHED = read_published()


def values_of(numbers):
    """Five repeats that have exactly this mean and sd, or this mean and max."""
    if "sd" in numbers:
        return list(numbers["mean"] + numbers["sd"] * SPREAD)
    others = (REPEATS * numbers["mean"] - numbers["max"]) / (REPEATS - 1)
    return [others] * (REPEATS - 1) + [numbers["max"]]


def rows_of(groups=None, repeats=REPEATS, changes=None):
    """Runs, made by rule, that give the published numbers; changes: what is added, by (arm, quantity, statistic)."""
    rows = []
    for prefix, (arm, group) in product(("", "val_"), ARMS.items()):
        columns = {}
        for key, (of, column) in SOURCES.items():
            if of == prefix:
                numbers = PUBLISHED[arm][key]
                columns[column] = values_of({k: v + (changes or {}).get((arm, key, k), 0) for k, v in numbers.items()})
        rate = "0.001" if prefix else "0.0001"
        for i in range(repeats):
            cells = [str(columns[name][i]) if name in columns else "" for name in HEAD[3:]]
            rows.append([f"run{i}", prefix + group, rate, *cells])
    return [row for row in rows if groups is None or row[1] in groups]


def write(folder, rows, head=HEAD):
    path = folder / "runs.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def tables(folder, rows, head=HEAD):
    write_published_tables(write(folder, rows, head), folder / "out")
    found = {}
    for name in ("mae", "p"):
        with (folder / "out" / f"{name}.csv").open(newline="") as file:
            found |= {row["arm"]: found.get(row["arm"], {}) | row for row in csv.DictReader(file)}
    return found


def marked(found):
    return {(arm, key, name) for arm, row in found.items() for key in SOURCES for name in row[f"{key}_differs"].split()}


def test_runs_with_the_published_statistics_agree_in_all_cells(tmp_path):
    found = tables(tmp_path, rows_of())
    assert marked(found) == set()
    for arm, key in product(ARMS, SOURCES):
        for name, value in PUBLISHED[arm][key].items():
            assert found[arm][f"{key}_{name}"] == found[arm][f"{key}_{name}_published"] == f"{value:.3f}"
    text = (tmp_path / "out" / "report.md").read_text()
    assert "60 runs of 12 groups give 60 of the published numbers; 60 agree to 3 decimals, 0 do not." in text
    assert "Where they differ" not in text


CELLS = [(arm, key, name) for arm in ARMS for key in SOURCES for name in PUBLISHED[arm][key]]


@settings(max_examples=25, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(CELLS),
        st.tuples(st.sampled_from([0.9 * HALF, 1.1 * HALF, 2 * HALF]), st.sampled_from([1, -1])),
        max_size=4,
    )
)
def test_exactly_the_cells_that_are_further_off_than_the_printed_precision_are_marked(tmp_path_factory, changes):
    moved = {cell: sign * size for cell, (size, sign) in changes.items()}
    found = tables(tmp_path_factory.mktemp("runs"), rows_of(changes=moved))
    assert marked(found) == {cell for cell, by in moved.items() if abs(by) > HALF}


@pytest.mark.parametrize(
    ("key", "name"), [("test_mae", "mean"), ("refit_test_mae", "sd"), ("validation_p", "max"), ("refit_test_p", "mean")]
)
def test_a_cell_that_disagrees_is_said(tmp_path, key, name):
    found = tables(tmp_path, rows_of(changes={("resnet", key, name): 0.004}))
    theirs = PUBLISHED["resnet"][key][name]
    assert marked(found) == {("resnet", key, name)}
    assert found["resnet"][f"{key}_{name}"] == f"{theirs + 0.004:.3f}"
    text = (tmp_path / "out" / "report.md").read_text()
    assert "give 60 of the published numbers; 59 agree to 3 decimals, 1 does not." in text
    assert f"- resnet, {TITLES[key]}: {name} {theirs + 0.004:.3f}, published {theirs:.3f}" in text


def test_statistics_are_numpys(tmp_path):
    rng = np.random.default_rng(0)
    rows = rows_of()
    for row in rows:
        row[3:5] = [str(value) for value in rng.uniform(2, 5, 2)]
    found = tables(tmp_path, rows)
    for key, group, column in (("refit_test_mae", "ResNet+BraTS", 3), ("test_mae", "val_ResNet+BraTS", 4)):
        values = np.array([float(row[column]) for row in rows if row[1] == group])
        numbers = [found["resnet+brats"][f"{key}_{name}"] for name in ("mean", "sd", "max")]
        assert numbers == [f"{n:.3f}" for n in (values.mean(), values.std(ddof=1), values.max())]


def test_published_numbers_are_those_of_the_shared_reference(shared_data, tmp_path):
    reference = yaml.safe_load((shared_data.parent / "reference" / "paper_results.yaml").read_text())["arms"]
    names = {
        "validation_mae": "validation_mae", "test_mae": "test_mae", "test_mae_refit": "refit_test_mae",
        "validation_p": "validation_p", "test_p": "test_p", "test_p_refit": "refit_test_p",
    }  # fmt: skip
    found = tables(tmp_path, rows_of())
    assert set(found) == set(reference) == set(ARMS)
    for arm, published in reference.items():
        for theirs, ours in names.items():
            spread = "sd" if "mae" in ours else "max"
            printed = [found[arm][f"{ours}_{name}_published"] for name in ("mean", spread)]
            assert printed == [f"{value:.3f}" for value in published[theirs]]


def test_what_is_written(tmp_path):
    rows = rows_of(changes={("resnet", "refit_test_mae", "mean"): 0.003, ("resnet", "refit_test_p", "max"): 0.002})
    written = write_published_tables(write(tmp_path, rows), tmp_path / "new" / "out")
    paths = written.files
    assert [(d.arm, d.quantity, d.statistic) for d in written.differences] == [
        ("resnet", "Refitted test MAE", "mean"),
        ("resnet", "Refitted test p", "max"),
    ]
    assert [path.name for path in paths] == ["index.html", "report.md", "mae.csv", "mae.tex", "p.csv", "p.tex"]
    assert all(path.is_file() for path in paths)
    page, text, tex = (paths[i].read_text() for i in (0, 1, 3))
    assert not re.search(r"https?://|<script|src=|<link", page)
    published = PUBLISHED["resnet"]["refit_test_mae"]
    mean, sd, largest = (
        published["mean"] + 0.003,
        published["sd"],
        published["mean"] + 0.003 + 2 * published["sd"] / 2.5**0.5,
    )
    shown = f"{mean:.3f} {MARK} ± {sd:.3f}, max {largest:.3f}"
    assert shown in text
    assert f'class="differs">{shown}</span><br><span class="published">published {published["mean"]:.3f}' in page
    assert page.count('class="differs"') == 2
    assert rf"{mean:.3f} $\neq$ $\pm$ {sd:.3f}" in tex
    assert text.count("| unet+brats | 1e-3; 1e-4 | 5 |") == 2


def test_the_validation_mae_is_empty_with_its_reason_or_read(tmp_path):
    found = tables(tmp_path, rows_of())
    assert found["unet"]["validation_mae_mean"] == ""
    assert found["unet"]["validation_mae_reason"] == "the file has no column bestval_ps_MAE"
    assert (
        "Validation MAE of all arms: the file has no column bestval_ps_MAE."
        in (tmp_path / "out" / "report.md").read_text()
    )
    rows = [[*row, "3.2" if row[1].startswith("val_") else ""] for row in rows_of()]
    found = tables(tmp_path, rows, (*HEAD, "bestval_ps_MAE"))
    assert (found["unet"]["validation_mae_mean"], found["unet"]["validation_mae_differs"]) == ("3.200", "mean sd")


def test_an_arm_without_runs_is_empty(tmp_path):
    found = tables(tmp_path, rows_of(["UNet"]))
    assert found["resnet"]["refit_test_mae_mean"] == found["unet"]["test_mae_mean"] == ""
    assert found["resnet"]["refit_test_mae_reason"] == "no runs of ResNet"
    assert found["unet"]["test_mae_reason"] == "no runs of val_UNet"
    assert found["unet"]["repeats"] == "0; 5"


def test_one_repeat_has_no_sd(tmp_path):
    row = tables(tmp_path, rows_of(repeats=1))["unet"]
    numbers = [row[f"refit_test_mae_{name}"] for name in ("mean", "sd", "max")]
    first = f"{values_of(PUBLISHED['unet']['refit_test_mae'])[0]:.3f}"
    assert numbers == [first, "", first]
    assert row["refit_test_mae_reason"] == "one repeat has no standard deviation"
    assert row["refit_test_mae_differs"] == "mean"


def test_a_column_that_is_empty_for_a_whole_group_is_an_empty_cell(tmp_path):
    rows = [[*row[:6], ""] if row[1] == "val_UNet" else row for row in rows_of()]
    row = tables(tmp_path, rows)["unet"]
    assert (row["validation_p_mean"], row["validation_p_reason"]) == ("", "val_mci_ad_pvalue is empty")


def test_learning_rates_may_be_missing_or_mixed(tmp_path):
    rows = rows_of()
    assert tables(tmp_path, [row[:2] + row[3:] for row in rows], HEAD[:2] + HEAD[3:])["unet"]["learning_rate"] == "—"
    rows[0][2] = "0.01"
    assert tables(tmp_path, rows)["unet"]["learning_rate"] == "1e-3; 1e-4 and 0.01"


def changed(row, column, value):
    rows = rows_of()
    rows[row][HEAD.index(column)] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (changed(3, "Group", "UNets"), ['line 5: there is no group "UNets"', 'Did you mean "UNet"?']),
        (changed(3, "Group", ""), ['line 5: there is no group ""']),
        (changed(3, "lasttest_ps_MAE", "three"), ['line 5: lasttest_ps_MAE is "three", which is no number']),
        (changed(3, "besttest_ps_MAE", "nan"), ["line 5: besttest_ps_MAE is nan"]),
        (changed(3, "lasttest_ps_MAE", "inf"), ["line 5: lasttest_ps_MAE is inf"]),
        (changed(3, "lasttest_ps_MAE", "-1"), ["line 5: lasttest_ps_MAE is -1", "a number from 0 up"]),
        (changed(3, "test_mci_ad_pvalue", "1.5"), ["line 5: test_mci_ad_pvalue is 1.5", "0 to 1"]),
        (changed(3, "learning_rate", "fast"), ['line 5: learning_rate is "fast"']),
        (changed(3, "lasttest_ps_MAE", ""), ["line 5: lasttest_ps_MAE is empty, but other runs of UNet have it"]),
        ([*rows_of()[:3], ["run", "UNet"]], ["line 5 has 2 values for 7 columns"]),
        ([], ["has no rows"]),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, words):
    path = write(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        write_published_tables(path, tmp_path / "out")
    assert all(word in str(caught.value) for word in [str(path), *words])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("column", ["Group", *HEAD[3:]])
def test_a_missing_column_is_named(tmp_path, column):
    kept = [i for i, name in enumerate(HEAD) if name != column]
    path = write(tmp_path, [[row[i] for i in kept] for row in rows_of()], [HEAD[i] for i in kept])
    with pytest.raises(DataError, match=f'has no column "{column}"'):
        write_published_tables(path, tmp_path / "out")


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name, words in (("absent.csv", "no file"), ("empty.csv", "is empty"), ("binary.csv", "cannot be read")):
        with pytest.raises(DataError, match=words):
            write_published_tables(tmp_path / name, tmp_path / "out")
    with pytest.raises(DataError, match='two columns "Group"'):
        write_published_tables(write(tmp_path, rows_of(), ("Group", *HEAD[1:])), tmp_path / "out")
    with pytest.raises(ConfigError, match="is a file"):
        write_published_tables(write(tmp_path, rows_of()), tmp_path / "empty.csv")


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(60)))
def test_the_order_of_the_runs_changes_nothing(tmp_path_factory, order):
    folder, rows = tmp_path_factory.mktemp("runs"), rows_of()
    assert tables(folder, [rows[i] for i in order]) == tables(folder, rows)

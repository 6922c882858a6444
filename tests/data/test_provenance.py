from __future__ import annotations

import json

import pytest

from brainage_ray.data.files import sha256_of
from brainage_ray.data.provenance import (
    PROVENANCE,
    TrainedOn,
    hash_person,
    read_provenance,
    trained_on,
    write_provenance,
)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    write_provenance(trained_on("ours", ["ADNI/42", "ADNI/7"], ["aa bb", "cc"]), {path: sha256_of(path)})
    return path


def test_what_was_written_comes_back_and_holds_no_name(weights):
    known = read_provenance(weights)
    assert known is not None
    assert set(known.people) == {hash_person("ADNI/42"), hash_person("ADNI/7")}
    assert known.contents == ("aa", "bb", "cc")
    assert "ADNI" not in weights.with_name(PROVENANCE).read_text()


def test_it_speaks_of_that_very_file_alone(weights):
    other = weights.with_name("other.safetensors")
    other.write_bytes(b"weights")
    assert read_provenance(other) is None
    weights.write_bytes(b"other weights")
    assert read_provenance(weights) is None


@pytest.mark.parametrize("text", ["", "{}", '{"experiment": "x", "schema_version": 1, "unknown_field": 1}', "[]"])
def test_a_damaged_file_says_nothing(weights, text):
    weights.with_name(PROVENANCE).write_text(text)
    assert read_provenance(weights) is None


def test_another_version_says_nothing(weights):
    path = weights.with_name(PROVENANCE)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    assert read_provenance(weights) is None


def test_a_training_inherits_whom_its_first_weights_saw_and_what_nobody_knows():
    first = trained_on("first", ["a"], ["x"], TrainedOn(experiment="", unknown=("imagenet",)))
    second = trained_on("second", ["b", "b"], ["y x"], first)
    assert set(second.people) == {hash_person("a"), hash_person("b")}
    assert (second.contents, second.unknown, second.experiment) == (("x", "y"), ("imagenet",), "second")


def test_the_same_content_is_not_written_again(weights):
    path = weights.with_name(PROVENANCE)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_provenance(trained_on("ours", ["ADNI/7", "ADNI/42"], ["cc", "bb aa"]), {weights: sha256_of(weights)})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before

"""A model comes whole or not at all, and one that broke off goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_pull_crafted import model as crafted

from brainage_ray.data.checksums import SUMS, read_sums, write_sums
from brainage_ray.errors import ConfigError, EngineError, UnsafeFileError, WeightsError
from brainage_ray.pipeline.fetch import FolderFiles, bring, install_models
from brainage_ray.pipeline.pull import ModelName, parse_name


class Watched(FolderFiles):
    """Says what is fetched, and breaks off before a file, if it is told so."""

    def __init__(self, folder: Path, until: str = "") -> None:
        super().__init__(folder)
        object.__setattr__(self, "fetched", [])
        object.__setattr__(self, "until", until)

    def fetch(self, name: str, to: Path) -> None:
        if name == self.until:
            raise EngineError("the line is dead")
        super().fetch(name, to)
        self.fetched.append(name)


@pytest.fixture
def there(tmp_path):
    """A published model, with a file that no fixed list names."""
    weights = tmp_path / "weights"
    weights.write_bytes(b"weights" * 1000)
    folder = crafted(tmp_path / "there", weights)
    (folder / "seed-0.safetensors").unlink()
    (folder / "seed-0.safetensors").write_bytes(weights.read_bytes())
    (folder / "reference.json").write_text("{}")
    (folder / "card.md").write_text("# card\n")
    write_sums(folder)
    return folder


def pulled(source: FolderFiles, to: Path):
    return install_models(to, "e/unet", lambda fresh: bring(source, fresh))


def test_every_file_that_the_checksums_name_comes(there, tmp_path):
    to = tmp_path / "deep" / "to"
    assert pulled(FolderFiles(there), to).arm == "unet"
    assert {path.name: path.read_bytes() for path in to.iterdir()} == {
        path.name: path.read_bytes() for path in there.iterdir()
    }
    assert {path.name for path in tmp_path.iterdir()} == {"there", "weights", "deep"}


def test_a_pull_that_broke_off_goes_on_with_the_files_that_are_missing(there, tmp_path):
    to = tmp_path / "to"
    with pytest.raises(EngineError, match="dead"):
        pulled(Watched(there, until="reference.json"), to)
    assert not to.exists()
    again = Watched(there)
    pulled(again, to)
    assert again.fetched == [SUMS, "reference.json", "seed-0.safetensors"]
    once_more = Watched(there)
    pulled(once_more, to)
    assert once_more.fetched == [SUMS], "what is whole is not fetched again"
    assert not list(tmp_path.glob(".pull-*")) + list(to.glob(".*"))


def test_a_new_model_takes_the_place_of_the_old_and_leaves_other_files(there, tmp_path):
    to = tmp_path / "to"
    pulled(FolderFiles(there), to)
    (to / "notes.txt").write_text("mine")
    (there / "reference.json").unlink()
    (there / "card.md").write_text("# another\n")
    write_sums(there)
    pulled(FolderFiles(there), to)
    assert sorted(path.name for path in to.iterdir()) == [
        SUMS, "card.md", "model.json", "notes.txt", "seed-0.safetensors",
    ]  # fmt: skip
    assert (to / "card.md").read_text() == "# another\n"


def test_what_is_not_as_it_was_stored_is_refused_and_the_old_model_stays(there, tmp_path):
    to = tmp_path / "to"
    pulled(FolderFiles(there), to)
    (there / "card.md").write_text("# another\n")
    write_sums(there)
    (there / "card.md").write_text("changed on the way")
    with pytest.raises(WeightsError, match=r"card\.md did not come as SHA256SUMS has it"):
        pulled(FolderFiles(there), to)
    assert (to / "card.md").read_text() == "# card\n"
    write_sums(there)
    pulled(FolderFiles(there), to)
    assert (to / "card.md").read_text() == "changed on the way"


def test_checksums_have_to_name_the_model_and_its_weights(there, tmp_path):
    sums = read_sums(there)
    (there / SUMS).write_text("".join(f"{sha}  {name}\n" for name, sha in sums.items() if "seed" not in name))
    with pytest.raises(WeightsError, match=r"seed-0\.safetensors is missing"):
        pulled(FolderFiles(there), tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_checksums_that_name_a_link_or_a_path_bring_nothing(there, tmp_path):
    (there / "extra").symlink_to(tmp_path / "weights")
    write_sums(there)
    with pytest.raises(UnsafeFileError, match="extra"):
        pulled(FolderFiles(there), tmp_path / "to")
    (there / SUMS).write_text(f"{'0' * 64}  ../weights\n")
    with pytest.raises(UnsafeFileError, match="elsewhere"):
        pulled(FolderFiles(there), tmp_path / "to")
    assert not (tmp_path / "to").exists()
    assert not list(tmp_path.glob(".pull-*"))


def test_a_model_of_before_the_checksums_gets_them(there, tmp_path):
    for name in (SUMS, "card.md", "reference.json"):
        (there / name).unlink()
    pulled(FolderFiles(there), tmp_path / "to")
    assert sorted(read_sums(tmp_path / "to")) == ["model.json", "seed-0.safetensors"]
    assert json.loads((tmp_path / "to" / "model.json").read_text())["arm"] == "unet"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("e", ModelName("e")), ("e/a+b", ModelName("e", "a+b")), ("e@champion", ModelName("e")),
        ("models:/e@a_b", ModelName("e", alias="a_b")), ("models:/e.1/a", ModelName("e.1", "a")),
    ],
)  # fmt: skip
def test_names_of_models(text, name):
    assert parse_name(text) == name


@pytest.mark.parametrize("text", ["", "e/", "e@", "e/a@b", "e/../x", "../e", "e@a+b"])
def test_what_names_no_model(text):
    with pytest.raises(ConfigError, match="EXPERIMENT@ALIAS"):
        parse_name(text)

from __future__ import annotations

import errno
import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from torch import nn

from brainage_ray.config import ResNetConfig, UNetConfig
from brainage_ray.errors import NoSpaceError, UnsafeFileError, WeightsError
from brainage_ray.models import (
    build_backbone,
    fetch_weights,
    load_encoder,
    load_state,
    read_weights,
    save_state,
    weights,
)
from brainage_ray.models.resnet import BLOCKS


@pytest.fixture
def backbone():
    return build_backbone(UNetConfig(kind="unet", width=0.125, depth=2), 1)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- our own files ---


def test_saved_weights_come_back(backbone, tmp_path):
    path = tmp_path / "new" / "encoder.safetensors"
    checksum = save_state(backbone, path)
    assert checksum == sha256(path)
    other = build_backbone(UNetConfig(kind="unet", width=0.125, depth=2), 1)
    load_state(other, path, checksum)
    assert all(
        torch.equal(a, b) for a, b in zip(backbone.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_the_same_weights_give_the_same_bytes_in_any_memory_format(backbone, tmp_path):
    first = save_state(backbone, tmp_path / "a.safetensors")
    assert save_state(backbone.to(memory_format=torch.channels_last), tmp_path / "b.safetensors") == first


def test_an_older_file_is_replaced_and_nothing_else_left(backbone, tmp_path):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"old")
    save_state(backbone, path)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.safetensors"]
    load_state(backbone, path)


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, NoSpaceError), (errno.EACCES, PermissionError)])
def test_a_failed_write_keeps_the_older_file(backbone, tmp_path, monkeypatch, number, expected):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"old")

    def half(part: Path, content: bytes) -> int:
        with part.open("wb") as file:
            file.write(content[:100])
        raise OSError(number, "stopped")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(expected):
        save_state(backbone, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_does_not_fit_is_an_error(backbone, tmp_path):
    path = tmp_path / "linear.safetensors"
    save_state(nn.Linear(2, 3), path)
    with pytest.raises(WeightsError, match=r"12 missing \(stages.0.*2 unknown to the network \(bias, weight\)"):
        load_state(backbone, path)


def test_another_checksum_is_an_error_with_both(backbone, tmp_path):
    path = tmp_path / "encoder.safetensors"
    checksum = save_state(backbone, path)
    with pytest.raises(WeightsError, match=f"{checksum}, which does not begin with 0000000"):
        load_state(backbone, path, "0" * 64)


# --- reading ---


def test_torchvisions_file_fills_the_resnet(torchvision_state, tmp_path):
    state = torchvision_state(width=0.125, blocks=BLOCKS[14], classes=10)
    path = tmp_path / "resnet.pth"
    torch.save(state, path)
    read = read_weights(path, sha256(path)[:8])
    backbone = build_backbone(ResNetConfig(kind="resnet50", width=0.125, depth=14), 3)
    report = load_encoder(backbone, read)
    assert report.unexpected == ("fc.weight", "fc.bias")
    assert torch.equal(backbone.layer1[0].conv2.weight, state["layer1.0.conv2.weight"])


def test_the_older_format_and_a_nested_state_are_read(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(path)["a"], torch.ones(2))


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    torch.save({"weight": torch.ones(1), "x": Harmful(trace)}, path)
    with pytest.raises(UnsafeFileError, match=r"model.pth is more than weights: .*not run.*state_dict alone"):
        read_weights(path)
    assert not trace.exists()


def test_a_pickled_network_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(UnsafeFileError, match=r"calls for torch.nn.modules.linear.Linear, which is not run"):
        read_weights(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(range(256)) * 8, b"PK\x03\x04 cut off"])
def test_a_file_that_is_something_else_is_refused_by_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} (cannot be read|holds)"):
        read_weights(path)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_a_file_that_was_cut_off_is_refused(backbone, tmp_path, kind):
    path = tmp_path / f"whole.{kind}"
    torch.save(backbone.state_dict(), path) if kind == "pth" else save_state(backbone, path)
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(WeightsError, match=f"cut.{kind} cannot be read"):
        read_weights(cut)


@pytest.mark.parametrize("content", [torch.ones(2), {"a": 1}, {0: torch.ones(2)}, [torch.ones(2)]])
def test_a_file_without_weights_by_name_is_refused(tmp_path, content):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="no weights by name"):
        read_weights(path)


def test_another_kind_of_file_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"model.onnx is of no known kind"):
        read_weights(tmp_path / "model.onnx")
    with pytest.raises(WeightsError, match=r"no weights at .*absent.pth"):
        read_weights(tmp_path / "absent.pth")


@pytest.mark.parametrize("digits", ["1234567", "not hexadecimal", "0" * 65, ""])
def test_a_checksum_has_8_to_64_hex_digits(backbone, tmp_path, digits):
    path = tmp_path / "encoder.safetensors"
    save_state(backbone, path)
    with pytest.raises(WeightsError, match="8 to 64 hex digits"):
        read_weights(path, digits)


def test_capital_digits_are_the_same_checksum(backbone, tmp_path):
    path = tmp_path / "encoder.safetensors"
    assert read_weights(path, save_state(backbone, path).upper())


# --- fetching ---

CONTENT = bytes(range(256)) * 1000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A server on this machine; its address is written with https, and the test reads it without TLS."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            if "absent" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if "cut" in self.path else CONTENT)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(
        weights, "urlopen", lambda uri, timeout: urlopen(uri.replace("https", "http", 1), timeout=timeout)
    )
    yield f"https://127.0.0.1:{http.server_port}", asked
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_download_is_kept(server, tmp_path):
    address, asked = server
    cache = tmp_path / "cache"
    path = fetch_weights(f"{address}/models/resnet.pth?a=1", CHECKSUM[:8], cache)
    assert path.read_bytes() == CONTENT
    assert (path.suffix, list(cache.iterdir())) == (".pth", [path])
    assert fetch_weights(f"{address}/models/resnet.pth?a=1", CHECKSUM, cache) == path
    assert sum(asked.values()) == 1


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    address, asked = server
    path = fetch_weights(f"{address}/resnet.pth", CHECKSUM, tmp_path)
    path.write_bytes(CONTENT[:10])
    assert fetch_weights(f"{address}/resnet.pth", CHECKSUM, tmp_path).read_bytes() == CONTENT
    assert asked["/resnet.pth"] == 2


@pytest.mark.parametrize(
    ("name", "checksum", "message"),
    [
        ("other.pth", "0" * 64, f"other.pth has the SHA-256 {CHECKSUM}, which does not begin with 000"),
        ("cut.pth", CHECKSUM, "cut.pth has the SHA-256"),
        ("absent.pth", CHECKSUM, "absent.pth cannot be downloaded: HTTP Error 404.*give its path as the uri"),
        ("any.pth", "123", "8 to 64 hex digits"),
    ],
)
def test_a_download_that_is_not_the_file_leaves_nothing(server, tmp_path, name, checksum, message):
    with pytest.raises(WeightsError, match=message):
        fetch_weights(f"{server[0]}/{name}", checksum, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_an_error_with_a_fix(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be downloaded.*download the file by hand"):
        fetch_weights("https://127.0.0.1:9/resnet.pth", CHECKSUM, tmp_path)


def test_a_full_disk_is_told_from_a_bad_network(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(weights, "urlopen", full)
    with pytest.raises(NoSpaceError, match="disk is full"):
        fetch_weights("https://example.org/resnet.pth", CHECKSUM, tmp_path)


@pytest.mark.parametrize("uri", ["http://example.org/a.pth", "s3://bucket/a.pth", "file:///a.pth"])
def test_other_schemes_are_refused(tmp_path, uri):
    with pytest.raises(WeightsError, match=f"fetched from {uri}.*https"):
        fetch_weights(uri, CHECKSUM, tmp_path)


def test_a_local_file_is_used_where_it_is(tmp_path):
    path = tmp_path / "resnet.pth"
    path.write_bytes(CONTENT)
    assert fetch_weights(str(path), CHECKSUM[:10], tmp_path / "cache") == path
    assert not (tmp_path / "cache").exists()
    with pytest.raises(WeightsError, match="does not begin with"):
        fetch_weights(str(path), "0" * 8, tmp_path)
    with pytest.raises(WeightsError, match=r"no weights at .*absent"):
        fetch_weights(str(tmp_path / "absent"), CHECKSUM, tmp_path)

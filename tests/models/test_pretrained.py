from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.request import OpenerDirector

import pytest
import torch
import torchvision.models as zoo
from safetensors.torch import save_file
from torch import Tensor, nn

from robustbench_dml.datasets import download
from robustbench_dml.models.backbones.imagenet import classifier
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.models.pretrained import find_weights, load_weights
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES, BackboneInfo, Weights
from robustbench_dml.spec.weights import initial_digits
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.progress import Progress

QUIET = Progress(quiet=True)
NAME = "squeezenet1_1"  # small


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A state dict as torchvision publishes them, of a small network."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return zoo.squeezenet1_1(weights=None).state_dict()


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return classifier(NAME)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> NoReturn:
        raise URLError("no network in tests")

    monkeypatch.setenv("RBDML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(OpenerDirector, "open", no_network)
    monkeypatch.setattr(download, "PAUSE", 0)


def info_for(path: Path) -> BackboneInfo:
    """An entry whose published weights are this file."""
    return replace(
        BACKBONES.get(f"torchvision:{NAME}"), weights=Weights(f"https://example.org/{path.name}", sha256(path)[:8])
    )


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_all_but_the_last_layer_is_filled(
    tmp_path: Path, published: dict[str, Tensor], network: nn.Module, suffix: str
) -> None:
    path, fresh = tmp_path / f"weights.{suffix}", {name: value.clone() for name, value in network.state_dict().items()}
    if suffix == "pth":
        torch.save(published, path)
    else:
        save_file(published, path)
    load_weights(network, path)
    for name, value in network.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith("classifier.1.") else published[name]), name


def test_weights_with_a_last_layer_of_512_are_taken_whole(tmp_path: Path, network: nn.Module) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        other = classifier(NAME).state_dict()
    torch.save(other, tmp_path / "weights.pth")
    load_weights(network, tmp_path / "weights.pth")
    assert all(torch.equal(value, other[name]) for name, value in network.state_dict().items())


def test_auxiliary_heads_are_left_out(tmp_path: Path, published: dict[str, Tensor], network: nn.Module) -> None:
    torch.save({**published, "AuxLogits.fc.weight": torch.zeros(2)}, tmp_path / "weights.pth")
    load_weights(network, tmp_path / "weights.pth")


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape", "head"])
def test_weights_of_another_network_are_refused(
    tmp_path: Path, published: dict[str, Tensor], network: nn.Module, change: str
) -> None:
    state = dict(published)
    if change == "missing":
        del state["features.0.weight"]
    elif change == "unexpected":
        state["features.99.weight"] = torch.zeros(3)
    elif change == "shape":
        state["features.0.weight"] = torch.zeros(3, 3)
    else:
        state = {name.replace("classifier", "head"): value for name, value in state.items()}
    torch.save(state, tmp_path / "weights.pth")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(RbdmlError, match="weights of another network"):
        load_weights(network, tmp_path / "weights.pth")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Trap:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("trapped"),)


@pytest.mark.parametrize("content", ["empty", "text", "truncated", "code", "object"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_is_no_state_dict_is_refused_and_nothing_is_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: dict[str, Tensor],
    network: nn.Module,
    content: str,
    suffix: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights.{suffix}"
    if content == "code":
        torch.save({"features.0.weight": Trap()}, path)
    elif content == "object":
        torch.save({"epoch": 3, "model": published}, path)
    else:
        torch.save(published, path)
        path.write_bytes({"empty": b"", "text": b"<html>", "truncated": path.read_bytes()[:-1000]}[content])
    with pytest.raises(RbdmlError, match=f"weights.{suffix}") as caught:
        load_weights(network, path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trapped").exists()


def test_a_spec_holds_the_first_digits_of_the_files_hash(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save(published, tmp_path / "mine.pth")
    info = BACKBONES.get("resnet18")
    assert initial_digits(info, pretrained=True, weights=None) == "f37072fd"
    assert initial_digits(info, pretrained=False, weights=None) is None
    given = initial_digits(info, pretrained=None, weights=tmp_path / "mine.pth")
    assert given == sha256(tmp_path / "mine.pth")[:8]


def test_a_file_whose_name_gives_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet18-f37072fd.pth"
    path.write_bytes(b"truncated")
    other = BACKBONES.get("resnet50")  # whose published file has another name
    assert initial_digits(other, pretrained=None, weights=path) == sha256(path)[:8]
    with pytest.raises(RbdmlError, match=r"begins with .*, not with the f37072fd of its name"):
        initial_digits(BACKBONES.get("resnet18"), pretrained=True, weights=path)


def test_a_network_without_published_weights_is_refused() -> None:
    with pytest.raises(RbdmlError, match="no published weights: use --no-pretrained"):
        initial_digits(BACKBONES.get("c2f2"), pretrained=True, weights=None)


def test_offline_without_weights_both_ways_out_are_named() -> None:
    info = BACKBONES.get("resnet18")
    with pytest.raises(RbdmlError, match=r"resnet18-f37072fd.pth could not .*no network.*--weights.*--no-pretrained"):
        find_weights(info, "f37072fd", weights=None, progress=QUIET)


@pytest.mark.parametrize("place", ["cache/weights", "torch/hub/checkpoints"])
def test_a_downloaded_copy_is_reused(tmp_path: Path, place: str) -> None:
    path = tmp_path / place / "small.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    info = info_for(path)
    assert info.weights is not None
    assert find_weights(info, info.weights.digits, weights=None, progress=QUIET) == path
    path.write_bytes(b"altered")
    with pytest.raises(RbdmlError, match=r"no network|was deleted"):
        find_weights(info, info.weights.digits, weights=None, progress=QUIET)


def test_weights_that_were_never_published_must_be_given_again() -> None:
    with pytest.raises(RbdmlError, match=r"01234567.*--weights"):
        find_weights(BACKBONES.get("resnet18"), "01234567", weights=None, progress=QUIET)


def test_a_model_starts_from_the_file(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save(published, tmp_path / "weights.pth")
    info = BACKBONES.get(f"torchvision:{NAME}")
    models = [
        build_embedder(info, seed=seed, device=torch.device("cpu"), weights=tmp_path / "weights.pth") for seed in (0, 1)
    ]
    first, second = (model.backbone.state_dict() for model in models)
    assert torch.equal(first["features.0.weight"], published["features.0.weight"])
    assert not torch.equal(first["classifier.1.weight"], second["classifier.1.weight"])  # by the seed


def test_a_spec_takes_pretrained_weights_where_the_papers_do() -> None:
    assert make_spec(defense="regular", dataset="cub").pretrained == "f37072fd"
    assert make_spec(defense="regular", dataset="cub").training.batchnorm == "frozen"
    assert make_spec(defense="regular", dataset="fashion").pretrained is None
    scratch = make_spec(defense="regular", dataset="cub", pretrained=False)
    assert (scratch.pretrained, scratch.training.batchnorm) == (None, "train")
    frozen = make_spec(defense="regular", dataset="cub", pretrained=False, training={"batchnorm": "frozen"})
    assert frozen.training.batchnorm == "frozen"
    with pytest.raises(RbdmlError, match="contradict"):
        make_spec(defense="regular", dataset="cub", pretrained=False, weights=Path("file"))

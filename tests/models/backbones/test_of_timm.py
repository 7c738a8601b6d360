"""timm's networks, small and with random weights: nothing is downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import robustbench_dml as rb
from robustbench_dml.models.backbones.of_timm import timm_backbone
from robustbench_dml.models.embedder import build_embedder, check_fit
from robustbench_dml.models.head import Head
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.utils.errors import RbdmlError

CPU = torch.device("cpu")
SMALL = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_vit.r160_in1k", "test_mambaout")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("side", [160, 224])
def test_a_network_embeds_images_of_both_sides(name: str, side: int) -> None:
    model = build_embedder(BACKBONES.get(f"timm:{name}"), seed=0, device=CPU).eval()
    with torch.no_grad():
        embeddings = model(torch.rand(2, 3, side, side))
    assert embeddings.shape == (2, 512)
    assert sum(isinstance(layer, Head) for layer in model.modules()) == 1  # the last layer stays in float32


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_embedding_is_that_of_timms_own_network_on_normalised_images(name: str) -> None:
    """With the weights of a file as timm publishes them: all but the last layer, which has other outputs there."""
    theirs: Any = timm.create_model(name, pretrained=False, num_classes=512).eval()
    model = build_embedder(BACKBONES.get(f"timm:{name}"), seed=0, device=CPU).eval()
    model.backbone.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 160, 160)
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(theirs((images - mean) / std), dim=1)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


def test_a_published_file_fills_all_but_the_last_layer(tmp_path: Path) -> None:
    published = timm.create_model("test_resnet", pretrained=False, num_classes=1000)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    info = BACKBONES.get("timm:test_resnet")
    files = (tmp_path / "model.safetensors", None)
    filled, start = (build_embedder(info, seed=3, device=CPU, weights=file) for file in files)
    state, random = filled.backbone.state_dict(), start.backbone.state_dict()
    same = {name for name, value in published.state_dict().items() if name in state and torch.equal(state[name], value)}
    assert set(state) - same == {"fc.weight", "fc.bias"}
    assert torch.equal(state["fc.weight"], random["fc.weight"])


def test_weights_follow_the_seed() -> None:
    info = BACKBONES.get("timm:test_vit")
    first, again, other = (
        build_embedder(info, seed=seed, device=CPU).state_dict()["backbone.head.weight"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_normalisation_and_size_are_those_of_the_network() -> None:
    vit, swin = BACKBONES.get("timm:test_vit"), BACKBONES.get("timm:swin_tiny_patch4_window7_224")
    assert (vit.mean, vit.std, vit.side) == ((0.5,) * 3, (0.5,) * 3, None)
    assert swin.side == 224
    with pytest.raises(RbdmlError, match="takes 3x384x384 images and 'cub' has 3x224x224"):
        check_fit("timm:swin_base_patch4_window12_384", (3, 224, 224), "cub")


def test_published_weights_are_those_with_a_hash_in_their_name() -> None:
    """The rest is given by `--weights FILE`."""
    weights = timm_backbone("resnet18").weights
    assert weights is not None and weights.digits == weights.url[-12:-4] == "d63eafa0"
    assert timm_backbone("test_resnet").weights is None
    with pytest.raises(RbdmlError, match="'timm:test_resnet' has no published weights: use --no-pretrained, or give"):
        make_spec(defense="regular", dataset="cub", backbone="timm:test_resnet")
    assert make_spec(defense="regular", dataset="cub", backbone="timm:test_resnet", pretrained=False).pretrained is None


@pytest.mark.parametrize("name", ["resnet188", "resnet18.no_such_tag", "../resnet18"])
def test_an_unknown_network_is_refused_with_the_nearest_one(name: str) -> None:
    with pytest.raises(RbdmlError, match=r"timm has no network '.*resnet18.*': (did you mean 'resnet|`timm)"):
        BACKBONES.get(f"timm:{name}")


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RbdmlError, match=r"pip install 'robustbench-dml\[timm\]'"):
        BACKBONES.get("timm:resnet18")


def test_a_network_of_timm_is_trained_and_recorded(tmp_path: Path) -> None:
    images, labels = torch.randint(0, 256, (24, 3, 64, 64), dtype=torch.uint8), torch.arange(24) % 4
    data = torch.utils.data.TensorDataset(images, labels)
    words: Any = {"pairs": 4, "queries": 4, "protocol": "ers", "attack_steps": 1, "device": "cpu", "quiet": True}
    record = rb.run("regular", data, backbone="timm:test_resnet", pretrained=False, budget=16, out=tmp_path, **words)
    assert record.spec.network == "timm:test_resnet"
    loaded = rb.load_model(tmp_path / record.spec.dataset_folder / record.digest, device="cpu")
    assert loaded(torch.rand(1, 3, 64, 64)).shape == (1, 512)

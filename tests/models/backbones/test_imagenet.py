from __future__ import annotations

import pytest
import torch
import torchvision.models as zoo
from torch import nn

from robustbench_dml.models.backbones.imagenet import EMBEDDING, classifier, with_embedding
from robustbench_dml.models.embedder import build_embedder, check_fit
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.utils.errors import RbdmlError

NAMED = ("resnet18", "resnet50", "mnasnet1_0", "mobilenet_v2", "swin_t")
# One of each kind of last layer, stem and head that torchvision has.
KINDS = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mobilenet_v3_small",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_16",
    "wide_resnet50_2",
)
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", [*NAMED, *(f"torchvision:{kind}" for kind in KINDS)])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_classifier_becomes_a_network_of_512_features(name: str, mode: str) -> None:
    """On the meta device, where nothing is computed."""
    with torch.device("meta"):
        network = BACKBONES.get(name).build().train(mode == "train")
        assert network(torch.empty(2, 3, 224, 224) if "v2_t" not in name else torch.empty(2, 3, 256, 256)).shape == (
            2,
            EMBEDDING,
        )


def test_a_network_that_reads_values_while_it_is_built_works_too() -> None:
    network = BACKBONES.get("torchvision:regnet_y_400mf").build().eval()
    with torch.no_grad():
        assert network(torch.rand(2, 3, 64, 64)).shape == (2, EMBEDDING)


@pytest.mark.parametrize("name", NAMED)
def test_the_named_weights_are_torchvisions_first_ones(name: str) -> None:
    weights, by_name = BACKBONES.get(name).weights, BACKBONES.get(f"torchvision:{name}").weights
    assert weights == by_name
    assert weights is not None
    assert weights.url == zoo.get_model_weights(name)["IMAGENET1K_V1"].url
    assert weights.digits in weights.url


def test_every_classifier_of_torchvision_has_an_entry() -> None:
    for name in zoo.list_models(module=zoo):
        info = BACKBONES.get(f"torchvision:{name}")
        assert info.weights is not None
        assert len(info.weights.digits) == 8


def test_an_unknown_classifier_is_named_with_the_nearest_one() -> None:
    with pytest.raises(RbdmlError, match=r"no classifier 'resnet81'.*resnet"):
        BACKBONES.get("torchvision:resnet81")


def test_only_the_last_layer_is_new() -> None:
    with torch.device("meta"):
        before, after = zoo.resnet18().state_dict(), classifier("resnet18").state_dict()
    assert before.keys() == after.keys()
    assert {name for name in before if before[name].shape != after[name].shape} == {"fc.weight", "fc.bias"}


def test_a_network_without_classes_is_refused() -> None:
    with pytest.raises(RbdmlError, match="no last layer"):
        with_embedding(nn.Sequential(nn.Linear(3, 5)))


@pytest.mark.parametrize(
    ("name", "shape", "fits"),
    [
        ("c2f2", (1, 28, 28), True),
        ("c2f2", (3, 28, 28), False),
        ("c2f2", (1, 28, 27), False),
        ("resnet18", (3, 224, 224), True),
        ("resnet18", (3, 64, 64), True),
        ("resnet18", (3, 224, 31), False),
        ("resnet18", (1, 224, 224), False),
        ("torchvision:vit_b_16", (3, 224, 224), True),
        ("torchvision:vit_b_16", (3, 256, 256), False),
    ],
)
def test_a_backbone_accepts_only_its_image_shapes(name: str, shape: tuple[int, int, int], fits: bool) -> None:
    assert BACKBONES.get(name).takes(shape) == fits
    if not fits:
        with pytest.raises(RbdmlError, match=rf"'{name}' takes .* images and 'some' has {'x'.join(map(str, shape))}"):
            check_fit(name, shape, "some")


def test_normalisation_is_part_of_the_model() -> None:
    model = build_embedder(BACKBONES.get("resnet18"), seed=0, device=CPU).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        features = model.backbone((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        assert torch.allclose(model(images), features / features.norm(dim=1, keepdim=True), atol=1e-6)


def test_frozen_batchnorm_keeps_its_statistics_and_goes_on_learning_its_weights() -> None:
    model = build_embedder(BACKBONES.get("resnet18"), seed=0, device=CPU)
    norm = model.backbone.bn1
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    for frozen in (True, False):
        model.frozen_batchnorm = frozen
        model.train()(torch.rand(4, 3, 32, 32)).sum().backward()
        assert norm.training is not frozen
        assert bool((norm.running_mean == 0).all()) is frozen
        assert norm.weight.grad is not None
    model.eval()
    assert not norm.training

"""The file of the documentation embeds with small random models; nothing is downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.runs.external import load_external

transformers = pytest.importorskip("transformers")
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    [text] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "hugging_face.py"
    path.write_text(text)
    return path


def saved(kind: str, folder: Path) -> Any:
    torch.manual_seed(0)
    if kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL))
    else:
        config = transformers.CLIPVisionConfig(**SMALL, intermediate_size=32, projection_dim=8)
        model = transformers.CLIPVisionModelWithProjection(config)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize(("kind", "mean", "dimension"), [("dinov2", 0.485, 16), ("clip", 0.48145466, 8)])
def test_the_example_embeds_as_the_model_does(
    kind: str, mean: float, dimension: int, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(kind, tmp_path / "model")
    monkeypatch.setenv("MODEL", str(tmp_path / "model"))
    external = load_external(f"{file}:embeds")
    assert external.weights == weights_hash(external.model)
    ours: Any = external.model
    images = torch.rand(2, 3, 28, 28)
    normalised = (images - ours.mean) / ours.std
    assert float(ours.mean.flatten()[0]) == pytest.approx(mean)
    with torch.no_grad():
        found = model(pixel_values=normalised)
        expected = found.image_embeds if kind == "clip" else found.pooler_output
        torch.testing.assert_close(ours(images), expected)
    assert expected.shape == (2, dimension)

from __future__ import annotations

import hashlib
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_support import SOURCE, write_source
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.datasets.base import DataPaths, Dataset, Split
from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.models.wrappers import OnSphere
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.external import evaluate_external, load_external
from robustbench_dml.runs.record import CHECKPOINT_FILE
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.tensors import read_state_dict

IMAGES = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = Split(IMAGES, torch.tensor([0, 0, 1, 1, 1]))
DATASET = Dataset("few", SPLIT, SPLIT, {})
SMALL: Any = {"queries": 3, "steps": 1}


def place(out: Path) -> RunContext:
    return RunContext(out, DataPaths(), torch.device("cpu"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def state(*, seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {"1.weight": torch.randn(6, 784, generator=rng), "1.bias": torch.randn(6, generator=rng)}


# The factory


def test_a_factory_makes_the_same_model_each_time_and_leaves_the_randomness_of_others_alone(source: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_external(f"{source}:build")
    assert torch.equal(torch.rand(3), expected)
    second = load_external(f"{source}:build")
    assert first.weights == second.weights == weights_hash(first.model)
    assert first.model is not second.model
    assert not first.model.training
    assert (first.name, first.source) == ("mine.py:build", hashlib.sha256(SOURCE.encode()).hexdigest())


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mine.py", "cannot read model 'mine.py': write path/to/file.py:factory"),
        ("{absent}:build", "no such Python file"),
        ("{source}:bild", "has no function 'bild': did you mean 'build'?"),
        ("{source}:number", "has no function 'number'"),
        ("{source}:raises", "mine.py:raises() fails (ValueError at line 30: not today)"),
        ("{source}:nothing", "mine.py:nothing() returns int"),
        ("{source}:leaves", "mine.py:leaves() fails (SystemExit at line 38: 4): mend the file"),
        ("{source}:stateful", "something else than tensors"),
    ],
)
def test_what_is_no_factory_is_told_in_one_line(source: Path, text: str, part: str) -> None:
    with pytest.raises(RbdmlError) as caught:
        load_external(text.format(source=source, absent=source.with_name("absent.py")))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_imports_its_neighbours_and_not_those_of_another_file(tmp_path: Path) -> None:
    for name, width in (("one", 3), ("two", 5)):
        folder = tmp_path / name
        (folder / "nets").mkdir(parents=True)
        (folder / "nets" / "__init__.py").write_text("from nets.size import WIDTH\n")
        (folder / "nets" / "size.py").write_text(f"WIDTH = {width}\n")
        (folder / "mine.py").write_text(
            "from nets import WIDTH\nfrom torch import nn\n\ndef build():\n    return nn.Linear(2, WIDTH)\n"
        )
    for name, width in (("one", 3), ("two", 5), ("one", 3)):
        assert load_external(f"{tmp_path / name / 'mine.py'}:build").model.out_features == width


# Its weights


def as_safetensors(path: Path, held: dict[str, Tensor]) -> None:
    save_file(held, path)


WRITERS: dict[str, tuple[str, Callable[[Path, dict[str, Tensor]], object]]] = {
    "safetensors": ("weights.safetensors", as_safetensors),
    "alone": ("weights.pt", lambda path, held: torch.save(held, path)),
    "under state_dict": ("weights.pth", lambda path, held: torch.save({"state_dict": held, "epoch": 3}, path)),
    "under model": ("weights.tar", lambda path, held: torch.save({"model": held, "loss": [0.5]}, path)),
    "under net": ("weights.pth", lambda path, held: torch.save({"net": held}, path)),
    "with prefixes": (
        "weights.pt",
        lambda path, held: torch.save({f"module._orig_mod.model.{key}": value for key, value in held.items()}, path),
    ),
    "in the folder of a run": (".", lambda path, held: save_file(held, path / CHECKPOINT_FILE)),
    "safetensors by content": ("weights.bin", as_safetensors),
    "torch by content": ("pth.safetensors", lambda path, held: torch.save(held, path)),
    "under both": ("weights.pt", lambda path, held: torch.save({"state_dict": {"model": held}}, path)),
}


@pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)
def test_weights_are_read_from_every_form(
    source: Path, tmp_path: Path, name: str, write: Callable[[Path, dict[str, Tensor]], object]
) -> None:
    write(tmp_path / name, state())
    model = load_external(f"{source}:build", tmp_path / name).model
    assert {key: value.tolist() for key, value in model.state_dict().items()} == {
        key: value.tolist() for key, value in state().items()
    }


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil-was-here"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [pickle.dump, torch.save], ids=["pickle", "torch"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_nothing_is_unpickled_freely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"weights.{suffix}"
    with path.open("wb") as file:
        write({"state_dict": Evil()}, file)
    with pytest.raises(RbdmlError, match="cannot be read without running code") as caught:
        read_state_dict(path, nested=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil-was-here").exists()


def test_what_stands_beside_the_weights_and_needs_code_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": state(), "options": Namespace(lr=1e-5)}, tmp_path / "weights.pth")
    with pytest.raises(RbdmlError, match=r"\(it holds argparse\.Namespace\): save the state_dict\(\) alone"):
        read_state_dict(tmp_path / "weights.pth", nested=True)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "holds no weights but a pointer of Git LFS"),
        ("\n<!DOCTYPE html><html></html>", "holds no weights but a web page: download the file itself"),
        ("", "holds no weights but nothing: get the file again"),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_recognised(tmp_path: Path, content: str, part: str) -> None:
    (tmp_path / "weights.pth").write_text(content)
    with pytest.raises(RbdmlError, match=part):
        read_state_dict(tmp_path / "weights.pth", nested=True)


@pytest.mark.parametrize("held", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, {1: torch.zeros(2)}, torch.zeros(2)])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, held: object) -> None:
    torch.save(held, tmp_path / "weights.pt")
    with pytest.raises(RbdmlError, match="holds no state dict"):
        read_state_dict(tmp_path / "weights.pt", nested=True)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"1.bias": None}, 'Missing key(s) in state_dict: "1.bias"'),
        ({"2.bias": torch.zeros(6)}, 'Unexpected key(s) in state_dict: "2.bias"'),
        ({"1.bias": torch.zeros(7)}, "size mismatch for 1.bias"),
        (
            {"1.bias": None, "1.weight": None, "a": torch.zeros(1)},
            '"1.weight", "1.bias". Unexpected key(s) in state_dict: "a"',
        ),
    ],
)
def test_weights_that_do_not_fit_are_told_by_name(
    source: Path, tmp_path: Path, changed: dict[str, Tensor | None], part: str
) -> None:
    held = {key: value for key, value in {**state(), **changed}.items() if value is not None}
    torch.save(held, tmp_path / "weights.pt")
    with pytest.raises(RbdmlError) as caught:
        load_external(f"{source}:build", tmp_path / "weights.pt")
    assert part in str(caught.value)
    assert "does not fit mine.py:build" in str(caught.value)


def test_missing_weights_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"absent.pt: no such checkpoint"):
        load_external(f"{source}:build", tmp_path / "absent.pt")


# The sphere


def test_embeddings_that_are_unit_vectors_are_left_as_they_are(source: Path, tmp_path: Path) -> None:
    foreign = load_external(f"{source}:unit")
    assert foreign.on_sphere(DATASET, place(tmp_path)) is foreign.model


@pytest.mark.parametrize("factory", ["build", "pixels"])
def test_others_are_scaled_to_length_1(source: Path, tmp_path: Path, factory: str) -> None:
    foreign = load_external(f"{source}:{factory}")
    model = foreign.on_sphere(DATASET, place(tmp_path))
    images = SPLIT.batch(torch.arange(5))
    assert isinstance(model, OnSphere)
    expected = [[x / sum(y * y for y in row) ** 0.5 for x in row] for row in foreign.model(images).double().tolist()]
    assert torch.allclose(model(images).double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_half_precision_comes_out_as_float32(dtype: torch.dtype, result: torch.dtype) -> None:
    embeddings = OnSphere(nn.Linear(4, 3).to(dtype))(torch.ones(2, 4, dtype=dtype))
    assert embeddings.dtype == result
    assert torch.allclose(embeddings, F.normalize(embeddings, dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("factory", "part"),
    [
        ("colour", "mine.py:colour fails on 1x28x28 images of 'few' (RuntimeError: "),
        ("maps", "mine.py:maps gives (4, 4, 26, 26) for 4 images"),
        ("several", "mine.py:several gives tuple for 4 images"),
        ("nan", "mine.py:nan gives embeddings that are not finite"),
    ],
)
def test_a_model_that_does_not_embed_is_told_in_one_line(source: Path, tmp_path: Path, factory: str, part: str) -> None:
    with pytest.raises(RbdmlError) as caught:
        load_external(f"{source}:{factory}").on_sphere(DATASET, place(tmp_path))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


# Evaluating


def test_what_is_kept_beside_a_record_makes_the_same_model_again(source: Path, tmp_path: Path) -> None:
    text = f"{source}:half"
    outcome = evaluate_external(text, None, place(tmp_path / "a"), dataset="glyphs-mini", changes=SMALL)
    assert outcome is not None
    kept = outcome.folder / CHECKPOINT_FILE
    assert {value.dtype for value in load_file(kept).values()} == {torch.bfloat16}
    again = evaluate_external(text, kept, place(tmp_path / "b"), dataset="glyphs-mini", changes=SMALL)
    assert again is not None
    assert again.record.digest == outcome.record.digest
    assert again.record.values == outcome.record.values


def test_tied_weights_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "tied.py"
    path.write_text(
        "from torch import nn\n"
        "def build():\n"
        "    first, second = nn.Linear(784, 784), nn.Linear(784, 784)\n"
        "    second.weight = first.weight\n"
        "    return nn.Sequential(nn.Flatten(), first, second)\n"
    )
    outcome = evaluate_external(f"{path}:build", None, place(tmp_path / "a"), dataset="glyphs-mini", changes=SMALL)
    assert outcome is not None
    kept = load_file(outcome.folder / CHECKPOINT_FILE)
    assert torch.equal(kept["1.weight"], kept["2.weight"])
    load_external(f"{path}:build", outcome.folder / CHECKPOINT_FILE)

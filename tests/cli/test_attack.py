"""`rbdml attack`: one attack on one image, in numbers and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Made, nothing_below, rbdml, refusal
from foreign_support import write_source
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image
from support import describe

from robustbench_dml.runs.record import read_queries
from robustbench_dml.spec.registry import ATTACKS


def attack(
    checkpoint: Path, out: Path, *options: str | Path, row: int = 17, name: str = "qa+"
) -> tuple[str | Path, ...]:
    return ("attack", checkpoint, "--query", str(row), "--attack", name, "--device", "cpu", "--out", out, *options)


def told(made: Made, out: Path, *options: str | Path, **which: Any) -> dict[str, Any]:
    answer = rbdml(*attack(made.checkpoint, out, "--json", *options, **which))
    assert (answer.code, answer.err) == (0, "")
    found: dict[str, Any] = json.loads(answer.out)
    return found


@pytest.fixture
def described_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than the attack."""
    monkeypatch.setattr(Figure, "savefig", describe)


@pytest.mark.usefixtures("described_picture")
@pytest.mark.parametrize("name", ["es", "ca+", "qa-", "gtm", "ltm"])
def test_values_are_those_of_the_record(made: Made, tmp_path: Path, name: str) -> None:
    """The attack that the evaluation made on this query, with the same target."""
    queries = read_queries(made.folder)
    info = ATTACKS.get(name)
    for place, row in enumerate(queries["query"].tolist()[:3]):
        found = told(made, tmp_path / "a.png", name=name, row=row)
        assert list(found["values"]) == [column.name for column in info.columns]
        for column in info.columns:
            expected = column.published(float(queries[column.name][place]))
            assert found["values"][column.name]["after"] == pytest.approx(expected, abs=1e-3 * column.scale)


def test_the_table_names_picture_and_settings(made: Made, tmp_path: Path) -> None:
    answer = rbdml(*attack(made.checkpoint, tmp_path / "a.png"))
    found = told(made, tmp_path / "b.png")
    assert answer.err == ""
    assert answer.out.startswith("qa+ on image 17 of glyphs-mini, class ")
    [target] = found["targets"]
    old, new = (f"{found['values']['QA+'][when]:.3f}" for when in ("before", "after"))
    rows = [line.split() for line in answer.out.splitlines()]
    assert ["QA+", old, new] in rows
    [place] = found["places"]
    moved = [str(place[when]) for when in ("before", "after")]
    assert [*f"place of image {target['image']} in the list of 17".split(), *moved] in rows
    for part in ("glyphs-mini", "regular", found["weights"][:8], "PGD-1", "eps 77/255", "seed 0"):
        assert part in answer.out
    assert found["weights"] == made.record.provenance.weights
    assert answer.out.endswith(f"picture: {tmp_path / 'a.png'}\n")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert imread(tmp_path / "a.png").ndim == 3


def test_quiet_prints_nothing_and_draws_all_the_same(made: Made, tmp_path: Path) -> None:
    answer = rbdml(*attack(made.checkpoint, tmp_path / "a.svg", "--quiet"))
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (tmp_path / "a.svg").read_text().count("<image") >= 3 + 16


@pytest.mark.usefixtures("described_picture")
def test_options_change_the_attack(made: Made, tmp_path: Path) -> None:
    before = told(made, tmp_path / "a.png", name="es")
    assert before["evaluation"] == made.record.spec.evaluation.model_dump(mode="json")
    still = told(made, tmp_path / "a.png", "--attack-steps", "0", name="es")
    assert still["values"]["ES:D"] == {"before": 0, "after": 0}
    assert still["largest change"] == 0
    options = ("--attack-norm", "l2", "--attack-eps", "1.5", "--attack-alpha", "1", "--solver", "apgd")
    euclid = told(made, tmp_path / "a.png", *options, "--attack-steps", "4", "--solver-param", "restarts=2", name="es")
    assert euclid["evaluation"]["search"] == {"optimiser": "apgd", "params": {"random_start": False, "restarts": 2}}
    assert euclid["L2 length"] <= 1.5 + 1e-5
    seeded = [told(made, tmp_path / "a.png", "--attack-seed", seed, name="tma")["targets"] for seed in "0123"]
    assert len({str(targets) for targets in seeded}) > 1


@pytest.mark.usefixtures("described_picture")
def test_it_transfers_from_a_surrogate(made: Made, tmp_path: Path) -> None:
    found = told(made, tmp_path / "a.png", "--solver", "transfer", "--surrogate", made.checkpoint)
    plain = told(made, tmp_path / "a.png")
    assert found["evaluation"]["surrogate"] == made.record.provenance.weights[:16]
    assert found["values"] == plain["values"]


def coloured(folder: Path) -> Path:
    """Four classes of three images."""
    rng = np.random.default_rng(0)
    for name in "abcd":
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_a_foreign_model_and_colour_images(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(147, 8))\n"
    )
    data = coloured(tmp_path / "data")
    out = tmp_path / "a.png"
    options = ("--model", f"{path}:build", "--dataset", f"folder:{data}", "--attack-steps", "2", "--json")
    answer = rbdml("attack", *options, "--query", "5", "--attack", "ca-", "--device", "cpu", "--out", out)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["model"], found["image"]) == ("mine.py:build", 5)
    assert found["competitors"] == 5
    assert sorted(found["top before"]) == sorted({*range(6)} - {found["list of"]})
    picture = imread(out)[..., :3]
    assert float((picture.max(axis=-1) - picture.min(axis=-1)).max()) > 0.9  # there are colours


BAD = {
    "row": (("--query", "600"), "query 600 is none of 'glyphs-mini': its test images are 0 to 599"),
    "negative row": (("--query", "-1"), "query -1 is none of 'glyphs-mini'"),
    "no number": (("--query", "first"), "'first' is not a valid integer"),
    "unknown attack": (("--attack", "esx"), "unknown attack 'esx': did you mean 'es'?"),
    "an ensemble": (("--attack", "worst-query"), "is an ensemble of attacks"),
    "unknown solver": (("--solver", "pdg"), "did you mean 'pgd'?"),
    "l2 without lengths": (("--attack-norm", "l2"), "give --attack-eps and --attack-alpha too"),
    "unknown data set": (("--dataset", "zzz"), "'zzz': `rbdml list datasets`"),
    "another kind of picture": (("--out", "a.jpg"), "a.jpg: pictures are written as .png or .svg"),
    "no such folder": (("--out", "absent/a.png"), "absent/a.png: cannot be written"),
}


@pytest.mark.parametrize(("arguments", "part"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert part in refusal(rbdml(*attack(made.checkpoint, Path("a.png"), *arguments)))
    assert nothing_below(tmp_path)


def test_a_missing_argument_is_named(made: Made, tmp_path: Path) -> None:
    model = f"{write_source(tmp_path)}:build"
    rest = ("--query", "1", "--attack", "es", "--device", "cpu")
    out = ("--out", tmp_path / "a.png")
    assert "no model to attack" in refusal(rbdml("attack", *rest, *out))
    assert "--model needs --dataset" in refusal(rbdml("attack", "--model", model, *rest, *out))
    assert "--out" in refusal(rbdml("attack", made.checkpoint, *rest))
    assert "no such checkpoint" in refusal(rbdml("attack", tmp_path / "absent", *rest, *out))
    colour = coloured(tmp_path / "data")
    assert "takes 1x28x28 images" in refusal(
        rbdml("attack", made.checkpoint, "--dataset", f"folder:{colour}", *rest, *out, "--quiet")
    )

"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

from torch import nn

import robustbench_dml as rb
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.training.testing import check_defense

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_of_a_new_defense_keeps_the_contract(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    [example] = [text for text in examples if "@register_defense" in text]
    path = tmp_path / "harder.py"
    path.write_text(example)
    name = f"{path}:harder"
    assert f"--defense {path.name}:harder" in README
    check_defense(name, params={"margin": 0.1})


def test_the_example_of_a_new_attack_runs_beside_a_protocol(tmp_path: Path) -> None:
    [example] = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "@register_attack" in text]
    path = tmp_path / "swap.py"
    path.write_text(example)
    assert "--extra-attack file.py:NAME" in README
    model = Embedder(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))
    found, benign = (
        rb.evaluate(
            model, "glyphs-mini", device="cpu", quiet=True, queries=8, steps=steps, extra_attack=[f"{path}:swap"]
        )
        for steps in (4, 0)
    )
    assert 0 <= found.attacked["SWAP"] < benign.attacked["SWAP"]
    assert "SWAP" in found.intervals and set(found.scores) == {"ERS", "sERS"}


def test_every_command_of_the_readme_is_one() -> None:
    """Its options exist; what they do is for the tests of the command line."""
    from robustbench_dml.cli.main import cli

    lines = re.findall(r"^\$ rbdml (.+?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        words = line.split()
        command = cli.commands[words[0]]
        while hasattr(command, "commands"):
            words = words[1:]
            command = command.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= known, line

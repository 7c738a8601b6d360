"""What the README and the documentation show works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

import robustbench_dml as rb
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.training.testing import check_defense

ROOT = Path(__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
EXTENDING = (ROOT / "docs/extending.md").read_text()


def example(of: str) -> str:
    [text] = [text for text in re.findall(r"```python\n(.*?)```", EXTENDING, re.DOTALL) if of in text]
    return str(text)


def test_the_example_of_a_new_defense_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "harder.py"
    path.write_text(example("@register_defense"))
    assert f"--defense {path.name}:harder" in EXTENDING
    check_defense(f"{path}:harder", params={"margin": 0.1})


def test_the_example_of_a_new_attack_runs_beside_a_protocol(tmp_path: Path) -> None:
    path = tmp_path / "swap.py"
    path.write_text(example("@register_attack"))
    assert "--extra-attack file.py:NAME" in EXTENDING
    model = Embedder(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))
    found, benign = (
        rb.evaluate(
            model, "glyphs-mini", device="cpu", quiet=True, queries=8, steps=steps, extra_attack=[f"{path}:swap"]
        )
        for steps in (4, 0)
    )
    assert 0 <= found.attacked["SWAP"] < benign.attacked["SWAP"]
    assert "SWAP" in found.intervals and set(found.scores) == {"ERS", "sERS"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_is_one(page: Path) -> None:
    """Its options exist; what they do is for the tests of the command line."""
    from robustbench_dml.cli.main import cli

    text = (ROOT / page).read_text()
    lines = re.findall(r"^\$ rbdml (.+?)(?:\s+#.*)?$", text, re.MULTILINE) + re.findall(r"`rbdml ([^`]+)`", text)
    for line in lines:
        words = line.split()
        command = cli.commands[words[0]]
        while hasattr(command, "commands") and words[1:]:
            words = (
                words[1:] if words[1] in command.commands else ["run", *words[1:]]
            )  # `sweep FILE` is `sweep run FILE`
            command = command.commands[words[0]]
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_link_is_dead(page: Path) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [link.partition("#")[0] for link in links if not link.startswith(("http:", "https:", "mailto:", "#"))]
    assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_paragraph_of_the_documentation_is_long(page: Path) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    prose = [part for part in re.split(r"\n\s*\n", text) if not part.lstrip().startswith(("|", "#", "<!--"))]
    items = [item for part in prose for item in re.split(r"\n(?=[-*] |\d+\. )", part)]
    assert max((len(item.split()) for item in items), default=0) <= 120


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert len(text.encode()) <= 8192

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustbench_dml.datasets import emoji
from robustbench_dml.datasets.base import Roots
from robustbench_dml.errors import RbdmlError

INDEX = {"size": 64, "train": [["images/a/b.png", "a"]], "test": [["images/c/d.png", "c"]]}


def write(root: Path, text: str) -> Roots:
    (root / "emoji" / "64").mkdir(parents=True)
    (root / "emoji" / "64" / emoji.INDEX).write_text(text)
    return Roots(root)


def test_the_lists_of_an_index_are_read(tmp_path: Path) -> None:
    listing = emoji.read(64, write(tmp_path, json.dumps(INDEX)))
    assert (listing.train.paths, listing.test.paths) == (("images/a/b.png",), ("images/c/d.png",))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[" * 100_000, "1" * 10_000, json.dumps({**INDEX, "train": 1}), json.dumps({**INDEX, "test": [[1, 2]]})],
    ids=["empty", "a list", "deep", "a number of 10,000 digits", "no list", "no text"],
)
def test_a_damaged_index_is_told_in_a_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(RbdmlError, match=r"/index\.json: damaged .*: remove .* and prepare 'emoji' again"):
        emoji.read(64, write(tmp_path, text))

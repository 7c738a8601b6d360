"""Templates of `rbdml new`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.utils.errors import RbdmlError

HERE = Path(__file__).parent


def write_defense(name: str, folder: Path | None = None) -> list[Path]:
    """Write a working defense and its test; returns both paths.

    Args:
        name: lower-case words joined by hyphens.
        folder: folder of both files; by default defenses/ and tests/defenses/ of a checkout, else the current folder.

    Raises:
        RbdmlError: a name in use or of another form, or an existing file.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise RbdmlError(f"'{name}' is no name for a defense: use lower-case words joined by hyphens, like my-defense")
    if name in {info.name for info in DEFENSES}:
        raise RbdmlError(f"there is a defense '{name}' already: choose another name")
    checkout = folder is None and Path("defenses").is_dir() and Path("tests/defenses").is_dir()
    stem = name.replace("-", "_")
    if checkout:
        source, test = Path("defenses") / f"{stem}.py", Path("tests/defenses") / f"test_{stem}.py"
    else:
        source, test = (folder or Path()) / f"{stem}.py", (folder or Path()) / f"test_{stem}.py"
    for path in (source, test):
        if path.exists():
            raise RbdmlError(f"{path} is there already: remove it or choose another name")
    words = {
        "name": name,
        "class_name": "".join(word.capitalize() for word in name.split("-")),
        "reference": f'"{name}"' if checkout else f"f\"{{Path(__file__).parent / '{stem}.py'}}:{name}\"",
        "imports": "" if checkout else "from pathlib import Path\n\n",
    }
    try:
        for path, template in ((source, "defense.py.txt"), (test, "test_defense.py.txt")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template((HERE / template).read_text()).substitute(words))
    except OSError as error:
        raise RbdmlError(f"cannot write to {source.parent} ({error.strerror}): choose another --folder") from None
    return [source, test]

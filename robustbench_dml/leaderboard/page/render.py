"""Writing the page: one file with everything in it, that can load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.leaderboard.page.data import page_data
from robustbench_dml.report.published import Reported
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import write_atomically

TEMPLATE = "page.html"
LIBRARIES = ("vendor/plotly-basic.min.js", "vendor/tabulator.min.js")
STYLES = ("vendor/tabulator_simple.min.css", "page.css")
SCRIPTS = ("dom.js", "state.js", "looks.js", "columns.js", "table.js", "plots.js", "record.js", "main.js")
LICENCES = {"Plotly.js": "vendor/plotly.LICENSE", "Tabulator": "vendor/tabulator.LICENSE"}
# Plotly adds rules to an element of this name; it is there from the start so that the policy below can know it.
PLOTLY_STYLE = "/* plotly.js writes its rules here */"
SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S*")


def render(boards: Sequence[Board], reported: Sequence[Reported]) -> str:
    """The page as HTML: complete, and the same text for the same boards and reported results."""
    libraries, styles = [_read(name) for name in LIBRARIES], [_read(name) for name in STYLES]
    own = "(() => {\n'use strict';\n" + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"
    scripts = [*libraries, own]
    return (
        Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
        .from_string(_read(TEMPLATE))
        .render(
            policy=policy(scripts, [*styles, PLOTLY_STYLE]),
            scripts=[Markup(text) for text in scripts],  # noqa: S704 - files of this package
            styles=[Markup(text) for text in styles],  # noqa: S704 - likewise
            plotly_style=Markup(PLOTLY_STYLE),  # noqa: S704 - written above
            data=Markup(embedded(page_data(boards, reported))),  # noqa: S704 - escaped by `embedded`
            licences={name: _read(file) for name, file in LICENCES.items()},
        )
    )


def write_page(boards: Sequence[Board], reported: Sequence[Reported], path: Path) -> None:
    """Write the page, atomically.

    Raises:
        RbdmlError: no permission or room to write.
    """
    try:
        write_atomically(path, render(boards, reported).encode())
    except OSError as error:
        raise RbdmlError(f"{path}: cannot be written ({error.strerror}): free some space or get permission") from None


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A Content-Security-Policy: these scripts and styles, images made by the page itself, and nothing else at all."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(map(_source, scripts)),
            "style-src " + " ".join(map(_source, styles)),
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def embedded(data: Any) -> str:
    """JSON that can stand in a script element: in it is nothing that HTML or JavaScript read otherwise."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII alone: no U+2028, no lone surrogate
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    text = (files("robustbench_dml.leaderboard.page") / name).read_text(encoding="utf-8")
    return SOURCE_MAP.sub("", text)  # a browser's tools would look for the file

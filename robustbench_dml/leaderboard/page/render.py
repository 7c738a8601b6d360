"""The page: one HTML file, which contains everything and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.leaderboard.page.data import page_data
from robustbench_dml.report.published import Reported

TEMPLATE = "page.html"
LIBRARIES = ("vendor/plotly-basic.min.js", "vendor/tabulator.min.js")
STYLES = ("vendor/tabulator_simple.min.css", "page.css")
SCRIPTS = ("dom.js", "state.js", "looks.js", "columns.js", "table.js", "plots.js", "record.js", "main.js")
LICENCES = {"Plotly.js": "vendor/plotly.LICENSE", "Tabulator": "vendor/tabulator.LICENSE"}
BIBTEX = """\
@software{robustbench_dml,
  title  = {{RobustBench-DML}: adversarial robustness in deep metric learning},
  author = {{The RobustBench-DML authors}},
  year   = {2026}
}"""
# Plotly adds rules to this element. It exists from the start, so that the policy below can name its hash.
PLOTLY_STYLE = "/* plotly.js writes its rules here */"
SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S*")


def render(boards: Sequence[Board], reported: Sequence[Reported]) -> str:
    """Write the page as HTML; the same boards and reported results give the same text."""
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
            bibtex=BIBTEX,
            licences={name: _read(file) for name, file in LICENCES.items()},
        )
    )


def policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Write a Content-Security-Policy that allows these scripts and styles, images made by the page, and no more."""
    allowed = {"script-src": scripts, "style-src": styles}
    hashes = [f"{kind} {' '.join(map(_source, texts))}" for kind, texts in allowed.items()]
    return "; ".join(["default-src 'none'", *hashes, "img-src data: blob:", "base-uri 'none'", "form-action 'none'"])


def embedded(data: Any) -> str:
    """Write JSON for a script element, without characters that HTML or JavaScript would interpret."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII: no U+2028, no lone surrogate
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    text = (files("robustbench_dml.leaderboard.page") / name).read_text(encoding="utf-8")
    return SOURCE_MAP.sub("", text)  # browsers would request the file

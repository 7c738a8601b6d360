"""Compare the installed dependencies with the advisories of PyPI, by pip-audit.

    python .ci/audit.py --tools FOLDER

The audit covers the packages that `pip freeze` lists: the versions that the tests ran with. pip-audit lives in a
separate environment in FOLDER. The exit code is 1 for an advisory that is not in `ACCEPTED`. If the service does not
answer, nothing is audited and the exit code is 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ACCEPTED: dict[str, str] = {}  # advisories that do not concern this project, by identifier, and why
PINNED = "pip-audit>=2.10,<3"
UNREACHABLE = "audit: the advisories could not be asked for: nothing was audited"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit this environment and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="folder of the environment of pip-audit")
    tool = _installed(parser.parse_args(arguments).tools)
    packages = _frozen()
    # One package first: if the service is out of reach, the others need not be tried.
    probe = None if tool is None else _audited(tool, packages[:1])
    if tool is None or probe is None or _skipped(probe):
        print(UNREACHABLE)
        return 0
    audited = _audited(tool, packages)
    if audited is None:
        print(UNREACHABLE)
        return 0
    return _report(audited)


def _installed(tools: Path) -> Path | None:
    """Path of pip-audit, after an installation if it is missing; None if that fails."""
    tool = tools / "bin" / "pip-audit"
    if not tool.is_file():
        venv.create(tools, with_pip=True)
        command = [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", PINNED]
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - pip of the environment just made
            return None
    return tool


def _frozen() -> list[str]:
    """`name==version` of packages from an index, without the local part of the version."""
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable", "--exclude", "robustbench-dml"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own pip
    return [line.partition("+")[0] for line in done.stdout.splitlines() if "==" in line]


def _audited(tool: Path, packages: Sequence[str]) -> list[dict[str, Any]] | None:
    """Answer of pip-audit for each package; None if it has none."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("\n".join(packages) + "\n")
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--desc", "off"]
        done = subprocess.run(  # noqa: S603 - the tool that was installed above
            [str(tool), "--requirement", str(listed), *options], capture_output=True, text=True, check=False
        )
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        return None


def _skipped(audited: Sequence[dict[str, Any]]) -> list[str]:
    return [package["name"] for package in audited if "skip_reason" in package]


def _report(audited: Sequence[dict[str, Any]]) -> int:
    """Print the advisories; return 1 if any of them is open."""
    skipped, open_ones = _skipped(audited), 0
    for package in audited:
        for advisory in package.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            reason = next((why for name, why in ACCEPTED.items() if name in names), None)
            open_ones += reason is None
            update = ", ".join(advisory.get("fix_versions", ())) or "nothing yet"
            remedy = f"update to {update}" if reason is None else f"accepted: {reason}"
            print(f"audit: {package['name']} {package['version']}: {advisory['id']}: {remedy}")
    if skipped:
        print(f"audit: not known to the service: {', '.join(skipped)}")
    print(f"audit: {len(audited) - len(skipped)} packages, {open_ones} open advisories")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())

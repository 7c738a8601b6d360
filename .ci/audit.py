"""Holds the installed dependencies against the advisories that PyPI knows, by pip-audit.

    python .ci/audit.py --tools FOLDER

What is audited is what `pip freeze` says of this environment: the very versions that the tests ran with. pip-audit has
an environment of its own, in FOLDER, for its dependencies are not ours. Ends with 1 where an advisory is not in
`ACCEPTED`. Where the service does not answer it says so and ends with 0: that is no finding, and no audit either.
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
    """Audit this environment; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="folder of the environment of pip-audit")
    tool = _installed(parser.parse_args(arguments).tools)
    packages = _frozen()
    # One package first: where the service is out of reach, the others are not asked for in vain.
    probe = None if tool is None else _audited(tool, packages[:1])
    if tool is None or probe is None or _skipped(probe):
        print(UNREACHABLE)
        return 0
    found = _audited(tool, packages)
    if found is None:
        print(UNREACHABLE)
        return 0
    return _tell(found)


def _installed(tools: Path) -> Path | None:
    """pip-audit, installed where it is not; None where that fails."""
    tool = tools / "bin" / "pip-audit"
    if not tool.is_file():
        venv.create(tools, with_pip=True)
        command = [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", PINNED]
        if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - pip of the environment just made
            return None
    return tool


def _frozen() -> list[str]:
    """`name==version` of what is installed from an index, without what a build adds to its version."""
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable", "--exclude", "robustbench-dml"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own pip
    return [line.partition("+")[0] for line in done.stdout.splitlines() if "==" in line]


def _audited(tool: Path, packages: Sequence[str]) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None where it cannot say anything."""
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


def _skipped(found: Sequence[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in found if "skip_reason" in one]


def _tell(found: Sequence[dict[str, Any]]) -> int:
    """Print what was found; 1 if anything has to be done."""
    skipped, open_ones = _skipped(found), 0
    for one in found:
        for advisory in one.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            reason = next((why for name, why in ACCEPTED.items() if name in names), None)
            open_ones += reason is None
            update = ", ".join(advisory.get("fix_versions", ())) or "nothing yet"
            told = f"update to {update}" if reason is None else f"accepted: {reason}"
            print(f"audit: {one['name']} {one['version']}: {advisory['id']}: {told}")
    if skipped:
        print(f"audit: not known to the service: {', '.join(skipped)}")
    print(f"audit: {len(found) - len(skipped)} packages, {open_ones} open advisories")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main())

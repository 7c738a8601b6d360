"""Search for input that is neither accepted nor refused in one line, guided by code coverage.

    pip install 'atheris>=3,<4'
    PYTHONPATH=tests python -m fuzz.run sweep --seconds 60 --keep found

Every target (`--list`) is a process of its own, with a limit of time and of memory. It goes on after a finding: those
that end in the same place count as one, and the first input of each is kept. Prints a line of JSON for each target and
ends with 1 if there was a finding, a crash, a hang or an input that takes all of the memory.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(
    include=["robustbench_dml", "zipfile", "tarfile", "tomllib", "csv", "PIL", "numpy.lib"]
):
    from fuzz.all import targets
    from fuzz.target import Target, judge

MEGABYTES = 3000  # of which PyTorch takes one
HANG = 20  # seconds of one input
OPTIONS = (f"-timeout={HANG}", f"-rss_limit_mb={MEGABYTES}", "-max_len=20000", "-len_control=0")


def main() -> None:
    """Fuzz the targets that are named, all without a name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder of what broke something")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, RBDML_CACHE=home)
        known = targets(Path(home))
        if given.list:
            print("\n".join(known))
            return
        broken = 0
        given.keep.mkdir(parents=True, exist_ok=True)
        for name in given.targets or known:
            told = _run(known[name], given.seconds, given.keep.absolute())
            broken += bool(told["findings"] or told["died"])
            print(json.dumps(told), flush=True)
    sys.exit(1 if broken else 0)


def _run(target: Target, seconds: int, keep: Path) -> dict[str, Any]:
    """Run one target in its own process, and read the counts from the output of libFuzzer."""
    log, notes = keep / f"{target.name}.log", keep / f"{target.name}.json"
    notes.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        _fuzz(target, seconds, keep)  # ends this process
    _, status = os.waitpid(child, 0)
    printed = log.read_text(errors="replace")
    counted = re.findall(r"cov: (\d+) ft: (\d+).*exec/s: (\d+)", printed)
    reached, features, speed = map(int, counted[-1]) if counted else (0, 0, 0)
    told = json.loads(notes.read_text()) if notes.is_file() else {}
    died = re.findall(r"ERROR: (libFuzzer: [\w -]+)", printed) or [f"status {status}"]
    return {
        "target": target.name,
        **{kind: told.get(kind, 0) for kind in ("inputs", "taken", "refused", "refusals")},
        "per_second": speed,
        "coverage": reached,
        "features": features,
        "findings": told.get("findings", {}),
        "died": died[0] if status else None,
    }


def _fuzz(target: Target, seconds: int, keep: Path) -> None:
    """Fuzz one target in this process, which ends with it."""
    corpus, work = Path(tempfile.mkdtemp(dir=os.environ["HOME"])), Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    counts: collections.Counter[str] = collections.Counter()
    findings: dict[str, str] = {}
    kinds: set[str] = set()

    def one(data: bytes) -> None:
        folder = work / "input"
        folder.mkdir()
        try:
            refused = judge(target, data, folder)
            counts["taken" if refused is None else "refused"] += 1
            kinds.update([] if refused is None else [re.sub(r"'.*'|\d+|/\S+", "", refused)[:60]])
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            if where not in findings:
                findings[where] = str(error)[:200]
                (keep / f"{target.name}-{len(findings)}.input").write_bytes(data)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            counts["inputs"] += 1
            if counts["inputs"] % 20 == 0:
                told = {**counts, "refusals": len(kinds), "findings": findings}
                (keep / f"{target.name}.json").write_text(json.dumps(told))

    limits = (f"-max_total_time={seconds}", f"-artifact_prefix={keep / target.name}-")
    atheris.Setup([sys.argv[0], *OPTIONS, *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

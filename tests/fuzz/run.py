"""Looks for input that is neither taken nor refused in a line, guided by what code it reaches.

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
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

MEGABYTES = 2048
HANG = 20  # seconds of one input
INSTRUMENTED = ["robustbench_dml", "zipfile", "tarfile", "gzip", "tomllib", "csv", "PIL", "numpy.lib", "safetensors"]


def main() -> None:
    """Fuzz the targets that are named, all without a name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder of what broke something")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _fuzz(given.targets[0], given.seconds, given.keep)
        return
    names = given.targets or _names()
    if given.list:
        print("\n".join(_names()))
        return
    broken = 0
    for name in names:
        told = _run(name, given.seconds, given.keep.absolute())
        broken += bool(told["findings"] or told["died"])
        print(json.dumps(told), flush=True)
    sys.exit(1 if broken else 0)


def _names() -> list[str]:
    from fuzz.all import targets

    with tempfile.TemporaryDirectory() as folder:
        return list(targets(Path(folder)))


def _run(name: str, seconds: int, keep: Path) -> dict[str, Any]:
    """One target in a process of its own; what libFuzzer counted is read from what it prints."""
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        bare = {"HOME": home, "RBDML_CACHE": home, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "fuzz.run", name, "--child", "--seconds", str(seconds), "--keep", str(keep)]
        done = subprocess.run(
            command, check=False, env={**os.environ, **bare}, capture_output=True, text=True, errors="replace"
        )
    (keep / f"{name}.log").write_text(done.stderr)
    counted = re.findall(r"cov: (\d+) ft: (\d+).*exec/s: (\d+)", done.stderr)
    reached, features, speed = map(int, counted[-1]) if counted else (0, 0, 0)
    findings = keep / f"{name}.json"
    told = json.loads(findings.read_text()) if findings.is_file() else {}
    died = re.findall(r"(libFuzzer: [\w-]+(?: [\w-]+)*|Segmentation fault)", done.stderr)
    return {
        "target": name,
        "inputs": told.get("inputs", 0),
        "per_second": speed,
        "coverage": reached,
        "features": features,
        "taken": told.get("taken", 0),
        "refused": told.get("refused", 0),
        "refusals": told.get("refusals", 0),
        "findings": told.get("findings", {}),
        "died": died[0] if died and done.returncode else None,
    }


def _fuzz(name: str, seconds: int, keep: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.all import targets
        from fuzz.target import judge

    home = Path(os.environ["HOME"])
    target = targets(home)[name]
    corpus, work = home / "corpus", home / "work"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    counts: collections.Counter[str] = collections.Counter()
    findings: dict[str, str] = {}
    kinds: set[str] = set()

    def one(data: bytes) -> None:
        work.mkdir()
        try:
            refused = judge(target, data, work)
            counts["taken" if refused is None else "refused"] += 1
            if refused is not None:
                kinds.add(re.sub(r"'.*'|\d+|/\S+", "", refused)[:80])
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            if where not in findings:
                findings[where] = str(error)[:200]
                (keep / f"{name}-{len(findings)}.input").write_bytes(data)
        finally:
            shutil.rmtree(work, ignore_errors=True)
            counts["inputs"] += 1
            if counts["inputs"] % 50 == 0 or findings:
                told = {**counts, "refusals": len(kinds), "findings": findings}
                (keep / f"{name}.json").write_text(json.dumps(told))

    options = [
        f"-max_total_time={seconds}",
        f"-timeout={HANG}",
        f"-rss_limit_mb={MEGABYTES}",
        "-max_len=20000",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={keep / name}-", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

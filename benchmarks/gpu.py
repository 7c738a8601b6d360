"""Everything that a machine with a GPU can show and no other: tests, runs, speed, memory, two devices.

    make gpu

Writes results/gpu.md, a summary to paste into an issue. Each step is a process with a time limit, and a step that fails
does not stop the others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tabulate import tabulate

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils import provenance
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.memory import enough_memory
from robustbench_dml.utils.progress import Progress

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NETWORKS = ("c2f2", "resnet18", "resnet50", "mnasnet1_0", "swin_t")
PRECISIONS = ("fp32", "tf32", "bf16")
RUN = "run --defense hm-lga-ics --dataset glyphs --budget 20k --protocol ers --queries 64 --attack-steps 8 --quiet"


@dataclass(frozen=True)
class Step:
    """A command, and its longest time in seconds."""

    name: str
    words: Sequence[str]
    limit: float = 40


def steps(device: str, out: Path) -> Iterator[Step]:
    """All steps, the most informative first, ten minutes at the most."""
    python, rbdml = [sys.executable], [sys.executable, "-m", "robustbench_dml"]
    run = [*rbdml, *RUN.split(), "--device", device, "--out", str(out)]
    for precision in PRECISIONS:
        yield Step(f"run in {precision}", [*run, "--precision", precision, "--attack-precision", precision], limit=50)
    yield Step("tests of a GPU", [*python, "-m", "pytest", "-q", str(HERE.parent / "tests/solvers/test_early_exit.py")])
    if torch.cuda.device_count() > 1:
        yield Step("run on two GPUs", [*run, "--devices", "2", "--seed", "1"])
    for network in NETWORKS:
        yield Step(f"memory of {network}", [*python, __file__, "--memory", network, "--device", device])
    bench = [*python, str(HERE / "bench.py"), "--device", device, "--out", str(RESULTS)]
    yield Step("speed of training", [*bench, "training"], limit=120)
    yield Step("speed of retrieval", [*bench, "retrieval"], limit=40)


def outcome(step: Step) -> dict[str, str]:
    """Do a step; returns its row of the summary."""
    start = time.perf_counter()
    try:
        done = subprocess.run(step.words, capture_output=True, text=True, timeout=step.limit, check=False)  # noqa: S603 - own commands
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        result, last = ("ok" if done.returncode == 0 else f"code {done.returncode}"), (lines or [""])[-1]
    except subprocess.TimeoutExpired:
        result, last = f"not done in {step.limit:.0f} s", ""
    return {"step": step.name, "result": result, "s": f"{time.perf_counter() - start:.0f}", "last line": last[:200]}


class AfterOne(Interrupts):
    """Ends a training after its first iteration."""

    def check(self) -> None:
        """Called after every iteration."""
        raise KeyboardInterrupt


def peak(network: str, precision: str, device: torch.device) -> str:
    """Return the peak memory of an iteration of HM&ICS at the published batch, on random images."""
    info = BACKBONES.get(network)
    side, name = info.side or 224, "fashion" if info.channels == 1 else "cub"
    images = torch.randint(0, 256, (448, info.channels, side, side), dtype=torch.uint8)
    split = Split(images, torch.arange(448) // 4)
    training = {"precision": precision, "eta": 1, "batchnorm": "frozen", "transform": "none"}
    words = {"backbone": network, "pretrained": False, "budget": "100G", "training": training}
    spec = make_spec(defense="hm-lga-ics", dataset=name, **words)  # type: ignore[arg-type]
    try:
        with enough_memory("fewer pairs"), suppress(KeyboardInterrupt):
            trainer = Trainer(spec, Dataset(name, split, split, {}), device=device)
            trainer.run(progress=Progress(quiet=True), interrupts=AfterOne())
    except RbdmlError as error:
        return str(error)
    return f"{provenance.peak_memory(device) / 1e9:.2f} GB"


def summary(rows: Sequence[dict[str, str]], device: torch.device) -> str:
    """Return the text to paste."""
    commit, dirty = provenance.source_commit()
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items())
    state = f"commit {(commit or 'unknown')[:8]}{'+' if dirty else ''}"
    head = f"# `make gpu`\n\n{provenance.device_name(device)}; {versions}; {state}; {provenance.now()}\n"
    return f"{head}\n{tabulate(rows, headers='keys', tablefmt='github')}\n"


def main() -> None:
    """Do all steps, write the summary and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--memory", metavar="NETWORK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.memory:
        found = {precision: peak(options.memory, precision, device) for precision in PRECISIONS}
        print(", ".join(f"{precision}: {memory}" for precision, memory in found.items()))
        return
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU here that PyTorch can use")
    with TemporaryDirectory() as folder:
        rows = [outcome(step) for step in steps(options.device, Path(folder))]
    options.out.mkdir(parents=True, exist_ok=True)
    text = summary(rows, device)
    (options.out / "gpu.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

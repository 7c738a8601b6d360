"""A training iteration at eta 8: the package's, the straightforward one, and the bare passes it needs.

*As trained*: iterations 60 to 70 of a training, where triplets leave at their destination. *Every step*: no triplet
leaves, the highest cost of an iteration.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from measure import Case, fastest, timed
from straightforward import training as plain
from straightforward.model import Plain
from torch import Tensor, nn

from parts.attacks import dataset_name
from robustbench_dml.datasets.base import DataPaths, Dataset, Split
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import Precision, RunSpec
from robustbench_dml.training.batches import PairSampler
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.memory import keep_freed_memory
from robustbench_dml.utils.precision import best_precision, bfloat16, weights_unchanged
from robustbench_dml.utils.progress import Progress
from robustbench_dml.utils.provenance import peak_memory

ROUNDS = 1
ETA = 8
PAIRS = {"c2f2": 128, "resnet18": 56}
DEFENSES = ("regular", "act", "hm-lga-ics")
# The hardness 2 is out of reach: no triplet gets there.
EVERY_STEP = {"hm-lga-ics": {"destination": "2", "early_stop": False}}
KINDS = {"forward_only": 2, "to_input": 3, "to_weights": 5}  # of passes, and images a pair in those of HM
WINDOWS = {"c2f2 as trained": (60, 70), "c2f2 every step": (3, 8), "resnet18 every step": (1, 2)}


@cache
def dataset(backbone: str) -> Dataset:
    """Real small images, or random ones of the size of photographs."""
    if backbone == "c2f2":
        return load_dataset(dataset_name(), DataPaths(None))
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (448, 3, 256, 256), generator=rng, dtype=torch.uint8)
    split = Split(images, torch.arange(448) // 4, crop=224)
    return Dataset("cub", split, split, {})


def spec_of(workload: str, defense: str, precision: Precision) -> RunSpec:
    """The published settings of the data set's family, at eta 8."""
    backbone, _, mode = workload.partition(" ")
    return make_spec(
        defense=defense,
        dataset=dataset(backbone).name,
        backbone=backbone,
        pretrained=False,
        budget="100G",
        params=EVERY_STEP.get(defense) if mode == "every step" else None,
        training={"eta": ETA, "pairs": PAIRS[backbone], "precision": precision, "batchnorm": "frozen", "warmup": 0},
    )


class Stopwatch(Interrupts):
    """Stops a training after some iterations and measures the time and cost of those from `first` on."""

    def __init__(self, trainer: Trainer, first: int, last: int) -> None:
        super().__init__()
        self._trainer, self._first, self._last = trainer, first, last
        self.start = self.seconds = 0.0
        self.before = self.after = trainer.spent

    def check(self) -> None:
        """Called after every iteration."""
        spent = self._trainer.spent
        if spent.iterations == self._first:
            self.before, self.start = spent, time.perf_counter()
        if spent.iterations == self._last:
            self.after, self.seconds = spent, time.perf_counter() - self.start
            raise KeyboardInterrupt


def watched(trainer: Trainer, first: int, last: int) -> Stopwatch:
    """Train and measure the iterations from `first` to `last`."""
    watch = Stopwatch(trainer, first, last)
    with contextlib.suppress(KeyboardInterrupt):
        trainer.run(progress=Progress(quiet=True), interrupts=watch)
    return watch


def ours(workload: str, defense: str, precision: Precision | None, device: torch.device) -> dict[str, float]:
    """Return the seconds of an iteration with everything that training does, and the images that it propagates."""
    backbone = workload.partition(" ")[0]
    trainer = Trainer(spec_of(workload, defense, precision or best_precision(device)), dataset(backbone), device=device)
    watch = watched(trainer, *WINDOWS[workload])
    count = watch.after.iterations - watch.before.iterations
    spent = {kind: (getattr(watch.after, kind) - getattr(watch.before, kind)) / count for kind in KINDS}
    return {"seconds": watch.seconds / count, **spent, "peak GB": peak_memory(device) / 1e9}


def straightforward(backbone: str, defense: str, device: torch.device) -> dict[str, float]:
    """Return the seconds of an iteration, which always takes every step."""
    spec, data = spec_of(f"{backbone} every step", defense, "fp32"), dataset(backbone).train
    model = Plain(build_embedder(BACKBONES.get(backbone), seed=0, device=torch.device("cpu"))).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=spec.training.lr, weight_decay=spec.training.weight_decay)
    pairs = PairSampler(data.labels, pairs=PAIRS[backbone], seed=0)
    threat = plain.Settings(spec.training.threat.eps, spec.training.threat.alpha, ETA)

    def iterate(number: int) -> None:
        indices = pairs.indices(number)
        images, labels = data.batch(indices).to(device), data.labels[indices].to(device)
        if defense == "hm-lga-ics":
            with torch.no_grad():
                triplets = plain.softhard_triplets(labels, model.eval()(images))
            loss = plain.hm_ics(model, images, triplets, threat, destination=2.0, weight=0.5)
        elif defense == "act":
            loss = plain.act(model, images, plain.random_triplets(labels), threat)
        else:
            loss = plain.regular(model, images, plain.random_triplets(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    count = 3 if backbone == "c2f2" or device.type == "cuda" else 1
    if count > 1:
        iterate(0)
    seconds = timed(lambda: [iterate(number) for number in range(count)], device) / count
    return {"seconds": seconds, "peak GB": peak_memory(device) / 1e9}


def bare(backbone: str, device: torch.device) -> dict[str, float]:
    """Return the seconds of one image in each kind of pass, at the batch of an iteration, in the fastest format."""
    if device.type == "cpu":
        keep_freed_memory()
    network = build_embedder(BACKBONES.get(backbone), seed=0, device=device).eval().backbone
    shape = dataset(backbone).image_shape
    found = {}
    for kind, images in KINDS.items():
        batch = torch.rand(images * PAIRS[backbone], *shape, device=device)
        batch = batch.contiguous(memory_format=torch.channels_last)
        repeat = 5 if backbone == "c2f2" or device.type == "cuda" else 1
        works = [partial(work, kind, batch) for work in formats(network, device)]
        found[kind] = min(fastest(work, device, repeat=repeat) for work in works) / len(batch)
    return found


def formats(network: nn.Module, device: torch.device) -> Iterator[Callable[[str, Tensor], None]]:
    """Ways to propagate a batch: float32, weights cast for bfloat16 products, all in bfloat16."""
    coarse = copy.deepcopy(network).bfloat16()

    def cast(kind: str, images: Tensor) -> None:
        with weights_unchanged(device), bfloat16(device):
            propagate(network, kind, images)

    yield partial(propagate, network)
    yield cast
    yield lambda kind, images: propagate(coarse, kind, images.bfloat16())


def compiled(backbone: str, device: torch.device) -> dict[str, float]:
    """Seconds of one image forward and backward to the input, compiled (on a GPU as CUDA graphs) and not."""
    if device.type == "cpu":
        keep_freed_memory()
    network = build_embedder(BACKBONES.get(backbone), seed=0, device=device).eval().backbone.bfloat16()
    images = torch.rand(3 * PAIRS[backbone], *dataset(backbone).image_shape, device=device).bfloat16()
    images = images.contiguous(memory_format=torch.channels_last)
    made = torch.compile(network, mode="reduce-overhead" if device.type == "cuda" else None)
    seconds = [fastest(partial(propagate, net, "to_input", images), device, warm=2) for net in (network, made)]
    return {"eager": seconds[0] / len(images), "compiled": seconds[1] / len(images)}


def propagate(network: nn.Module, kind: str, images: Tensor) -> None:
    """One pass of a kind."""
    if kind == "forward_only":
        with torch.no_grad():
            network(images)
    elif kind == "to_input":
        images = images.detach().requires_grad_()
        torch.autograd.grad(network(images).float().sum(), images)
    else:
        network.zero_grad()
        network(images).float().sum().backward()


CASES: dict[str, Case] = {f"bare {backbone}": partial(bare, backbone) for backbone in PAIRS}
if shutil.which("g++"):  # what torch.compile needs
    CASES |= {f"compiled {backbone}": partial(compiled, backbone) for backbone in PAIRS}
for workload in WINDOWS:
    for defense in DEFENSES if "every step" in workload else ("hm-lga-ics",):
        CASES[f"ours {workload} {defense}"] = partial(ours, workload, defense, None)
        if workload.startswith("c2f2"):
            CASES[f"fp32 {workload} {defense}"] = partial(ours, workload, defense, "fp32")
for backbone in PAIRS:
    for defense in DEFENSES:
        CASES[f"straightforward {backbone} {defense}"] = partial(straightforward, backbone, defense)


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Return a row for each workload and defense."""
    table = []
    for name, value in found.items():
        kind, _, rest = name.partition(" ")
        if kind not in ("ours", "fp32"):
            continue
        workload, _, defense = rest.rpartition(" ")
        backbone = workload.partition(" ")[0]
        limit = sum(value[kind] * found[f"bare {backbone}"][kind] for kind in KINDS)
        slow = found[f"straightforward {backbone} {defense}"]["seconds"]
        passes = value["to_input"] + value["to_weights"] + value["forward_only"] / 3
        table.append(
            {
                "iteration": f"{defense}, {workload}" + (", fp32" if kind == "fp32" else ""),
                "passes": round(passes),
                "ms": 1000 * value["seconds"],
                "straightforward ms": 1000 * slow,
                "x faster": slow / value["seconds"],
                "limit ms": 1000 * limit,
                "x limit": value["seconds"] / limit,
                "images/s": passes / value["seconds"],
                "peak GB": value["peak GB"],
            }
        )
    return table

"""The options of a run, each declared once.

The command line, the keys of a sweep, the keywords of `robustbench_dml.run` and the command that repeats a record all
come from this table. It imports no PyTorch, so that `rbdml --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from robustbench_dml.spec.loss_names import LOSS_MINERS, LOSSES, NO_MINER, TRIPLET
from robustbench_dml.utils.errors import RbdmlError, did_you_mean


class Kind(Enum):
    """The type of an option's value."""

    TEXT = "text"
    BUDGET = "budget"  # text; a whole number is a number of passes
    TIME = "time"  # 90s, 5min, 2h
    PATH = "path"
    DEVICE = "auto, cpu, cuda or cuda:1"
    WHOLE = "whole number"
    COUNT = "whole number or `all`"
    NUMBER = "number"
    QUOTIENT = "number such as 0.03 or 8/255"
    FLAG = "flag"  # off unless given
    SWITCH = "switch"  # --name or --no-name
    LIST = "list"  # given several times
    TABLE = "table"  # name=value, given several times


# Headings of the help.
WHAT, BUDGET, TRAINING, ATTACK, OUTPUT = "What", "Budget", "Training", "Attack", "Machine and output"
# Parts of a run: arguments of `make_spec`, three tables among them, its context, and what concerns one call alone.
SPEC, PARAMS, TRAIN, EVALUATE, CONTEXT, CALL = "spec", "params", "training", "evaluation", "context", "call"
TABLES = (PARAMS, TRAIN, EVALUATE)


@dataclass(frozen=True)
class Option:
    """One option of a run."""

    name: str  # name on the command line, without dashes; also the key in a sweep
    help: str  # a noun phrase with unit, without the default
    kind: Kind = Kind.TEXT  # type of the value
    _: KW_ONLY
    group: str  # heading in the help
    part: str  # the part of a run that the option sets
    key: str = ""  # name within this part; the keyword by default
    choices: tuple[str, ...] = ()  # the values to choose from
    auto: bool = False  # takes `auto` where the device is known: the precision that the device does best
    default: Any = None  # None leaves the value to the published settings
    usual: str = ""  # text for that default
    at_least: int | None = None  # the smallest number
    required: bool = False  # has no default
    aliases: tuple[str, ...] = ()  # former names, still accepted

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.word)

    @property
    def word(self) -> str:
        """The keyword in Python."""
        return word_of(self.name)


def word_of(name: str) -> str:
    """Return the keyword for an option's name."""
    return name.replace("-", "_")


DEFAULT_BUDGET = "quick"
DEFAULT_PROTOCOL = "radius"
ALL = "all"  # every query
PUBLISHED, OF_THE_DATA = "as published", "the data set's"
PRECISIONS = ("fp32", "bf16", "tf32")
BEST = "fp32; on CUDA auto"
_what = partial(Option, group=WHAT, part=SPEC)
_train = partial(Option, group=TRAINING, part=TRAIN)
_attack = partial(Option, group=ATTACK, part=EVALUATE)
_context = partial(Option, group=OUTPUT, part=CONTEXT)

OPTIONS = (
    _what(
        "defense",
        "Defense: a name from `rbdml list defenses`, HM[S,M] as in the papers, or file.py:NAME.",
        required=True,
    ),
    _what("dataset", "Data set from `rbdml list datasets`.", required=True),
    _what("backbone", "Backbone from `rbdml list backbones`.", usual=OF_THE_DATA),
    _what(
        "budget",
        "Training budget: a name, passes (20M), iterations (3750it) or a time (10min).",
        Kind.BUDGET,
        group=BUDGET,
        default=DEFAULT_BUDGET,
    ),
    _what("seed", "Random seed for weights, batches and triplets.", Kind.WHOLE, default=0, at_least=0),
    _context("checkpoint-every", "Time between saved training states.", Kind.TIME, group=BUDGET, default="5min"),
    _what("weights", "File of initial weights instead of the published ones.", Kind.PATH, group=TRAINING),
    _what("pretrained", "ImageNet weights as initial weights.", Kind.SWITCH, group=TRAINING, usual=PUBLISHED),
    _train("sampler", "Triplet miner of the defense: R, M, S, D or H.", part=PARAMS, usual="the defense's"),
    _train("param", "Parameter of the defense; repeatable.", Kind.TABLE, part=PARAMS, aliases=("set",)),
    _train(
        "loss",
        "Loss, by its name in pytorch-metric-learning.",
        choices=(TRIPLET, *LOSSES),
        usual="triplet, with gamma 0.2",
    ),
    _train("loss-param", "Parameter of the loss; repeatable.", Kind.TABLE, key="loss_params"),
    _train(
        "loss-miner",
        "Miner of the loss, by its name in pytorch-metric-learning.",
        choices=(NO_MINER, *LOSS_MINERS),
        usual="that of the loss's paper, or none",
    ),
    _train("loss-lr", "Learning rate of the loss's proxies.", Kind.NUMBER, usual="0.01"),
    _train("eta", "PGD steps in training.", Kind.WHOLE, usual=PUBLISHED),
    _train("eps", "Perturbation radius in training, in pixel values, e.g. 77/255.", Kind.QUOTIENT, usual=PUBLISHED),
    _train("alpha", "PGD step size in training, in pixel values, e.g. 3/255.", Kind.QUOTIENT, usual=PUBLISHED),
    _train("pairs", "Anchor-positive pairs per batch.", Kind.WHOLE, usual=PUBLISHED),
    _train("lr", "Learning rate of Adam.", Kind.NUMBER, usual=PUBLISHED),
    _train("weight-decay", "Weight decay of Adam.", Kind.NUMBER, usual=PUBLISHED),
    _train(
        "warmup",
        "Share of the budget, before the defense, for benign training with semihard triplets, e.g. 0.2.",
        Kind.NUMBER,
        usual=OF_THE_DATA,
    ),
    _train("on-collapse", "Reaction to collapsed embeddings.", choices=("stop", "continue"), usual="continue"),
    _train("precision", "Precision of the network in training.", choices=PRECISIONS, auto=True, usual=BEST),
    _train("weight-precision", "Precision of the weight step.", choices=PRECISIONS, auto=True, usual="as --precision"),
    _train(
        "batchnorm",
        "Batch norm statistics in the weight step.",
        choices=("frozen", "train"),
        usual="frozen if pretrained, else train",
    ),
    _attack("protocol", "Protocol from `rbdml list protocols`.", usual=DEFAULT_PROTOCOL),
    _attack("queries", "Test images used as queries, a seeded choice, or all.", Kind.COUNT, usual=OF_THE_DATA),
    _attack(
        "extra-attack",
        "Attack beside the protocol's: a name, file.py:NAME, or `published` for all published columns; repeatable.",
        Kind.LIST,
        key="extra_attacks",
        aliases=("also",),
    ),
    _attack("attack-norm", "Norm of attack radius and step.", key="norm", choices=("linf", "l2"), usual="linf"),
    _attack("attack-eps", "Attack radius in pixel values, e.g. 8/255.", Kind.QUOTIENT, key="eps", usual=OF_THE_DATA),
    _attack(
        "attack-alpha", "Attack step size in pixel values, e.g. 3/255.", Kind.QUOTIENT, key="alpha", usual=OF_THE_DATA
    ),
    _attack("attack-steps", "Attack steps.", Kind.WHOLE, key="steps", usual=OF_THE_DATA),
    _attack("attack-seed", "Random seed for queries and targets.", Kind.WHOLE, key="seed", usual="0"),
    _attack(
        "attack-precision",
        "Precision of the attack steps; scores are fp32.",
        key="precision",
        choices=PRECISIONS,
        auto=True,
        usual=f"{BEST}, except with radius",
    ),
    _attack("surrogate", "Checkpoint that attacks transfer from.", Kind.PATH),
    _attack("solver", "Solver from `rbdml list solvers`.", usual="the protocol's", aliases=("optimiser",)),
    _attack(
        "solver-param", "Parameter of the solver; repeatable.", Kind.TABLE, key="solver_params", aliases=("search",)
    ),
    _context("out", "Folder of records.", Kind.PATH, default="runs"),
    _context("data-root", "Folder of data sets.", Kind.PATH, usual="$RBDML_DATA"),
    _context("download", "Download a missing data set.", Kind.FLAG),
    _context("no-cache", "Decode images each time, store none decoded.", Kind.FLAG),
    _context("device", "Device to compute on: auto, cpu, cuda or cuda:1.", Kind.DEVICE, default="auto"),
    _context("batch-size", "Images attacked at once.", Kind.WHOLE, default=128, at_least=1),
    _context(
        "micro-batch",
        "Images propagated at once in training; fewer save memory and cost time.",
        Kind.WHOLE,
        group=TRAINING,
        usual="the whole batch",
        at_least=1,
    ),
    _context("tensorboard", "Write scalars for TensorBoard beside the run's log.", Kind.FLAG),
    _context("devices", "Devices of this machine, one process each.", Kind.WHOLE, part=CALL, usual="1"),
    _context("force", "Repeat a recorded run.", Kind.FLAG, part=CALL),
)
BY_NAME = {name: option for option in OPTIONS for name in (option.name, *option.aliases)}
SPEC_OPTIONS = tuple(option for option in OPTIONS if option.part not in (CONTEXT, CALL))
CONTEXT_OPTIONS = tuple(option for option in OPTIONS if option.part == CONTEXT)


def current_name(name: str) -> str:
    """Return the current name of an option, also for a former one; other names stay as they are."""
    return BY_NAME[name].name if name in BY_NAME else name


def number(text: str) -> float:
    """Read a number or a quotient such as 8/255.

    Raises:
        RbdmlError: neither.
    """
    top, _, bottom = text.partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        raise RbdmlError(f"'{text}' is not a number such as 0.03 or 8/255") from None


def words_named(words: Mapping[str, Any], *parts: str) -> dict[str, Any]:
    """Return keywords under their current names.

    Args:
        words: values by keyword.
        parts: whose options may be given.

    Raises:
        RbdmlError: an unknown keyword.
    """
    known = {word_of(name): option for name, option in BY_NAME.items() if option.part in parts}
    for name in words:
        if name not in known:
            raise RbdmlError(f"unknown option '{name}': {did_you_mean(name, known)}it is one of {', '.join(known)}")
    return {known[name].word: value for name, value in words.items()}


def arguments_of(words: Mapping[str, Any]) -> dict[str, Any]:
    """Sort the words of a run into the arguments of `make_spec`; unset words and words outside the spec are left out.

    Raises:
        RbdmlError: text that is no quotient.
    """
    arguments: dict[str, Any] = {name: {} for name in TABLES}
    for option in SPEC_OPTIONS:
        value = words.get(option.word)
        if value is not None and option.kind in _READ:
            value = _READ[option.kind](value)
        if value is None:
            continue
        if option.name == "param":
            arguments[PARAMS] |= value
        else:
            (arguments if option.part == SPEC else arguments[option.part])[option.key] = value
    return arguments


def words_of(arguments: Mapping[str, Any]) -> Iterator[tuple[Option, Any]]:
    """List the options that lead to these arguments of `make_spec`, in the order of the table."""
    for option in SPEC_OPTIONS:
        part = arguments if option.part == SPEC else arguments.get(option.part, {})
        value = part if option.name == "param" else None if option.part == PARAMS else part.get(option.key)
        if value is not None and value != {}:
            yield option, value


def quotient(value: Any) -> Any:
    """Return text such as "8/255" as a number, and other values as they are.

    Raises:
        RbdmlError: other text.
    """
    return number(value) if isinstance(value, str) else value


_READ: dict[Kind, Callable[[Any], Any]] = {
    Kind.TABLE: lambda value: dict(value) or None,
    Kind.LIST: lambda value: list(value) or None,
    Kind.PATH: Path,
    Kind.BUDGET: str,
    Kind.QUOTIENT: quotient,
}

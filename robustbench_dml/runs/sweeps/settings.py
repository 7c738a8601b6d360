"""What a matrix may set: the options of `rbdml run`, by their names and types."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from robustbench_dml.runs.command import IN_TRAINING, SURROGATE, WEIGHTS
from robustbench_dml.spec.budgets import parse_seconds
from robustbench_dml.spec.lookup import IN_A_FILE
from robustbench_dml.spec.make import DEFAULT_BUDGET, make_spec
from robustbench_dml.spec.schema import Norm, Precision, RunSpec, Value
from robustbench_dml.spec.weights import surrogate_digits
from robustbench_dml.utils.errors import RbdmlError

FLAGS = ("no-cache", "download", "tensorboard")
ATTACK = ("norm", "eps", "alpha", "steps", "seed", "precision")  # of the evaluation: options `--attack-...`


def _number(value: Any) -> Any:
    """A quotient such as "8/255" as a number; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        top, _, bottom = value.partition("/")
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError):
        return value


def _text(value: Any) -> Any:
    """A whole number as text: budgets may be written without quotes."""
    return str(value) if type(value) is int else value


def _time(text: str) -> str:
    """The same text, if it is a time."""
    try:
        parse_seconds(text)
    except RbdmlError as error:
        raise ValueError(str(error)) from None
    return text


Quotient = Annotated[float, BeforeValidator(_number)]


class Options(BaseModel):
    """Strict data whose fields are named as options are."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    @classmethod
    def names(cls) -> list[str]:
        """Of the options, without dashes before them."""
        return [field.alias or name for name, field in cls.model_fields.items()]


class Where(Options):
    """Where and on what all runs of a sweep happen; None is left to `rbdml run`."""

    out: str = "runs"
    data_root: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch_size: Annotated[int, Field(ge=1)] | None = None
    checkpoint_every: Annotated[str, AfterValidator(_time)] | None = None
    no_cache: bool = False
    download: bool = False
    tensorboard: bool = False

    def words(self) -> list[str]:
        """The options of `rbdml run`, with paths that hold in any folder."""
        paths = {"out": self.out, "data-root": self.data_root}
        plain = {"device": self.device, "batch-size": self.batch_size, "checkpoint-every": self.checkpoint_every}
        texts = {**{name: _absolute(path) for name, path in paths.items() if path is not None}, **plain}
        given = [word for name, text in texts.items() if text is not None for word in (f"--{name}", str(text))]
        return given + [f"--{name}" for name in FLAGS if getattr(self, name.replace("-", "_"))]


class Settings(Options):
    """One run, as `rbdml run` takes it. None is left to the published settings."""

    defense: str
    dataset: str
    backbone: str | None = None
    budget: Annotated[str, BeforeValidator(_text)] = DEFAULT_BUDGET
    seed: Annotated[int, Field(ge=0)] = 0
    sampler: str | None = None
    set: dict[str, Value] = {}
    eta: int | None = None
    eps: Quotient | None = None
    alpha: Quotient | None = None
    pairs: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    on_collapse: Literal["stop", "continue"] | None = None
    precision: Precision | None = None
    weight_precision: Precision | None = None
    batchnorm: Literal["frozen", "train"] | None = None
    pretrained: bool | None = None
    weights: str | None = None
    queries: int | None = None
    protocol: str | None = None
    also: list[str] = []
    attack_norm: Norm | None = None
    attack_eps: Quotient | None = None
    attack_alpha: Quotient | None = None
    attack_steps: int | None = None
    attack_seed: int | None = None
    attack_precision: Precision | None = None
    solver: str | None = None
    solver_param: dict[str, Value] = {}
    surrogate: str | None = None

    def spec(self) -> RunSpec:
        """The run that these settings come to.

        Raises:
            RbdmlError: an unknown name, a value out of range, or a file that cannot be read.
        """
        return make_spec(
            defense=self.defense,
            dataset=self.dataset,
            budget=self.budget,
            backbone=self.backbone,
            pretrained=self.pretrained,
            weights=None if self.weights is None else Path(self.weights),
            seed=self.seed,
            params={**({} if self.sampler is None else {"sampler": self.sampler}), **self.set},
            training={name: getattr(self, name) for name in IN_TRAINING},
            evaluation={
                **{name: getattr(self, f"attack_{name}") for name in ATTACK},
                "queries": self.queries,
                "protocol": self.protocol,
                "extra_attacks": self.also or None,
                "solver": self.solver,
                "solver_params": self.solver_param or None,
                "surrogate": None if self.surrogate is None else _surrogate_digits(_absolute(self.surrogate)),
            },
        )

    def files(self, spec: RunSpec) -> dict[tuple[str, str], str]:
        """What stands in the command of this spec for a file: the option and its word there, and the word to use."""
        found: dict[tuple[str, str], str] = {}
        defense = IN_A_FILE.fullmatch(self.defense)
        if defense:
            found["--defense", spec.defense] = f"{_absolute(defense[1])}:{spec.defense}"
        for attack in filter(None, map(IN_A_FILE.fullmatch, self.also)):
            found["--also", attack[2]] = f"{_absolute(attack[1])}:{attack[2]}"
        if self.weights is not None:
            found["--weights", f"{WEIGHTS}{spec.pretrained}"] = _absolute(self.weights)
        if self.surrogate is not None:
            found["--surrogate", f"{SURROGATE}{spec.evaluation.surrogate}"] = _absolute(self.surrogate)
        return found


@functools.cache  # many runs transfer from one model
def _surrogate_digits(path: str) -> str:
    return surrogate_digits(Path(path))


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())

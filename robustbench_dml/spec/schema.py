"""The spec of a run: all its settings. The hash of a spec names its record.

Settings come from M. Zhou and V. M. Patel, CVPR 2022, arXiv:2203.01439, and M. Zhou et al., T-PAMI 2024,
arXiv:2106.03614.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from pydantic_core import PydanticCustomError


class Frozen(BaseModel):
    """Immutable, strict data: no unknown field, no coercion, no NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, serialize_by_alias=True, validate_by_name=True
    )


Length = Annotated[float, Field(ge=0, le=1000)]  # length of a perturbation; no two images are farther apart
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Norm = Literal["linf", "l2"]
Value = bool | int | float | str  # parameter value
Precision = Literal["fp32", "bf16", "tf32"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _stored_as(alias: str, default: Any) -> Any:
    """Declare a field that files name `alias`. The hash of a stored spec names its record, so names in files stay."""
    return Field(default=default, alias=alias)


class Threat(Frozen):
    """The perturbations allowed on pixels in [0, 1]."""

    norm: Norm = "linf"  # norm of radius and step; L2 norms are over a whole image
    eps: Length  # radius
    alpha: Length  # step size
    steps: Natural  # eta

    @field_validator("eps", "alpha")
    @classmethod
    def _within_the_pixels(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("norm") == "linf" and value > 1:
            raise PydanticCustomError("range", "Input should be less than or equal to 1 in L-infinity")
        return value


class LossSpec(Frozen):
    """A loss of pytorch-metric-learning (PML) with all its parameters."""

    name: str  # the class in PML
    params: dict[str, Value]  # by PML's names
    miner: str | None = None  # PML's miner of pairs or triplets, with its defaults; None: all pairs or triplets
    lr: Annotated[float, Field(gt=0, le=1e30)] | None = None  # learning rate of its proxies; None: it has none

    def __str__(self) -> str:
        params = ", ".join(f"{name}={value}" for name, value in self.params.items())
        rate = [] if self.lr is None else [f"lr {self.lr:g}"]
        return " ".join([f"{self.name}({params})", *([self.miner] if self.miner else []), *rate])


class Training(Frozen):
    """The training of a defense, apart from the defense's parameters."""

    threat: Threat
    pairs: Positive  # anchors per batch; the batch has twice as many images
    lr: Annotated[float, Field(gt=0, le=1e30)]  # Adam's; larger values overflow before training can diverge
    weight_decay: Annotated[float, Field(ge=0)]
    on_collapse: Literal["stop", "continue"] = "continue"
    transform: Literal["none", "crop and flip"] = "none"  # training images: a random crop, mirrored half the time
    batchnorm: Literal["frozen", "train"] = "frozen"  # train: the weight step updates the running statistics
    precision: Precision = "fp32"  # precision of the network in training
    weight_precision: Precision | None = None  # precision of the step that trains the weights, if it differs
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0  # share of the budget for `regular` with semihard triplets first
    loss: LossSpec | None = None  # None: the triplet loss

    @model_serializer(mode="wrap")
    def _omit_unset(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit later fields when unset, so that older specs keep their hash."""
        written: dict[str, Any] = inner(self)
        later = ("weight_precision", "warmup", "loss")
        return {name: value for name, value in written.items() if value or name not in later}


class SolverSpec(Frozen):
    """The solver that finds perturbations, with all its parameters."""

    name: str = _stored_as("optimiser", "pgd")
    params: dict[str, Value] = {"random_start": False, "restarts": 1}


class Evaluation(Frozen):
    """The attacks on a model. Their seed is not the run's, so that every model meets the same targets and queries."""

    protocol: str
    threat: Threat
    queries: Positive | None  # None: every test image
    seed: Natural
    precision: Precision = "fp32"  # precision of the attack steps; scores are always computed in fp32
    solver: SolverSpec = _stored_as("search", SolverSpec())
    extra_attacks: tuple[str, ...] = _stored_as("also", ())  # not counted for the protocol's score
    surrogate: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None  # start of the weights' hash


BudgetKind = Literal["passes", "iterations", "seconds"]


class Budget(Frozen):
    """A limit on training: image passes (see `training.meter.PropagationMeter`), iterations or seconds."""

    kind: BudgetKind
    amount: Natural  # 0 for a defense that trains nothing


class _Spec(Frozen):
    version: Literal[1] = 1
    dataset: str

    @property
    def dataset_folder(self) -> str:
        """The data set's name as a folder name: its last 64 characters, `-` for characters with a meaning in paths."""
        return re.sub(r"[^\w.+-]+", "-", self.dataset)[-64:].strip("-.")

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the JSON."""
        return hashlib.sha256(self._canonical().model_dump_json().encode()).hexdigest()[:16]

    @property
    def configuration(self) -> str:
        """The digest without the seed: runs that share it differ by their seed alone."""
        return self.digest

    def _canonical(self) -> _Spec:
        return self


class RunSpec(_Spec):
    """Everything that decides a run's result."""

    trained_here: ClassVar[bool] = True

    backbone: str
    pretrained: Annotated[str, Field(pattern="^[0-9a-f]{8}$")] | None = None  # start of the initial weights' SHA-256
    defense: str
    params: dict[str, Value]
    training: Training
    budget: Budget
    seed: Natural
    evaluation: Evaluation

    @property
    def label(self) -> str:
        """The name in tables and plots."""
        return self.defense

    @property
    def network(self) -> str | None:
        """The backbone."""
        return self.backbone

    @property
    def configuration(self) -> str:
        """See `_Spec`."""
        return self.model_copy(update={"seed": 0}).digest

    @property
    def recipe(self) -> str:
        """Everything that decides the trained weights, as JSON: the spec without its evaluation."""
        return self._canonical().model_dump_json(exclude={"evaluation"})

    def _canonical(self) -> _Spec:
        """Sort the parameters: their order does not count."""
        return self.model_copy(update={"params": dict(sorted(self.params.items()))})


class ExternalSpec(_Spec):
    """A model from outside the project under one evaluation. Its training is unknown."""

    trained_here: ClassVar[bool] = False
    defense: ClassVar[None] = None
    training: ClassVar[None] = None
    pretrained: ClassVar[None] = None
    budget: ClassVar[None] = None

    model: str  # file.py:factory, without the folder of the file
    source: Sha256  # hash of the file
    weights: Sha256  # `models.checkpoints.weights_hash` of the factory's model
    evaluation: Evaluation

    @property
    def label(self) -> str:
        """The name in tables and plots: the factory and the first digits of its weights."""
        return f"{self.model}@{self.weights[:8]}"

    @property
    def network(self) -> str | None:
        """None: not a registered backbone."""
        return None

    @property
    def params(self) -> dict[str, Value]:
        """Empty: unknown."""
        return {}

    @property
    def seed(self) -> int | None:
        """None: unknown."""
        return None


class ComputeUsed(Frozen):
    """The cost of training so far."""

    forward_only: int = 0  # images through the network without a gradient
    to_input: int = 0  # images forward and backward to the input
    to_weights: int = 0  # images forward and backward to the weights
    seconds: float = 0.0  # training time, on the device of the record
    iterations: int = 0

    @property
    def passes(self) -> float:
        """Image passes. Forward and backward count 1, for either gradient; a forward alone counts 1/3."""
        return self.to_input + self.to_weights + self.forward_only / 3

    def of(self, budget: Budget) -> float:
        """Return the amount used in the unit of a budget."""
        return {"passes": self.passes, "iterations": self.iterations, "seconds": self.seconds}[budget.kind]


class TrainingEnd(Frozen):
    """The end of training."""

    last_loss: float
    collapsed_at: int | None  # first iteration of the final collapse of the embeddings
    collapse_cause: str | None
    stopped: bool  # training stopped at the collapse, before the budget was used up
    device: str  # on which the seconds of the cost were measured

"""What a run is: its settings, the named protocols, and the spec whose hash names the run.

Settings come from M. Zhou and V. M. Patel, CVPR 2022, arXiv:2203.01439, and M. Zhou et al., T-PAMI 2024,
arXiv:2106.03614.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Literal

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


Length = Annotated[float, Field(ge=0, le=1000)]  # of a perturbation; no two images are farther apart
Norm = Literal["linf", "l2"]
Value = bool | int | float | str  # of a parameter
Precision = Literal["fp32", "bf16"]


def _stored_as(alias: str, default: Any) -> Any:
    """Declare a field that files name `alias`. The hash of a stored spec names its record, so names in files stay."""
    return Field(default=default, alias=alias)


class Threat(Frozen):
    """What an attacker may do to pixels in [0, 1]."""

    norm: Norm = "linf"  # of radius and step; L2 norms are those of a whole image
    eps: Length  # radius
    alpha: Length  # step
    steps: Annotated[int, Field(ge=0)]  # eta

    @field_validator("eps", "alpha")
    @classmethod
    def _within_the_pixels(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("norm") == "linf" and value > 1:
            raise PydanticCustomError("range", "Input should be less than or equal to 1 in L-infinity")
        return value


class Training(Frozen):
    """How a defense is trained, apart from its own parameters."""

    threat: Threat
    pairs: Annotated[int, Field(ge=1)]  # anchors per batch; the batch has twice as many images
    lr: Annotated[float, Field(gt=0, le=1e30)]  # Adam; more overflows before it can diverge
    weight_decay: Annotated[float, Field(ge=0)]
    on_collapse: Literal["stop", "continue"] = "continue"  # what training does once it has collapsed
    transform: Literal["none", "crop and flip"] = "none"  # of training images: a random crop, mirrored half the time
    batchnorm: Literal["frozen", "train"] = "frozen"  # whether the weight step uses the running statistics
    precision: Precision = "fp32"  # of the network in training
    weight_precision: Precision | None = None  # of the step that trains the weights, where it is another one

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The hash of a spec names its record: those from before there was this setting keep their names."""
        written: dict[str, Any] = inner(self)
        return {name: value for name, value in written.items() if name != "weight_precision" or value is not None}


class SolverSpec(Frozen):
    """How perturbations are searched for: a solver and its parameters, all of them."""

    name: str = _stored_as("optimiser", "pgd")
    params: dict[str, Value] = {"random_start": False, "restarts": 1}


class Evaluation(Frozen):
    """How a model is attacked. Targets and queries are drawn from this seed, not from the run's, so that every
    model meets the same ones."""

    protocol: str
    threat: Threat
    queries: Annotated[int, Field(ge=1)] | None  # None: every test image
    seed: Annotated[int, Field(ge=0)]
    precision: Precision = "fp32"  # of the attack steps; what they end with is always scored in fp32
    solver: SolverSpec = _stored_as("search", SolverSpec())
    extra_attacks: tuple[str, ...] = _stored_as("also", ())  # not counted for the protocol's score
    surrogate: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None  # start of the weights' hash


BudgetKind = Literal["passes", "iterations", "seconds"]


class Budget(Frozen):
    """What training may spend: image passes (see `budget.PropagationMeter`), iterations or seconds on the device."""

    kind: BudgetKind
    amount: Annotated[int, Field(ge=1)]


class RunSpec(Frozen):
    """Everything that decides a run's result. The hash of its content names the run."""

    version: Literal[1] = 1
    dataset: str
    backbone: str
    pretrained: Annotated[str, Field(pattern="^[0-9a-f]{8}$")] | None = None  # start of the SHA-256 of first weights
    defense: str
    params: dict[str, bool | int | float | str]
    training: Training
    budget: Budget
    seed: Annotated[int, Field(ge=0)]
    evaluation: Evaluation

    @property
    def label(self) -> str:
        """What tables and plots call it."""
        return self.defense

    @property
    def network(self) -> str | None:
        """The backbone."""
        return self.backbone

    @property
    def place(self) -> str:
        """The folder of its data set."""
        return _place(self.dataset)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the canonical JSON; the order of parameters does not count."""
        return _digest(self.model_copy(update={"params": dict(sorted(self.params.items()))}))


class ExternalSpec(Frozen):
    """A model from outside of the project under one evaluation. Nothing is known of how it was trained."""

    version: Literal[1] = 1
    dataset: str
    model: str  # file.py:factory, without the folder of the file
    source: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # SHA-256 of the file
    weights: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # `checkpoints.weights_hash` of what the factory made
    evaluation: Evaluation

    @property
    def label(self) -> str:
        """What tables and plots call it: the factory and the first digits of its weights."""
        return f"{self.model}@{self.weights[:8]}"

    @property
    def network(self) -> str | None:
        """Not one of the registered backbones."""
        return None

    @property
    def params(self) -> dict[str, Value]:
        """It has none that are known."""
        return {}

    @property
    def seed(self) -> int | None:
        """That of its training is not known."""
        return None

    @property
    def place(self) -> str:
        """The folder of its data set."""
        return _place(self.dataset)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of the JSON."""
        return _digest(self)


def _place(dataset: str) -> str:
    """A data set's name as a folder's: the end of it, without what means something to a file system."""
    return re.sub(r"[^\w.+-]+", "-", dataset)[-64:].strip("-.")


def _digest(spec: Frozen) -> str:
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]


class ComputeUsed(Frozen):
    """What training has cost so far."""

    forward_only: int = 0  # images through the network with no gradient
    to_input: int = 0  # images forward and backward to the input
    to_weights: int = 0  # images forward and backward to the weights
    seconds: float = 0.0  # of training, on the device of the record
    iterations: int = 0

    @property
    def passes(self) -> float:
        """Image passes: forward and backward, with either gradient, is one; a forward alone is a third."""
        return self.to_input + self.to_weights + self.forward_only / 3

    def of(self, budget: Budget) -> float:
        """How much of this kind of budget is gone."""
        return {"passes": self.passes, "iterations": self.iterations, "seconds": self.seconds}[budget.kind]


class TrainingEnd(Frozen):
    """How training ended."""

    last_loss: float
    collapsed_at: int | None  # the iteration since which its embeddings were collapsed, to the end
    collapse_cause: str | None
    stopped: bool  # whether it stopped there, before the budget was spent
    device: str  # what the seconds of the cost were spent on

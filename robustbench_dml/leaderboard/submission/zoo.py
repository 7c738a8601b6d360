"""The models of submitted records in the index of the zoo."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_dml.leaderboard.entries import Listed
from robustbench_dml.leaderboard.submission.plan import Step
from robustbench_dml.leaderboard.submission.transaction import Change
from robustbench_dml.models.zoo import FOLDER, INDEX, SUFFIX, ZooIndex, ZooModel, read_index
from robustbench_dml.runs.zoo import zoo_model, zoo_name
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256


def with_addresses(steps: Sequence[Step], address: str | None, leaderboards: Path) -> tuple[list[Step], list[ZooModel]]:
    """Give each verified checkpoint its address and its row of the index.

    Args:
        steps: the effects of the records.
        address: the address of one checkpoint; or of a folder, ending in /, which holds them by their names.
        leaderboards: the folder of the boards.

    Raises:
        RbdmlError: one address for several checkpoints.
    """
    models: list[ZooModel] = []
    if address is None:
        return list(steps), models
    if len(steps) > 1 and not address.endswith("/"):
        raise RbdmlError(
            f"--checkpoint-url is one file and these are {len(steps)} records: give the address of their folder, "
            "ending in / (`rbdml zoo build` names its files)"
        )
    known, after = read_index(leaderboards / FOLDER).models, []
    for step in steps:
        record, file = step.candidate.record, step.candidate.checkpoint
        url = address
        if record.spec.trained_here:
            name = zoo_name(record, (*known, *models))
            url = f"{address}{name}{SUFFIX}" if address.endswith("/") else address
            if file is not None and step.entry.verification is not None and step.effect != "rerun":
                models.append(zoo_model(record, file, name, url=url))
        after.append(replace(step, entry=step.entry.model_copy(update={"checkpoint": url})))
    return after, models


def index_changes(leaderboards: Path, added: Sequence[ZooModel] = (), ended: Collection[str] = ()) -> list[Change]:
    """Change the index by new models and by the digests of entries that leave their board."""
    before = read_index(leaderboards / FOLDER)
    kept = ZooIndex(models=tuple(model for model in before.models if model.entry not in ended))
    after = kept.with_models(added)
    if after == before:
        return []
    return [Change(leaderboards / FOLDER / INDEX, lambda path: path.write_text(after.text))]


def zoo_problems(listed: Sequence[Listed], leaderboards: Path) -> list[str]:
    """Find models without their entry on a board, and files in the folder that are not those of the index."""
    folder = leaderboards / FOLDER
    try:
        models = read_index(folder).models
    except RbdmlError as error:
        return [str(error)]
    weights = {one.record.digest: one.record.provenance.weights for one in listed}
    unknown = [model for model in models if weights.get(model.entry) != model.weights]
    altered = [path for model in models if (path := folder / model.file).is_file() and sha256(path) != model.sha256]
    return [
        *(f"{folder / INDEX}: {model.name} is not of an entry on a board: remove it there" for model in unknown),
        *(f"{path}: its SHA-256 is not that of the index: get it again" for path in altered),
    ]

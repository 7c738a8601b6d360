"""The zoo: trained models by name, from a folder or a host, checked by their hash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256 as sha256_of
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from robustbench_dml.datasets.base import cache_folder, expanded
from robustbench_dml.datasets.download import download, read_address
from robustbench_dml.spec.schema import Frozen, Sha256
from robustbench_dml.utils.errors import RbdmlError, did_you_mean, first_invalid, reason
from robustbench_dml.utils.files import read_at_most, sha256, write_if_changed
from robustbench_dml.utils.locks import exclusive_or_wait
from robustbench_dml.utils.progress import Progress

PREFIX = "zoo:"  # before a name where a path is expected
HUB = "hf://"  # before owner/repository/path of a file on the Hugging Face hub
INDEX, SUFFIX = "index.json", ".safetensors"
FOLDER = "zoo"  # beside the boards, and in the cache
SETTING = "RBDML_ZOO"  # a folder or an address of further models
MAX_BYTES = 10_000_000  # size limit of an index
OTHERWISE = f"set {SETTING} to a folder or an address that has it, or train it"
LICENCE = "MIT"  # SPDX name of the project's licence


class ZooModel(Frozen):
    """A trained model of the zoo."""

    name: Annotated[str, Field(max_length=200, pattern=r"^\w[\w.+-]*/\w[\w.+-]*$")]  # data set/defense-eta-seed
    entry: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]  # digest of its record
    weights: Sha256  # hash of the weights in the record
    sha256: Sha256  # hash of the file
    bytes: Annotated[int, Field(gt=0)]  # size of the file
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: the weights of the record, rounded
    licence: Annotated[str, Field(max_length=100)] = LICENCE  # SPDX name
    url: Annotated[str, Field(max_length=500, pattern=r"^(https?|hf)://[^\s\"'<>\\]+$")] | None = None  # None: no host

    @property
    def file(self) -> str:
        """Path of the file in a zoo."""
        return self.name + SUFFIX


class ZooIndex(Frozen):
    """The models of a zoo."""

    version: Literal[1] = 1
    models: tuple[ZooModel, ...] = ()

    def with_models(self, models: Sequence[ZooModel]) -> ZooIndex:
        """Return the index with these models, which replace others of their names; sorted by name."""
        named = {model.name: model for model in (*self.models, *models)}
        return ZooIndex(models=tuple(named[name] for name in sorted(named)))

    @property
    def text(self) -> str:
        """The content of its file."""
        return self.model_dump_json(indent=1) + "\n"


def read_index(folder: Path) -> ZooIndex:
    """Read the index in a folder; it is empty without a file.

    Raises:
        RbdmlError: unreadable or not valid.
    """
    path = folder / INDEX
    try:
        return _parsed(read_at_most(path, MAX_BYTES) if path.exists() else b"{}", path)
    except OSError as error:
        raise RbdmlError(f"{path}: cannot be read ({error.strerror}): change its permissions") from None


def zoo_models() -> tuple[ZooModel, ...]:
    """List the models of the package and of $RBDML_ZOO, by name.

    Raises:
        RbdmlError: the index of $RBDML_ZOO is not valid, or cannot be had.
    """
    return read_index(shipped()).with_models(_further().models).models


def shipped() -> Path:
    """Return the folder of the zoo in the package."""
    return Path(str(files("robustbench_dml.leaderboards"))) / FOLDER


def located(checkpoint: str | Path, progress: Progress | None = None) -> Path:
    """Return the path of a checkpoint, given by its path, by `zoo:NAME`, or by NAME if there is no such path.

    Raises:
        RbdmlError: see `fetch`.
    """
    text = str(checkpoint)
    if text.startswith(PREFIX):
        return fetch(text.removeprefix(PREFIX), progress)
    known = text.count("/") == 1 and not Path(text).exists() and any(model.name == text for model in zoo_models())
    return fetch(text, progress) if known else Path(text)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Return the file of a model: in $RBDML_ZOO, in the package, in the cache, or downloaded.

    Raises:
        RbdmlError: no such model, no host has it, or its hash differs.
    """
    known = {model.name: model for model in zoo_models()}
    if name not in known:
        raise RbdmlError(f"no model '{name}' in the zoo: {did_you_mean(name, known)}`rbdml zoo list` shows all")
    return stored(known[name]) or _downloaded(known[name], progress or Progress())


def stored(model: ZooModel) -> Path | None:
    """Return the file of a model on this machine, or None.

    Raises:
        RbdmlError: the hash of a file in a zoo differs.
    """
    place = _setting()
    given = None if place is None or _is_address(place) else expanded(place) / model.file
    for path in filter(None, (given, shipped() / model.file, _cached(model))):
        if path.is_file() and sha256(path) == model.sha256:
            return path
        if path == given and path.is_file():
            raise RbdmlError(f"{path}: its SHA-256 is not that of the index: it is truncated or altered: get it again")
    return None


def _downloaded(model: ZooModel, progress: Progress) -> Path:
    place = _setting()
    base = [f"{place.rstrip('/')}/{model.file}"] if place is not None and _is_address(place) else []
    urls = [*base, *([model.url] if model.url else [])]
    if not urls:
        raise RbdmlError(f"{model.name}: no host yet: {OTHERWISE} (entry {model.entry})")
    hub = next((url for url in urls if url.startswith(HUB)), None)
    if hub is not None:
        path = _from_hub(hub)
        if sha256(path) != model.sha256:
            raise RbdmlError(f"{hub}: its SHA-256 is not {model.sha256[:16]}...: {OTHERWISE}")
        return path
    target = _cached(model)
    try:
        with exclusive_or_wait(target.with_suffix(".lock"), model.name, progress):
            return download(urls, target, digest=f"sha256:{model.sha256}", progress=progress, or_else=OTHERWISE)
    except OSError as error:
        raise RbdmlError(
            f"cannot write to {target.parent} ({error.strerror}): set RBDML_CACHE to another folder"
        ) from None


def _from_hub(url: str) -> Path:
    """Get a file by huggingface_hub, which resumes and has its own cache."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise RbdmlError(f"{url} needs huggingface_hub: pip install 'robustbench-dml[hub]'") from None
    owner, repository, file = url.removeprefix(HUB).split("/", 2)
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file))
    except Exception as error:  # of HTTP, of the hub's cache or of the operating system
        raise RbdmlError(
            f"{url} could not be downloaded ({reason(error)}): give the same command again, or {OTHERWISE}"
        ) from None


def _further() -> ZooIndex:
    """Return the index of $RBDML_ZOO. A host's index is kept in the cache for times without a network."""
    place = _setting()
    if place is None:
        return ZooIndex()
    if place.startswith(HUB):
        return read_index(_from_hub(f"{place.rstrip('/')}/{INDEX}").parent)
    if not _is_address(place):
        folder = expanded(place)
        if not folder.is_dir():
            raise RbdmlError(f"{SETTING}={place}: no such folder: set it to a folder or an address of models")
        return read_index(folder)
    kept = cache_folder() / FOLDER / sha256_of(place.encode()).hexdigest()[:16]
    url = f"{place.rstrip('/')}/{INDEX}"
    try:
        content = read_address(url, MAX_BYTES)
    except RbdmlError:
        if (kept / INDEX).is_file():
            return read_index(kept)
        raise
    index = _parsed(content, url)
    write_if_changed(kept / INDEX, content)
    return index


def _parsed(content: bytes, source: Path | str) -> ZooIndex:
    try:
        return ZooIndex.model_validate_json(content)
    except ValidationError as error:
        raise RbdmlError(
            f"{source}: not the index of a zoo: {first_invalid(error)}: build it by `rbdml zoo build`"
        ) from None


def _cached(model: ZooModel) -> Path:
    return cache_folder() / FOLDER / f"{model.sha256[:16]}{SUFFIX}"


def _setting() -> str | None:
    return os.environ.get(SETTING) or None


def _is_address(place: str) -> bool:
    return place.startswith(("http://", "https://", HUB))

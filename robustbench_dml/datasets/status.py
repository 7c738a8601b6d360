"""Status, preparation and loading of registered data sets."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, DownloadRequest
from robustbench_dml.spec.registry import DATASETS, DatasetInfo
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.locks import exclusive_or_wait


def status_rows(names: Sequence[str], paths: DataPaths, *, verify: bool = False) -> list[dict[str, str]]:
    """Return a table row for each named data set, or for every registered one.

    Raises:
        RbdmlError: an unknown name.
    """
    infos = [DATASETS.get(name) for name in names] if names else list(DATASETS)
    rows = []
    for info in infos:
        row = dict.fromkeys(("name", "state", "where", "training", "test", "decoded", "SHA-256"), "")
        row |= {"name": info.name, "state": "found"}
        try:
            status = info.status(paths, verify=verify)
        except MissingDataError:
            row |= {"state": "missing", "where": f"`rbdml data prepare {info.name}`"}
        except RbdmlError as error:
            row |= {"state": "damaged", "where": str(error)}
        else:
            row |= {"where": str(status.where), "training": _count(status.train), "test": _count(status.test)}
            row |= {"decoded": status.decoded, "SHA-256": _hashes(status)}
            published = (info.train_images, info.train_classes), (info.test_images, info.test_classes)
            if (status.train, status.test) != published:
                row["state"] = "incomplete"
        rows.append(row)
    return rows


def prepare_dataset(name: str, paths: DataPaths, request: DownloadRequest) -> DatasetStatus:
    """Fetch a data set if it is missing, check it, and decode it.

    Raises:
        RbdmlError: the set cannot be obtained, or is incomplete.
    """
    info = DATASETS.get(name)
    here = request == DownloadRequest() and _is_here(name, paths)
    if info.prepare is None and request != DownloadRequest():
        raise RbdmlError(f"'{name}' is not to be had from elsewhere: leave --from and --url out")
    if info.prepare is not None and not here:
        fetch_dataset(info, paths, request)
    _report_notes(info.load(paths), name, paths)
    return info.status(paths)


def fetch_dataset(info: DatasetInfo, paths: DataPaths, request: DownloadRequest) -> None:
    """Prepare a data set in this process alone. A process that waited finds the set ready.

    Raises:
        RbdmlError: the errors of `DatasetInfo.prepare`, or the data folder cannot be written.
    """
    if info.prepare is None:
        raise RbdmlError(f"'{info.name}' is not to be had from elsewhere: leave --download out")
    lock = paths.folders[0] / f".{info.name.replace(':', '-')}.lock"
    try:
        with exclusive_or_wait(lock, info.name, paths.progress):
            if request == DownloadRequest() and _is_here(info.name, paths):
                return
            info.prepare(paths, request)
    except OSError as error:
        raise RbdmlError(
            f"cannot write to {paths.folders[0]} ({error.strerror}): name another folder by --data-root or $RBDML_DATA"
        ) from None


def _is_here(name: str, paths: DataPaths) -> bool:
    try:
        DATASETS.get(name).status(paths)
    except MissingDataError:
        return False
    return True


def _count(part: tuple[int, int]) -> str:
    return f"{part[0]:,} of {part[1]:,}"


def _hashes(status: DatasetStatus) -> str:
    short = {"train-images-idx3-ubyte": "train", "t10k-images-idx3-ubyte": "test"}
    return " ".join(
        f"{short.get(part, part)}:{digest}" for part, digest in status.hashes.items() if "labels" not in part
    )


def load_dataset(name: str, paths: DataPaths) -> Dataset:
    """Load a data set, after a download if it is missing and `paths` allow one, and print its notes."""
    info = DATASETS.get(name)
    try:
        dataset = info.load(paths)
    except MissingDataError:
        if not paths.download:
            raise
        fetch_dataset(info, paths, DownloadRequest())
        dataset = info.load(paths)
    _report_notes(dataset, name, paths)
    return dataset


def _report_notes(dataset: Dataset, name: str, paths: DataPaths) -> None:
    for note in dataset.notes:
        paths.progress.say(f"{name}: {note}")

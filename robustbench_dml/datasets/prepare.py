"""Preparation of a data set from servers, an archive or a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_dml.datasets.archives import extract, is_archive
from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.download import download
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress


@dataclass(frozen=True)
class RemoteFile:
    """A published file of a data set."""

    name: str  # file name on disk
    urls: tuple[str, ...]  # addresses of the file
    digest: str  # `md5:...` or `sha256:...`

    def urls_for(self, request: DownloadRequest, *, alone: bool) -> Sequence[str]:
        """Return the addresses on the user's mirrors, else on the known servers.

        A mirror is the address of the file, or of its folder: with a / at the end, or for a set of several files.
        """
        if not request.urls:
            return self.urls
        return [url if alone and not url.endswith("/") else f"{url.rstrip('/')}/{self.name}" for url in request.urls]


def prepare_files(
    name: str,
    files: Sequence[RemoteFile],
    paths: DataPaths,
    request: DownloadRequest,
    *,
    locate: Callable[[DataPaths], Path | None],
) -> Path:
    """Put a data set below the first data folder, as `<folder>/<name>/`.

    Args:
        name: name of the data set.
        files: published files; archives are unpacked, other files are copied beside their content.
        paths: folders of data; the first folder is the target.
        request: options of the user. A source folder with the unpacked set is linked, not copied; published files or a
            single archive are unpacked.
        locate: finds the unpacked set.

    Returns:
        The folder of the set.

    Raises:
        RbdmlError: the set cannot be obtained, or is not the published set. Only downloads to resume remain.
        OSError: the data folder cannot be written.
    """
    target = paths.folders[0] / name
    there = _below(paths.folders[0], locate)
    if there is None and target.is_dir() and any(target.iterdir()):
        raise RbdmlError(f"{target}: holds something that is not '{name}': move it away, or name another --data-root")
    if there is not None:
        if request != DownloadRequest():
            paths.progress.say(f"'{name}' is in {there} already and is taken from there: move it away to replace it")
        return there
    target.parent.mkdir(parents=True, exist_ok=True)
    if request.source is not None and request.source.is_dir():
        unpacked = _below(request.source, locate)
        if unpacked is not None and len(_published(request.source, files)) < len(files):
            return _link(target, unpacked)
    sources = _given(name, request.source, files) if request.source else _downloaded(name, files, paths, request)
    _unpack(sources, target, paths.progress)
    if request.source is None:
        shutil.rmtree(target.parent / _DOWNLOADS / name, ignore_errors=True)
    there = _below(target, locate)
    if there is None:
        shutil.rmtree(target, ignore_errors=True)
        raise RbdmlError(
            f"what was unpacked is not '{name}' in its official layout (docs/data.md shows it): check the archive"
        )
    return there


_DOWNLOADS = ".downloads"


def _below(folder: Path, locate: Callable[[DataPaths], Path | None]) -> Path | None:
    """Folder of the set below this folder, None if the set is elsewhere."""
    there = locate(DataPaths(folder))
    return there if there is not None and there.is_relative_to(folder) else None


def _published(folder: Path, files: Sequence[RemoteFile]) -> list[Path]:
    return [folder / file.name for file in files if (folder / file.name).is_file()]


def _given(name: str, source: Path, files: Sequence[RemoteFile]) -> list[Path]:
    if source.is_dir():
        paths = _published(source, files)
        if not paths:
            raise RbdmlError(
                f"{source}: does not hold '{name}' in its official layout: give --from its archive or folder"
            )
        if len(paths) < len(files):
            missing = next(file.name for file in files if source / file.name not in paths)
            raise RbdmlError(f"{source / missing}: missing: '{name}' is made of {', '.join(f.name for f in files)}")
        return paths
    if not source.is_file():
        raise RbdmlError(f"{source}: no such file or folder: give --from the archive or the unpacked folder")
    return [source]


def _downloaded(name: str, files: Sequence[RemoteFile], paths: DataPaths, request: DownloadRequest) -> list[Path]:
    folder = paths.folders[0] / _DOWNLOADS / name
    folder.mkdir(parents=True, exist_ok=True)
    return [
        download(
            file.urls_for(request, alone=len(files) == 1),
            folder / file.name,
            digest=file.digest,
            progress=paths.progress,
        )
        for file in files
    ]


def _link(target: Path, there: Path) -> Path:
    if target.is_symlink():
        target.unlink()
    target.symlink_to(there.resolve(), target_is_directory=True)
    return target


def _unpack(sources: Sequence[Path], target: Path, progress: Progress) -> None:
    """Unpack all archives into one new folder, then move it into place."""
    building = target.with_name(f".{target.name}.new")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        for number, path in enumerate(sources):
            if not is_archive(path):
                shutil.copyfile(path, building / path.name)
                continue
            part = building / f".part{number}"
            extract(path, part, progress=progress)
            for child in part.iterdir():
                child.rename(building / child.name)
            part.rmdir()
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        building.rename(target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise

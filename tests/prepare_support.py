"""What the tests of prepare share."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType

import pytest
from download_site import Site
from image_trees import (
    Tree,
    check_dataset,
)

from robustbench_dml.datasets import cars, cub, sop
from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.prepare import RemoteFile
from robustbench_dml.spec.registry import DATASETS

MODULES: dict[str, ModuleType] = {"cub": cub, "cars": cars, "sop": sop}


@dataclass
class Shelf(Site):
    """A server of these files, which keeps the paths that it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.lstrip("/")
        self.paths.append(path)
        if path not in self.files:
            request.send_error(404)
            return
        self.content = self.files[path]
        super().answer(request)


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def packed_tgz(path: Path, **members: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, source in members.items():
            archive.add(source, name)
    return path


def packed_zip(path: Path, source: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, file.relative_to(source.parent))
    return path


def prepare(name: str, root: Path, request: DownloadRequest) -> Path:
    way = DATASETS.get(name).prepare
    assert way is not None
    return way(DataPaths(root), request)


def is_prepared(name: str, root: Path, tree: Tree) -> None:
    """What is below the data folder holds the same images and classes."""
    assert tree.train and tree.test
    check_dataset(DATASETS.get(name).load(DataPaths(root)), tree)


def leftovers(root: Path) -> list[str]:
    """Files below the data folder."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


def serve(monkeypatch: pytest.MonkeyPatch, site: Shelf, name: str, *paths: Path, known: bool = False) -> None:
    """Let a set be made of these files, with their digests, and the site have them; `known`: as its own server."""
    files = []
    for path in paths:
        site.files[path.name] = path.read_bytes()
        urls = (site.url(path.name),) if known else ()
        files.append(RemoteFile(path.name, urls, md5(path.read_bytes())))
    monkeypatch.setattr(MODULES[name], "FILES", tuple(files))

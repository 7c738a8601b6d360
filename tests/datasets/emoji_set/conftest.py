from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from robustbench_dml.datasets.emoji_set.packages import Package

MakePackage = Callable[..., Package]


def write_package(
    folder: Path,
    name: str,
    icons: Mapping[str, str],
    *,
    chars: Mapping[str, str] | None = None,
    aliases: Mapping[str, Mapping[str, Any]] | None = None,
) -> Package:
    files: dict[str, Any] = {
        "icons.json": {
            "icons": {icon: {"body": body} for icon, body in icons.items()},
            "aliases": aliases or {},
            "width": 8,
            "height": 8,
        }
    }
    if chars is not None:
        files["chars.json"] = chars
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for file, value in files.items():
            data = json.dumps(value).encode()
            member = tarfile.TarInfo(f"package/{file}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    package = Package(
        f"@fake/{name}", "1.0.0", digest, name.upper(), f"{name} people", "MIT", "https://x/l", "https://x"
    )
    folder.mkdir(exist_ok=True)
    (folder / package.file).write_bytes(content.getvalue())
    return package


@pytest.fixture
def tgz(tmp_path: Path) -> Path:
    """Where `make_package` writes."""
    return tmp_path / "tgz"


@pytest.fixture
def make_package(tgz: Path) -> MakePackage:
    """Write the .tgz of a small set: `make_package(name, {icon: body}, chars=..., aliases=...)`."""

    def make(name: str, icons: Mapping[str, str], **more: Any) -> Package:
        return write_package(tgz, name, icons, **more)

    return make

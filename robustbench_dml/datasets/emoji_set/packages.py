"""The npm packages that hold the drawings: which ones, how to get them and how to read them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustbench_dml.errors import RbdmlError

NPM_SECONDS = 600


@dataclass(frozen=True)
class Package:
    """One set of drawings at one version; title, author, licence and origin are those of its info.json."""

    name: str
    version: str
    sha256: str
    title: str
    author: str
    licence: str
    licence_url: str
    origin: str

    @property
    def set_name(self) -> str:
        """The set's short name, which its image files are called by."""
        return self.name.rpartition("/")[2]

    @property
    def spec(self) -> str:
        """What npm is asked for."""
        return f"{self.name}@{self.version}"

    @property
    def file(self) -> str:
        """The file that `npm pack` writes."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True)
class IconSet:
    """What a package holds.

    Attributes:
        name: the set's short name.
        icons: icon name to its SVG body and, where they differ from the set's, its box.
        aliases: other name to `parent`, the icon it stands for, and perhaps a transformation of it.
        chars: code points joined by '-' to icon name; empty in the older packages.
        box: left, top, width and height of an icon that does not give its own.
    """

    name: str
    icons: Mapping[str, Mapping[str, Any]]
    aliases: Mapping[str, Mapping[str, Any]]
    chars: Mapping[str, str]
    box: Mapping[str, float]


# Of Fluent Emoji the flat drawings: they are those of `fluent-emoji` without the gradients, in a twelfth of the
# size, and only their package lists code points, which is how drawings are joined here.
PACKAGES = (
    Package(
        name="@iconify-json/noto",
        version="1.2.9",
        sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        title="Noto Emoji",
        author="Google Inc",
        licence="Apache-2.0",
        licence_url="https://github.com/googlefonts/noto-emoji/blob/main/svg/LICENSE",
        origin="https://github.com/googlefonts/noto-emoji",
    ),
    Package(
        name="@iconify-json/twemoji",
        version="1.2.5",
        sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        title="Twitter Emoji",
        author="Twitter",
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        origin="https://github.com/jdecked/twemoji",
    ),
    Package(
        name="@iconify-json/openmoji",
        version="1.2.29",
        sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        title="OpenMoji",
        author="OpenMoji",
        licence="CC-BY-SA-4.0",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        origin="https://github.com/hfg-gmuend/openmoji",
    ),
    Package(
        name="@iconify-json/fluent-emoji-flat",
        version="1.2.6",
        sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        title="Fluent Emoji Flat",
        author="Microsoft Corporation",
        licence="MIT",
        licence_url="https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
        origin="https://github.com/microsoft/fluentui-emoji",
    ),
    Package(
        name="@iconify-json/noto-v1",
        version="1.2.5",
        sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        title="Noto Emoji (v1)",
        author="Google Inc",
        licence="Apache-2.0",
        licence_url="https://github.com/googlefonts/noto-emoji/blob/main/svg/LICENSE",
        origin="https://github.com/googlefonts/noto-emoji",
    ),
    Package(
        name="@iconify-json/emojione",
        version="1.2.3",
        sha256="26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        title="Emoji One (Colored)",
        author="Emoji One",
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        origin="https://github.com/EmojiTwo/emojitwo",
    ),
    Package(
        name="@iconify-json/fxemoji",
        version="1.2.2",
        sha256="f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        title="Firefox OS Emoji",
        author="Mozilla",
        licence="Apache-2.0",
        licence_url="https://mozilla.github.io/fxemoji/LICENSE.md",
        origin="https://github.com/mozilla/fxemoji",
    ),
)


def fetch(package: Package, folder: Path) -> None:
    """Download a package into a folder by `npm pack`.

    Raises:
        RbdmlError: npm is not there, or could not get it.
    """
    remedy = f"or get {package.file} by another way and give its folder by --from"
    npm = shutil.which("npm")
    if npm is None:
        raise RbdmlError(f"npm, which downloads {package.spec}, is not installed: install Node.js, {remedy}")
    # Without a limit on its retries npm tries for more than a minute where there is no network.
    retries = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=1000"]
    command = [npm, "pack", package.spec, "--ignore-scripts", *retries]
    try:
        done = subprocess.run(  # noqa: S603 - npm with the pinned packages' names
            command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RbdmlError(f"`npm pack {package.spec}` failed ({error}): try again, {remedy}") from None
    if done.returncode != 0:
        raise RbdmlError(
            f"`npm pack {package.spec}` failed ({_reason(done.stderr)}): check the network and try again, {remedy}"
        )


def _reason(stderr: str) -> str:
    """What npm says about its failure, without its advice and its stack."""
    lines = re.findall(r"^npm (?:error|ERR!) (.*\S)", stderr, re.MULTILINE) or [stderr.strip() or "no message"]
    return "; ".join(" ".join(line.split()) for line in lines[:2])


def read(package: Package, folder: Path) -> IconSet:
    """Read a package out of its .tgz, which is not unpacked to disk.

    Raises:
        RbdmlError: the file is not there or is not the pinned one.
    """
    path = folder / package.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RbdmlError(
            f"{path}: cannot be read ({error.strerror}): get it by `npm pack {package.spec}` in that folder"
        ) from None
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise RbdmlError(
            f"{path}: truncated or altered, its SHA-256 is not {package.sha256}: remove it and get it again by "
            f"`npm pack {package.spec}` in that folder"
        )
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        listing = _member(archive, "package/icons.json")
        chars = _member(archive, "package/chars.json") if "package/chars.json" in archive.getnames() else {}
    box = {"left": 0, "top": 0, "width": 16, "height": 16}
    return IconSet(
        name=package.set_name,
        icons=listing["icons"],
        aliases=listing.get("aliases", {}),
        chars=chars,
        box={side: listing.get(side, default) for side, default in box.items()},
    )


def _member(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    file = archive.extractfile(name)
    if file is None:
        raise RbdmlError(f"{name} in a package of drawings is no plain file: get the package again")
    with file:
        return json.load(file)

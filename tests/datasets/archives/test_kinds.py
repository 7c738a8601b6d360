"""Archives of other kinds."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_support import CONTENT, pack_tar, refusal

from robustbench_dml.datasets.archives import is_archive
from robustbench_dml.utils.errors import RbdmlError


@pytest.mark.parametrize(("compress", "name"), [(bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_other_compressions_are_refused_by_name(
    archive: Path, target: Path, compress: Callable[[bytes], bytes], name: str
) -> None:
    archive.write_bytes(compress(pack_tar(CONTENT)))
    assert f"compressed by {name}, which is not read: unpack it, or pack it as .tar.gz" in refusal(archive, target)
    with pytest.raises(RbdmlError, match=name):
        is_archive(archive)

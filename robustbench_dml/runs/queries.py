"""Files of per-query values, checked by their directory before any array is unpacked."""

from __future__ import annotations

import re
import struct
import tokenize
import zlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from robustbench_dml.utils.errors import RbdmlError, reason
from robustbench_dml.utils.files import plain_size

Values = dict[str, np.ndarray]

MAX_BYTES = 20_000_000  # size limit of a submitted file; 60,000 queries under all published attacks take half of it
MOST = 5_000_000  # largest number of queries of any evaluation
UNPACKED = 400_000_000  # bytes of all arrays together
MEMBERS = 100
HEADER = 1000  # bytes before an array's data, at most
DTYPES = {"<f8", "<i8", "<f4", "|b1"}
NAME = re.compile(r"[\w@+:=. -]{1,40}\.npy")
DAMAGE = (  # exceptions of zipfile and numpy on damaged files
    BadZipFile,
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    MemoryError,
    IndexError,
    SyntaxError,
    TypeError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
)


def load_values(path: Path, *, most: int = MOST, largest: int = UNPACKED) -> Values:
    """Load the arrays of a `queries.npz`. Nothing is unpickled, and the number of queries bounds every size.

    Args:
        path: the file.
        most: the largest number of queries.
        largest: the largest size of the file in bytes.

    Raises:
        RbdmlError: no such file, or anything but (Q,) arrays of plain numbers with the same Q.
    """
    try:
        if plain_size(path) > largest:
            raise RbdmlError(f"{path}: larger than {largest} bytes, which no file of per-query values is: remove it")
    except OSError as error:
        raise RbdmlError(
            f"{path}: no per-query values ({error.strerror}): get the file from where the record is from, or run again"
        ) from None
    try:
        with ZipFile(path) as archive:
            members = archive.infolist()
            _check_directory(path, members, most)
            arrays = {member.filename.removesuffix(".npy"): _read(path, archive, member, most) for member in members}
    except DAMAGE as error:
        raise RbdmlError(
            f"{path}: cannot be read as arrays ({reason(error)}): get the file anew, or run again"
        ) from None
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise RbdmlError(f"{path}: arrays of {sorted(lengths)} values: one for each query is needed; run again")
    return arrays


def _check_directory(path: Path, members: list[ZipInfo], most: int) -> None:
    """Refuse a directory that no evaluation writes."""
    names = [member.filename for member in members]
    if len(members) > MEMBERS or len(set(names)) < len(names):
        raise RbdmlError(f"{path}: {len(members)} arrays, or two of one name, which no evaluation writes: run again")
    unpacked = sum(member.file_size for member in members)
    if unpacked > UNPACKED:
        raise RbdmlError(f"{path}: unpacks to {unpacked} bytes, which no evaluation writes: run again")
    for member in members:
        if not NAME.fullmatch(member.filename):
            raise RbdmlError(f"{path}: holds {member.filename!r}, which is no name of a column: run again")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) or member.flag_bits & 1:
            raise RbdmlError(f"{path}: {member.filename} is encrypted or packed in another way: run again")
        if member.file_size > HEADER + 8 * most:
            raise RbdmlError(
                f"{path}: {member.filename} unpacks to {member.file_size} bytes, more than {most} queries take: "
                "run again"
            )


def _read(path: Path, archive: ZipFile, member: ZipInfo, most: int) -> np.ndarray:
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False, max_header_size=HEADER)
    if array.dtype.str not in DTYPES or array.ndim != 1 or len(array) > most:
        raise RbdmlError(
            f"{path}: {member.filename} is {array.dtype.str} {array.shape}, not numbers of at most {most} queries: "
            "run again"
        )
    return array

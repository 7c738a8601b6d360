"""Resumed downloads that end in the right file or in none."""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPException, HTTPResponse, IncompleteRead, responses
from itertools import chain
from pathlib import Path
from typing import cast
from urllib.error import HTTPError

from robustbench_dml.utils.errors import RbdmlError, reason
from robustbench_dml.utils.files import free_bytes
from robustbench_dml.utils.progress import Progress

ATTEMPTS = 3  # attempts per address
PAUSE = 1.0  # seconds between two attempts
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16
WEB_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+)?html", re.IGNORECASE)
OTHER_WAYS = "give another address by --url, or get the file by hand and give it by --from"


class _FailedError(Exception):
    """A server did not deliver the file. Another attempt may help if `again` is set."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def download(urls: Sequence[str], target: Path, *, digest: str, progress: Progress, or_else: str = OTHER_WAYS) -> Path:
    """Fetch a file from the first server that delivers the file, unless `target` exists.

    Partial content stays in `<name>.part`, and the next call resumes there. The digest decides about the whole file, so
    its pieces may come from several servers.

    Args:
        urls: http or https addresses of the file, in order of preference.
        target: path of the file.
        digest: "sha256:HEX" (at least 8 digits) or "md5:HEX".
        progress: shows a bar.
        or_else: another way to get the file, for the message.

    Raises:
        RbdmlError: no server delivers the file; `target` does not exist then.
    """
    part, failures = target.with_name(f"{target.name}.part"), []
    try:
        if target.exists():
            _check_present(target, digest, or_else)
            return target
        if not urls:
            raise RbdmlError(f"{target.name}: no server is known that still has it: {or_else}")
        hosts = [_host(url) for url in urls]
        target.parent.mkdir(parents=True, exist_ok=True)
        for url, host in zip(urls, hosts, strict=True):
            try:
                _fetch(url, part, digest, progress)
            except _FailedError as error:
                failures.append(f"{host} {error}")
            else:
                part.replace(target)
                return target
        size = _size(part)
    except OSError as error:
        raise RbdmlError(
            f"cannot write {target} ({_reason(error)}): make room or choose another folder, then give the same command "
            "again; what arrived is kept"
        ) from None
    kept = f"the {size:,} bytes that arrived are kept and the same command goes on from there, or " if size else ""
    raise RbdmlError(f"{target.name} could not be downloaded: {'; '.join(failures)}: {kept}{or_else}")


def read_address(url: str, limit: int) -> bytes:
    """Return the content at an address, of at most `limit` bytes.

    Raises:
        RbdmlError: the server does not deliver it, or it is larger.
    """
    host, content = _host(url), b""
    try:
        with closing(_open(url, {})) as answer:
            for chunk in _body(answer, 0, answer.length):
                content += chunk
                if len(content) > limit:
                    raise RbdmlError(f"{url}: larger than {limit:,} bytes: give another address")
    except _FailedError as error:
        raise RbdmlError(f"{url} could not be read: {host} {error}: give the same command again later") from None
    return content


def _fetch(url: str, part: Path, digest: str, progress: Progress) -> None:
    """Complete the partial file from this address, or raise _FailedError."""
    for left in reversed(range(ATTEMPTS)):
        try:
            pieced = _request(url, part, progress)
            if (found := _digest(part, digest)) == digest:
                break
            part.unlink()
            # A file joined from several pieces may have the right hash when fetched whole.
            raise _FailedError(f"gave a file with {found} and not {digest}, which was deleted", again=pieced)
        except _FailedError as error:
            if not (error.again and left):
                raise
        time.sleep(PAUSE)
    with part.open("ab") as file:
        os.fsync(file.fileno())


def _request(url: str, part: Path, progress: Progress) -> bool:
    """Send one request and fill the partial file. Return true if it also holds bytes of an earlier request."""
    offset = _size(part)
    with closing(_open(url, {"Range": f"bytes={offset}-"} if offset else {})) as answer:
        if answer.status == 416:  # no byte is missing
            return True
        start = offset if answer.status == 206 else 0
        _receive(answer, part, start, progress)
    return start > 0


def _receive(answer: HTTPResponse, part: Path, start: int, progress: Progress) -> None:
    """Write the content of an answer to the partial file, from the byte `start` on."""
    name, total = part.name.removesuffix(".part"), None if answer.length is None else start + answer.length
    body = _body(answer, start, total)
    head = next(body, b"")
    if answer.headers.get_content_type() == "text/html" or (start == 0 and WEB_PAGE.match(head)):
        raise _FailedError("answered with a web page instead of the file")
    free = free_bytes(part.parent)
    if total is not None and total - _size(part) > free:
        raise RbdmlError(
            f"{name} has {total - _size(part):,} bytes to come and {free:,} are free in {part.parent}: make room or "
            "choose another folder"
        )
    bar = progress.bar(math.inf if total is None else total, name, "B")
    with bar as shown, part.open("ab" if start else "wb") as file:
        shown.advance_by(start)
        for chunk in chain((head,), body):
            file.write(chunk)
            shown.advance_by(len(chunk))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        # `_host` has refused other schemes.
        request = urllib.request.Request(url, headers={"User-Agent": "robustbench-dml", **headers})  # noqa: S310
        answer = urllib.request.build_opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            return cast(HTTPResponse, error.fp)
        again = error.code >= 500 or error.code in (408, 429)
        raise _FailedError(f"answered {error.code} {responses.get(error.code, '')}".strip(), again=again) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _FailedError(f"could not be asked ({_reason(error)})", again=True) from None
    if answer.status not in (200, 206):  # None where a redirection led to ftp
        answer.close()
        raise _FailedError(f"answered {answer.status or 'by ftp'} without a file")
    return answer


def _body(answer: HTTPResponse, start: int, total: int | None) -> Iterator[bytes]:
    """Yield the content; raise _FailedError if the content ends too early."""
    arrived, cause = start, "broke off"
    try:
        while chunk := answer.read(CHUNK):
            arrived += len(chunk)
            yield chunk
        if total is None or arrived >= total:
            return
    except IncompleteRead as error:
        arrived += len(error.partial)
        yield error.partial
    except (OSError, HTTPException, ValueError) as error:
        cause = f"broke off ({_reason(error)})"
    of = "" if total is None else f" of {total:,}"
    raise _FailedError(f"{cause} after {arrived:,}{of} bytes", again=True)


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # cause inside a URLError
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    return reason(cause) if isinstance(cause, Exception) else " ".join(str(cause).split())


def _host(url: str) -> str:
    if found := re.match(r"https?://(?:[^/?#]*@)?([^/?#@]+)", url, re.IGNORECASE):
        return found[1]
    raise RbdmlError(f"cannot download from {url!r}: give an http:// or https:// address by --url, or a file by --from")


def _digest(path: Path, like: str) -> str:
    """Digest of a file, with as many digits as `like`."""
    name = like.partition(":")[0]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.new, name, usedforsecurity=False))
    return f"{name}:{found.hexdigest()}"[: len(like)]


def _check_present(target: Path, digest: str, or_else: str) -> None:
    if not target.is_file():
        raise RbdmlError(f"{target} is there and is no file: move it away, or choose another folder")
    if (found := _digest(target, digest)) != digest:
        target.unlink()
        raise RbdmlError(
            f"{target} had {found} and not {digest}, and was deleted: give the same command again to download it, or "
            f"{or_else}"
        )

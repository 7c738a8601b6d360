"""Resumed downloads that end in the right file or in none."""

from __future__ import annotations

import hashlib
import json
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
from robustbench_dml.utils.files import free_bytes, write_atomically
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


def download(
    urls: Sequence[str], target: Path, *, digest: str | None, progress: Progress, or_else: str = OTHER_WAYS
) -> Path:
    """Fetch a file from the first server that delivers the file, unless `target` exists.

    Partial content stays in `<name>.part`, and the next call resumes there.

    Args:
        urls: http or https addresses of the file, in order of preference.
        target: path of the file.
        digest: "sha256:HEX" (at least 8 digits) or "md5:HEX"; None accepts any content.
        progress: shows a bar.
        or_else: another way to get the file, for the message.

    Raises:
        RbdmlError: no server delivers the file; `target` does not exist then.
    """
    if digest is not None and not re.fullmatch("sha256:[0-9a-f]{8,64}|md5:[0-9a-f]{32}", digest := digest.lower()):
        raise RbdmlError(f"{digest!r} is no digest: write sha256:HEX (at least 8 digits of it) or md5:HEX")
    try:
        if target.exists():
            _check_present(target, digest, or_else)
            return target
        if not urls:
            raise RbdmlError(f"{target.name}: no server is known that still has it: {or_else}")
        hosts = [_host(url) for url in urls]
        target.parent.mkdir(parents=True, exist_ok=True)
        fetching = _Fetching(target, digest, progress)
        failures = []
        for url, host in zip(urls, hosts, strict=True):
            try:
                fetching.fetch(url)
                return target
            except _FailedError as error:
                failures.append(f"{host} {error}")
        kept = fetching.kept(urls)
    except OSError as error:
        raise RbdmlError(
            f"cannot write {target} ({_reason(error)}): make room or choose another folder, then give the same command "
            "again; what arrived is kept"
        ) from None
    raise RbdmlError(f"{target.name} could not be downloaded: {'; '.join(failures)}: {kept}{or_else}")


class _Fetching:
    def __init__(self, target: Path, digest: str | None, progress: Progress) -> None:
        self.target, self.digest, self.progress = target, digest, progress
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")

    def fetch(self, url: str) -> None:
        """Download from this address and put the file in place, or raise _FailedError."""
        for left in reversed(range(ATTEMPTS)):
            try:
                pieced = self._request(url)
                if not self.digest or (found := _digest(self.part, self.digest)) == self.digest:
                    break
                self._remove()
                # A file joined from several pieces may have the right hash when fetched whole.
                raise _FailedError(f"gave a file with {found} and not {self.digest}, which was deleted", again=pieced)
            except _FailedError as error:
                if not (error.again and left):
                    raise
            time.sleep(PAUSE)
        with self.part.open("ab") as file:
            os.fsync(file.fileno())
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)

    def kept(self, urls: Sequence[str]) -> str:
        """Message about the partial file, for a user who can repeat the command."""
        size = self._size()
        if not size or not (self.digest or any(self._validator_of_part(url) for url in urls)):
            return ""
        return f"the {size:,} bytes that arrived are kept and the same command goes on from there, or "

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _validator_of_part(self, url: str) -> str | None:
        """ETag or date of the version that the partial file came from, None if another address sent it."""
        try:
            origin, validator = json.loads(self.note.read_bytes())
        except (FileNotFoundError, ValueError, TypeError):  # a damaged note counts as none
            return None
        return validator if origin == url and isinstance(validator, str) else None

    def _remove(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _request(self, url: str) -> bool:
        """Send one request and fill the partial file. Return true if it also holds bytes of an earlier request."""
        validator = self._validator_of_part(url) if self._size() else None
        offset = self._size() if validator or self.digest else 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        headers |= {"If-Range": validator} if validator else {}
        with closing(_open(url, headers)) as answer:
            start, total = (0, None) if answer.status == 200 else _content_range(answer)
            if answer.status == 416 and (total == offset or (total is None and self.digest)):
                return True  # the partial file is complete
            another = validator and _validator(answer) not in (None, validator)  # not all servers heed If-Range
            if answer.status == 416 or (answer.status == 206 and (start != offset or another)):
                self._remove()
                raise _FailedError("has another file than the one begun", again=True)
            if start and not validator:
                self.note.unlink(missing_ok=True)  # the bytes now have more than one origin
            self._receive(answer, url, start, total)
        return start > 0

    def _receive(self, answer: HTTPResponse, url: str, start: int, total: int | None) -> None:
        if total is None and answer.length is not None:
            total = start + answer.length
        body = _body(answer, start, total)
        head = next(body, b"")
        if answer.headers.get_content_type() == "text/html" or (start == 0 and WEB_PAGE.match(head)):
            raise _FailedError("answered with a web page instead of the file")
        free = free_bytes(self.target.parent)
        if total is not None and total - self._size() > free:
            raise RbdmlError(
                f"{self.target.name} has {total - self._size():,} bytes to come and {free:,} are free in "
                f"{self.target.parent}: make room or choose another folder"
            )
        if start == 0:
            self.part.write_bytes(b"")  # before the note, which must never describe older bytes
            origin = json.dumps([url, _validator(answer)]).encode()
            write_atomically(self.note, origin)
        bar = self.progress.bar(math.inf if total is None else total, self.target.name, "B")
        with bar as shown, self.part.open("ab") as file:
            shown.advance_by(start)
            for chunk in chain((head,), body):
                file.write(chunk)
                shown.advance_by(len(chunk))


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    try:
        # `_host` has refused other schemes.
        request = urllib.request.Request(url, headers={"User-Agent": "robustbench-dml", **headers})  # noqa: S310
        answer = urllib.request.build_opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            return cast(HTTPResponse, error.fp)  # its headers count
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


def _content_range(answer: HTTPResponse) -> tuple[int, int | None]:
    """First byte of a partial answer, and the length of the whole file."""
    found = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", answer.headers.get("Content-Range", ""))
    return (int(found[1] or 0), None if found[2] == "*" else int(found[2])) if found else (0, None)


def _validator(answer: HTTPResponse) -> str | None:
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified")  # equal weak ETags allow other bytes


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


def _check_present(target: Path, digest: str | None, or_else: str) -> None:
    if not target.is_file():
        raise RbdmlError(f"{target} is there and is no file: remove it, or choose another folder")
    if digest and (found := _digest(target, digest)) != digest:
        target.unlink()
        raise RbdmlError(
            f"{target} had {found} and not {digest}, and was deleted: give the same command again to download it, or "
            f"{or_else}"
        )

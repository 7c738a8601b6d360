"""A server on this machine that fails in all the ways of servers, and what its tests share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from robustbench_dml.datasets.download import download
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Bar, Progress

CONTENT = hashlib.shake_256(b"content").digest(10_000)
OTHER = hashlib.shake_256(b"other").digest(10_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
QUIET = Progress(quiet=True)
PAGE = b"<html><body>Please log in</body></html>"


@dataclass
class Site:
    """A server of one file, under every path, and what it was asked for."""

    port: int = 0
    content: bytes = CONTENT
    content_type: str = "application/octet-stream"
    failures: list[int] = field(default_factory=list)  # statuses of the next answers
    cut: int | None = None  # bytes after which every answer breaks off
    cuts: int = 99  # how many answers do
    ranges: bool = True
    length: bool = True
    chunked: bool = False
    silent: bool = False
    shift: int = 0  # bytes by which a resumed answer begins too late
    location: str | None = None
    asked: list[str | None] = field(default_factory=list)
    closing: Event = field(default_factory=Event)

    def url(self, path: str = "set.tgz") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.asked.append(wanted)
        if self.silent:
            self.closing.wait(30)
            return
        if self.location is not None:
            request.send_response(302)
            request.send_header("Location", self.location)
            request.end_headers()
            return
        if self.failures:
            request.send_error(self.failures.pop(0))
            return
        heed = wanted and self.ranges
        start = int(wanted[len("bytes=") : -1]) if heed else 0
        total = len(self.content)
        beyond = bool(heed and start >= total)
        span = f"bytes */{total}" if beyond else f"bytes {start}-{total - 1}/{total}"
        request.send_response((416 if beyond else 206) if heed else 200)
        body = b"" if beyond else self.content[start + (self.shift if start else 0) :]
        headers = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(body)) if self.length and not self.chunked else None,
            "Content-Range": span if heed else None,
            "Transfer-Encoding": "chunked" if self.chunked else None,
        }
        for name, value in headers.items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(self.framed(body))

    def framed(self, body: bytes) -> bytes:
        whole = self.cut is None or self.cuts <= 0
        self.cuts -= 1
        sent = body if whole else body[: self.cut]
        if not self.chunked:
            return sent
        return f"{len(sent):x}\r\n".encode() + sent + b"\r\n" + (b"0\r\n\r\n" if whole else b"")


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if site.chunked else "HTTP/1.0"
        timeout = 30

        def do_GET(self) -> None:
            site.answer(self)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
            thread.join(30)


@dataclass(frozen=True)
class Watched(Progress):
    """Keeps what the bars show; breaks off with `failure` when one comes to `stop`."""

    bars: list[Any] = field(default_factory=list)
    stop: float = float("inf")
    failure: BaseException | None = None

    @contextmanager
    def bar(self, total: float, title: str, unit: str) -> Iterator[Bar]:
        shown = SimpleNamespace(total=total, title=title, unit=unit, steps=[], disable=False)

        def update(step: float) -> None:
            shown.steps.append(step)
            if self.failure is not None and sum(shown.steps) >= self.stop:
                raise self.failure

        shown.update = update
        self.bars.append(shown)
        yield Bar(shown)


def begin(site: Site, target: Path, size: int) -> None:
    """Let a download break off at this size, so that its part is there to go on with."""
    site.cut, site.ranges = size, False
    with pytest.raises(RbdmlError):
        download([site.url()], target, digest=DIGEST, progress=QUIET)
    site.cut, site.ranges = None, True
    assert part(target).read_bytes() == site.content[:size]
    site.asked.clear()


def part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def failure(urls: list[str], target: Path, *, digest: str = DIGEST) -> str:
    with pytest.raises(RbdmlError) as caught:
        download(urls, target, digest=digest, progress=QUIET)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    return str(caught.value)

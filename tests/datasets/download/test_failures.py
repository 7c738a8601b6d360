from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from download_site import (
    CONTENT,
    DIGEST,
    PAGE,
    QUIET,
    Site,
    Watched,
    begin,
    failure,
    files,
    part,
    serving,
)

from robustbench_dml.datasets import download as module
from robustbench_dml.datasets.download import download
from robustbench_dml.utils.errors import RbdmlError


@pytest.mark.parametrize(
    ("status", "asked"), [(404, 1), (403, 1), (410, 1), (416, 1), (204, 1), (503, 3), (429, 3), (408, 3)]
)
def test_only_failures_that_may_pass_are_tried_again(site: Site, target: Path, status: int, asked: int) -> None:
    site.failures = [status] * 3
    message = failure([site.url()], target)
    assert f"127.0.0.1:{site.port} answered {status}" in message
    assert "kept" not in message
    assert len(site.asked) == asked
    assert files(target) == []


def test_a_failure_that_passed_is_forgotten(site: Site, target: Path) -> None:
    site.failures = [503, 500]
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT


def test_mirrors_are_asked_in_turn(site: Site, target: Path, refused: str) -> None:
    with serving(Site(failures=[404])) as missing, serving(Site()) as unasked:
        download([missing.url(), refused, site.url(), unasked.url()], target, digest=DIGEST, progress=QUIET)
        assert (len(missing.asked), len(site.asked), len(unasked.asked)) == (1, 1, 0)
    assert target.read_bytes() == CONTENT


def test_when_all_mirrors_fail_each_is_named_with_its_reason(site: Site, target: Path, refused: str) -> None:
    site.failures = [404]
    message = failure([site.url(), refused.replace("http://", "http://user:secret@")], target)
    assert f"127.0.0.1:{site.port} answered 404 Not Found" in message
    assert re.search(r"127\.0\.0\.1:[0-9]+ could not be asked", message)
    assert "secret" not in message
    assert "--url" in message and "--from" in message
    assert "Connection refused" in failure([refused], target)


def test_a_server_that_does_not_answer_is_left(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.02)
    site.silent = True
    assert "no answer within 0.02 s" in failure([site.url()], target)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (CONTENT, "text/html; charset=utf-8"),
        (CONTENT, "Text/HTML"),
        (PAGE, "application/octet-stream"),
        (b"\n <!DOCTYPE  html>" + PAGE, "application/x-gzip"),
        (b"\xef\xbb\xbf<HTML lang=de>", "application/zip"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_web_page_is_no_file(site: Site, target: Path, content: bytes, content_type: str, begun: bool) -> None:
    if begun:
        begin(site, target, 4_000)
    site.content, site.content_type, site.ranges = content, content_type, False
    message = failure([site.url()], target)
    assert f"127.0.0.1:{site.port} answered with a web page instead of the file" in message
    assert len(site.asked) == 1
    assert files(target) == (["set.tgz.part"] if begun else [])
    if begun:  # and nothing of the page came to it
        assert part(target).read_bytes() == CONTENT[:4_000]


@pytest.mark.parametrize(
    "url", ["ftp://host/set.tgz", "file:///etc/passwd", "data:,x", "host/set.tgz", "http:///x", ""]
)
def test_an_address_that_is_not_of_the_web_is_refused(site: Site, target: Path, url: str) -> None:
    with pytest.raises(RbdmlError, match=r"cannot download from .*http:// or https://.*--url"):
        download([site.url(), url], target, digest=DIGEST, progress=QUIET)
    assert site.asked == []


@pytest.mark.parametrize("url", ["http://[::1/set.tgz", "http://host:port/set.tgz", "http://127.0.0.1/ä b"])
def test_an_address_that_makes_no_sense_is_a_failure_like_others(target: Path, url: str) -> None:
    assert "could not be asked" in failure([url], target)


@pytest.mark.parametrize("location", ["ftp://{refused}", "file:///etc/passwd", "http://[::1/set.tgz"])
def test_a_redirection_does_not_leave_the_web(site: Site, target: Path, refused: str, location: str) -> None:
    site.location = location.format(refused=refused.removeprefix("http://"))
    assert f"127.0.0.1:{site.port} " in failure([site.url()], target)
    assert files(target) == []


def test_a_redirection_is_gone_on_with(site: Site, target: Path) -> None:
    with serving(Site(location=site.url("moved"))) as old:
        site.cut, site.cuts = 4_000, 1
        download([old.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=4000-"]


def test_without_a_server_the_other_ways_are_named(target: Path) -> None:
    message = failure([], target)
    for piece in ("set.tgz", "no server is known", "--from", "--url"):
        assert piece in message


def test_downloads_without_room_are_not_begun(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(site, target, 4_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_999))
    message = failure([site.url()], target)
    assert "6,000 bytes to come and 5,999 are free" in message
    assert part(target).read_bytes() == CONTENT[:4_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=6_000))
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_bytes_before_a_full_disk_or_an_interrupt_are_kept(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    monkeypatch.setattr(module, "CHUNK", 1_000)
    expected = RbdmlError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        download([site.url()], target, digest=DIGEST, progress=Watched(stop=3_000, failure=failure))
    if isinstance(failure, OSError):
        assert re.search("set.tgz .No space left on device.*make room.*what arrived is kept", str(caught.value))
    assert files(target) == ["set.tgz.part"]
    assert part(target).read_bytes() == CONTENT[:3_000]
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert site.asked == [None, "bytes=3000-"]
    assert target.read_bytes() == CONTENT


def test_the_bar_begins_at_the_kept_bytes(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    progress = Watched()
    download([site.url()], target, digest=DIGEST, progress=progress)
    (bar,) = progress.bars
    assert (bar.total, bar.title, bar.unit, bar.steps[0], sum(bar.steps)) == (10_000, "set.tgz", "B", 4_000, 10_000)


def test_a_folder_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RbdmlError, match=r"cannot write .*set\.tgz.*choose another folder"):
        download([site.url()], tmp_path / "file" / "set.tgz", digest=DIGEST, progress=QUIET)


def test_a_folder_in_the_place_of_the_file_is_named(site: Site, target: Path) -> None:
    target.mkdir(parents=True)
    with pytest.raises(RbdmlError, match="is there and is no file"):
        download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert site.asked == []

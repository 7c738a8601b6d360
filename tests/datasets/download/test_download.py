from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from download_site import (
    CONTENT,
    DIGEST,
    OTHER,
    QUIET,
    Site,
    Watched,
    begin,
    failure,
    files,
    part,
    serving,
)

from robustbench_dml.datasets.download import download
from robustbench_dml.utils.errors import RbdmlError


@pytest.mark.parametrize("digest", [DIGEST, f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_a_file_arrives_whole_and_nothing_else_stays(site: Site, target: Path, digest: str) -> None:
    assert download([site.url()], target, digest=digest, progress=QUIET) == target
    assert target.read_bytes() == CONTENT
    assert files(target) == ["set.tgz"]
    assert site.asked == [None]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, target.exists())))
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert synced[-1] == (len(CONTENT), False)


def test_a_file_that_is_there_needs_no_network(target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert download([], target, digest=DIGEST, progress=QUIET) == target


def test_a_file_that_is_there_with_another_digest_is_deleted(site: Site, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(OTHER)
    message = failure([site.url()], target)
    assert files(target) == []
    for piece in (str(target), DIGEST, hashlib.sha256(OTHER).hexdigest(), "deleted", "--url", "--from"):
        assert piece in message
    assert site.asked == []


def test_a_wrong_file_is_deleted_and_named(site: Site, target: Path) -> None:
    site.content = OTHER
    message = failure([site.url()], target)
    assert files(target) == []
    for piece in ("set.tgz", DIGEST, hashlib.sha256(OTHER).hexdigest(), "deleted", "--url", "--from"):
        assert piece in message
    assert len(site.asked) == 1  # it would be the same again


def test_after_a_wrong_file_the_next_mirror_is_asked(site: Site, target: Path) -> None:
    with serving(Site(content=OTHER)) as wrong:
        download([wrong.url(), site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert site.asked == [None]


def test_an_answer_that_breaks_off_is_gone_on_with(site: Site, target: Path) -> None:
    site.cut, site.cuts = 4_000, 2
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert files(target) == ["set.tgz"]
    assert site.asked == [None, "bytes=4000-", "bytes=8000-"]


def test_an_answer_without_a_length_that_breaks_off_is_noticed(target: Path) -> None:
    with serving(Site(chunked=True, cut=4_000, cuts=1)) as site:
        download([site.url()], target, digest=DIGEST, progress=QUIET)
        assert target.read_bytes() == CONTENT
        assert site.asked == [None, "bytes=4000-"]


def test_a_file_of_unknown_length_is_taken_as_it_ends(site: Site, target: Path) -> None:
    site.length = False
    progress = Watched()
    download([site.url()], target, digest=DIGEST, progress=progress)
    assert target.read_bytes() == CONTENT
    assert progress.bars[0].total == float("inf")


def test_a_download_that_stays_short_goes_on_with_the_same_command(
    site: Site, target: Path, pauses: list[float]
) -> None:
    site.cut = 1_000
    message = failure([site.url()], target)
    for piece in (f"127.0.0.1:{site.port} broke off after 3,000 of 10,000 bytes", "3,000 bytes that arrived are kept"):
        assert piece in message
    assert "the same command goes on from there" in message
    assert len(site.asked) == 3
    assert pauses == [1.0, 1.0]
    assert part(target).read_bytes() == CONTENT[:3_000]
    site.cut = None
    site.asked.clear()
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert site.asked == ["bytes=3000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_makes_it_begin_anew(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    site.ranges = False
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert site.asked == ["bytes=4000-"]


def test_a_part_that_was_of_another_file_is_begun_anew(site: Site, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part(target).write_bytes(OTHER[:4_000])
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert site.asked == ["bytes=4000-", None]


def test_an_answer_from_another_place_in_the_file_is_noticed(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    site.shift = 1
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert site.asked == ["bytes=4000-", None]
    assert target.read_bytes() == CONTENT


def test_the_first_digits_of_a_digest_are_enough(site: Site, target: Path) -> None:
    download([site.url()], target, digest=DIGEST[: len("sha256:") + 8], progress=QUIET)
    assert target.read_bytes() == CONTENT
    wrong = "sha256:" + "0" * 8
    with pytest.raises(RbdmlError, match=f"had {DIGEST[: len(wrong)]} and not {wrong}"):
        download([site.url()], target, digest=wrong, progress=QUIET)
    assert not target.exists()


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_part_that_is_whole_or_too_long_is_noticed(site: Site, target: Path, more: bytes) -> None:
    begin(site, target, 9_000)
    part(target).write_bytes(CONTENT + more)
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert site.asked == ([f"bytes={len(CONTENT + more)}-", None] if more else ["bytes=10000-"])
    assert target.read_bytes() == CONTENT
    assert files(target) == ["set.tgz"]


def test_the_pieces_may_come_from_several_addresses(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    download([site.url("elsewhere")], target, digest=DIGEST, progress=QUIET)
    assert site.asked == ["bytes=4000-"]
    assert target.read_bytes() == CONTENT

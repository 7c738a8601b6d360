from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from download_site import (
    CONTENT,
    DATE,
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


@pytest.mark.parametrize("digest", [None, DIGEST, DIGEST.upper(), f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_a_file_arrives_whole_and_nothing_else_stays(site: Site, target: Path, digest: str | None) -> None:
    assert download([site.url()], target, digest=digest, progress=QUIET) == target
    assert target.read_bytes() == CONTENT
    assert files(target) == ["set.tgz"]
    assert site.asked == [(None, None)]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((os.fstat(number).st_size, target.exists())))
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert synced[-1] == (len(CONTENT), False)


@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_file_that_is_there_needs_no_network(target: Path, digest: str | None) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert download([], target, digest=digest, progress=QUIET) == target


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
    assert site.asked == [(None, None)]


@pytest.mark.parametrize("digest", ["", "sha256", DIGEST[:14], "md5:" + "g" * 32, "sha1:" + "0" * 40])
def test_a_digest_that_is_none_is_refused(target: Path, digest: str) -> None:
    with pytest.raises(RbdmlError, match="is no digest: write sha256:HEX"):
        download([], target, digest=digest, progress=QUIET)


def test_an_answer_that_breaks_off_is_gone_on_with(site: Site, target: Path) -> None:
    site.cut, site.cuts = 4_000, 2
    download([site.url()], target, digest=None, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert files(target) == ["set.tgz"]
    assert site.asked == [(None, None), ("bytes=4000-", '"one"'), ("bytes=8000-", '"one"')]


def test_an_answer_without_a_length_that_breaks_off_is_noticed(target: Path) -> None:
    with serving(Site(chunked=True, cut=4_000, cuts=1)) as site:
        download([site.url()], target, digest=None, progress=QUIET)
        assert target.read_bytes() == CONTENT
        assert site.asked == [(None, None), ("bytes=4000-", '"one"')]


def test_a_file_of_unknown_length_is_taken_as_it_ends(site: Site, target: Path) -> None:
    site.length = False
    progress = Watched()
    download([site.url()], target, digest=None, progress=progress)
    assert target.read_bytes() == CONTENT
    assert progress.bars[0].total == float("inf")


def test_a_download_that_stays_short_goes_on_with_the_same_command(
    site: Site, target: Path, pauses: list[float]
) -> None:
    site.cut = 1_000
    message = failure([site.url()], target, digest=None)
    for piece in (f"127.0.0.1:{site.port} broke off after 3,000 of 10,000 bytes", "3,000 bytes that arrived are kept"):
        assert piece in message
    assert "the same command goes on from there" in message
    assert len(site.asked) == 3
    assert pauses == [1.0, 1.0]
    assert part(target).read_bytes() == CONTENT[:3_000]
    site.cut = None
    site.asked.clear()
    download([site.url()], target, digest=None, progress=QUIET)
    assert site.asked == [("bytes=3000-", '"one"')]
    assert target.read_bytes() == CONTENT


def test_no_resumption_is_promised_without_a_validator(site: Site, target: Path) -> None:
    site.cut, site.etag = 1_000, None
    message = failure([site.url()], target, digest=None)
    assert "broke off after 1,000 of 10,000 bytes" in message
    assert "kept" not in message


def test_a_server_without_ranges_makes_it_begin_anew(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    site.ranges = False
    download([site.url()], target, digest=None, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("bytes=4000-", '"one"')]


@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_are_never_mixed(site: Site, target: Path, if_range: bool) -> None:
    begin(site, target, 4_000)
    site.content, site.etag, site.if_range = OTHER, '"two"', if_range
    download([site.url()], target, digest=None, progress=QUIET)
    assert target.read_bytes() == OTHER


@pytest.mark.parametrize(
    ("etag", "modified", "path", "digest", "asked"),
    [
        ('"one"', DATE, "set.tgz", None, ("bytes=4000-", '"one"')),
        (None, DATE, "set.tgz", None, ("bytes=4000-", DATE)),
        ('W/"weak"', DATE, "set.tgz", None, ("bytes=4000-", DATE)),
        ('W/"weak"', None, "set.tgz", None, (None, None)),
        (None, None, "set.tgz", None, (None, None)),
        (None, None, "set.tgz", DIGEST, ("bytes=4000-", None)),
        ('"one"', None, "elsewhere", None, (None, None)),
        ('"one"', None, "elsewhere", DIGEST, ("bytes=4000-", None)),
    ],
)
def test_only_a_validator_of_the_address_or_a_digest_lets_it_go_on(
    site: Site,
    target: Path,
    etag: str | None,
    modified: str | None,
    path: str,
    digest: str | None,
    asked: tuple[str | None, str | None],
) -> None:
    site.etag, site.modified = etag, modified
    begin(site, target, 4_000)
    download([site.url(path)], target, digest=digest, progress=QUIET)
    assert site.asked == [asked]
    assert target.read_bytes() == CONTENT


def test_a_part_of_two_addresses_is_of_none(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    site.cut, site.cuts = 1_000, 3
    failure([site.url("elsewhere")], target)
    site.cut = None
    site.asked.clear()
    download([site.url()], target, digest=None, progress=QUIET)
    assert site.asked == [(None, None)]


@pytest.mark.parametrize("note", [b"", b"no json", b"3", b'["http://other"]', b'["URL", 7]'])
def test_a_damaged_note_is_as_good_as_none(site: Site, target: Path, note: bytes) -> None:
    begin(site, target, 4_000)
    part(target).with_name("set.tgz.part.json").write_bytes(note.replace(b"URL", site.url().encode()))
    download([site.url()], target, digest=None, progress=QUIET)
    assert site.asked == [(None, None)]
    assert target.read_bytes() == CONTENT


def test_a_part_that_was_of_another_file_is_begun_anew(site: Site, target: Path) -> None:
    target.parent.mkdir(parents=True)
    part(target).write_bytes(OTHER[:4_000])
    download([site.url()], target, digest=DIGEST, progress=QUIET)
    assert target.read_bytes() == CONTENT
    assert site.asked == [("bytes=4000-", None), (None, None)]


@pytest.mark.parametrize(
    ("more", "content_range", "digest", "asked"),
    [
        (b"", None, None, [("bytes=10000-", '"one"')]),
        (b"", None, DIGEST, [("bytes=10000-", '"one"')]),
        (b"", "", DIGEST, [("bytes=10000-", '"one"')]),
        (b"", "", None, [("bytes=10000-", '"one"'), (None, None)]),
        (b"more", None, None, [("bytes=10004-", '"one"'), (None, None)]),
    ],
)
def test_a_part_that_is_known_to_be_whole_needs_only_its_name(
    site: Site, target: Path, more: bytes, content_range: str | None, digest: str | None, asked: list[Any]
) -> None:
    begin(site, target, 9_000)
    part(target).write_bytes(CONTENT + more)
    site.content_range = content_range
    download([site.url()], target, digest=digest, progress=QUIET)
    assert site.asked == asked
    assert target.read_bytes() == CONTENT
    assert files(target) == ["set.tgz"]


def test_a_server_need_not_repeat_the_validator(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    site.etag, site.if_range = None, False
    download([site.url()], target, digest=None, progress=QUIET)
    assert site.asked == [("bytes=4000-", '"one"')]
    assert target.read_bytes() == CONTENT


def test_an_answer_from_another_place_in_the_file_is_not_appended(site: Site, target: Path) -> None:
    begin(site, target, 4_000)
    site.content_range = "bytes 0-9999/10000"
    download([site.url()], target, digest=None, progress=QUIET)
    assert site.asked == [("bytes=4000-", '"one"'), (None, None)]
    assert target.read_bytes() == CONTENT


def test_the_first_digits_of_a_digest_are_enough(site: Site, target: Path) -> None:
    download([site.url()], target, digest=DIGEST[: len("sha256:") + 8], progress=QUIET)
    assert target.read_bytes() == CONTENT
    wrong = "sha256:" + "0" * 8
    with pytest.raises(RbdmlError, match=f"had {DIGEST[: len(wrong)]} and not {wrong}"):
        download([site.url()], target, digest=wrong, progress=QUIET)
    assert not target.exists()

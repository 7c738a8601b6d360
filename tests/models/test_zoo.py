"""Models by name: from a folder, a host, the hub, the package and the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from download_site import CONTENT, OTHER, QUIET, serving
from glyphs_mini import small
from prepare_support import Shelf

import robustbench_dml as rb
from robustbench_dml.leaderboard.entries import CHECKOUT, find_leaderboards, read_all
from robustbench_dml.leaderboard.submission.zoo import zoo_problems
from robustbench_dml.models.zoo import FOLDER, INDEX, ZooIndex, ZooModel, fetch, located, read_index, shipped, stored
from robustbench_dml.spec.weights import read_checkpoint

NAME = "set/act-eta8-seed0"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def model(name: str = NAME, url: str | None = None) -> ZooModel:
    return ZooModel(name=name, entry="1" * 16, weights="2" * 64, sha256=SHA256, bytes=len(CONTENT), url=url)


def index(*models: ZooModel) -> bytes:
    return ZooIndex(models=models).text.encode()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RBDML_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda _: None)
    return tmp_path / "cache" / "zoo"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with serving(Shelf()) as site:
        assert isinstance(site, Shelf)
        site.files = {"zoo/index.json": index(model()), f"zoo/{NAME}.safetensors": CONTENT}
        monkeypatch.setenv("RBDML_ZOO", site.url("zoo/"))
        yield site


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo in a folder, with an index and no file."""
    monkeypatch.setenv("RBDML_ZOO", str(tmp_path))
    (tmp_path / INDEX).write_bytes(index(model()))
    return tmp_path


def test_a_host_gives_index_and_file_once(host: Shelf, cache: Path) -> None:
    path = fetch(NAME, QUIET)
    assert path.read_bytes() == CONTENT and path.parent == cache
    assert fetch(NAME, QUIET) == path
    assert host.paths.count(f"zoo/{NAME}.safetensors") == 1


def test_a_fetched_model_needs_no_network(host: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(NAME, QUIET)
    host.files.clear()
    assert fetch(NAME, QUIET) == path


def test_a_broken_download_is_resumed(folder: Path) -> None:
    with serving(Shelf(files={"weights": CONTENT})) as site:
        (folder / INDEX).write_bytes(index(model(url=site.url("weights"))))
        site.cut, site.ranges = 4000, False
        with pytest.raises(rb.RbdmlError, match="4,000 bytes that arrived are kept"):
            fetch(NAME, QUIET)
        site.cut, site.ranges = None, True
        assert fetch(NAME, QUIET).read_bytes() == CONTENT
        assert site.asked[-1] == "bytes=4000-"


def test_another_file_is_refused_and_not_kept(host: Shelf, cache: Path) -> None:
    host.files[f"zoo/{NAME}.safetensors"] = OTHER
    with pytest.raises(rb.RbdmlError, match="which was deleted"):
        fetch(NAME, QUIET)
    assert not list(cache.glob("*.safetensors*"))


def test_the_address_of_a_model_is_used(folder: Path) -> None:
    with serving(Shelf(files={"weights": CONTENT})) as site:
        (folder / INDEX).write_bytes(index(model(url=site.url("weights"))))
        assert fetch(NAME, QUIET).read_bytes() == CONTENT


def test_a_folder_gives_its_file_and_refuses_an_altered_one(folder: Path) -> None:
    with pytest.raises(rb.RbdmlError, match="no host yet: set RBDML_ZOO"):
        fetch(NAME, QUIET)
    path = folder / f"{NAME}.safetensors"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(NAME, QUIET) == located(NAME) == located(f"zoo:{NAME}") == path
    path.write_bytes(OTHER)
    with pytest.raises(rb.RbdmlError, match="truncated or altered"):
        fetch(NAME, QUIET)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not the index of a zoo"),
        (index(model()).replace(b"set/", b"../"), "models.0.name = '../act-eta8-seed0'"),
        (index(model()).replace(b'"url": null', b'"url": "file:///etc/passwd"'), "models.0.url"),
    ],
)
def test_a_bad_index_is_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / INDEX).write_bytes(content)
    with pytest.raises(rb.RbdmlError, match=message):
        rb.list_models()


def test_a_missing_name_or_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(rb.RbdmlError, match=f"no model 'set/act-seed0' in the zoo: did you mean '{NAME}'"):
        fetch("set/act-seed0", QUIET)
    monkeypatch.setenv("RBDML_ZOO", str(folder / "gone"))
    with pytest.raises(rb.RbdmlError, match="no such folder"):
        rb.list_models()


def test_the_hub_is_asked_by_its_own_client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            known = self.path == "/lab/zoo/resolve/main/act.safetensors"
            self.send_response(200 if known else 404)
            for key, value in (("X-Repo-Commit", "c" * 40), ("ETag", f'"{SHA256}"'), ("Content-Length", len(CONTENT))):
                self.send_header(key, str(value))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        client = partial(hub.hf_hub_download, endpoint=endpoint, cache_dir=folder / "hub", token=False)
        monkeypatch.setattr(hub, "hf_hub_download", client)
        try:
            (folder / INDEX).write_bytes(index(model(url="hf://lab/zoo/act.safetensors")))
            assert fetch(NAME, QUIET).read_bytes() == CONTENT
            (folder / INDEX).write_bytes(index(model(url="hf://lab/zoo/gone.safetensors")))
            with pytest.raises(rb.RbdmlError, match=r"gone\.safetensors could not be downloaded"):
                fetch(NAME, QUIET)
        finally:
            server.shutdown()


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RBDML_ZOO", raising=False)


@pytest.mark.usefixtures("unset")
def test_the_index_of_the_package_is_of_the_boards() -> None:
    boards = find_leaderboards(CHECKOUT / "leaderboards")
    assert zoo_problems(read_all(boards), boards) == []
    assert read_index(boards / FOLDER).text == (boards / FOLDER / INDEX).read_text()
    here = {each.file for each in rb.list_models() if stored(each)}
    assert here == {str(path.relative_to(shipped())) for path in shipped().rglob("*.safetensors")}


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize("name", ["glyphs/regular-seed0", "glyphs/hm-lga-ics-eta8-seed0"])
def test_a_model_of_the_package_is_that_of_its_entry(name: str) -> None:
    """It is of the same spec, and finds images of its class among 600."""
    [entry] = [each.entry for each in rb.list_models() if each.name == name]
    assert read_checkpoint(located(name)).spec.digest == entry
    data, model = small().test, rb.load_model(name, device="cpu")
    with torch.no_grad():
        found = model(data.batch(torch.arange(len(data))))
    near = torch.cdist(found, found).fill_diagonal_(9).argmin(1)
    assert float((data.labels[near] == data.labels).float().mean()) > 0.75

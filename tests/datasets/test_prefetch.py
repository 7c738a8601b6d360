from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from robustbench_dml.datasets.base import Dataset, Split
from robustbench_dml.datasets.prefetch import PrefetchedImages, prefetch, with_prefetch
from robustbench_dml.evaluation.context import GALLERY_BLOCK, embed
from robustbench_dml.spec.make import make_spec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.errors import RbdmlError

CPU = torch.device("cpu")
PIXELS = torch.randint(0, 256, (600, 1, 28, 28), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(600) % 10


class OnDisk:
    """Images that record their readers."""

    def __init__(self) -> None:
        self.read: list[tuple[list[int], bool]] = []  # rows, and whether by another thread

    @property
    def shape(self) -> Sequence[int]:
        return PIXELS.shape

    def __getitem__(self, rows: Tensor) -> Tensor:
        self.read.append((rows.tolist(), threading.current_thread() is not threading.main_thread()))
        if 13 in rows.tolist() and len(rows) == 1:
            raise RbdmlError("13.png: cannot be read")
        return PIXELS[rows]


def test_expected_rows_are_read_once_by_another_thread() -> None:
    disk = OnDisk()
    images, rows = PrefetchedImages(disk, pinned=False), torch.tensor([4, 4, 2])
    images.prefetch(rows)
    assert torch.equal(images[rows], PIXELS[rows])
    assert disk.read == [([4, 4, 2], True)]
    assert images.shape == PIXELS.shape


def test_other_rows_than_expected_are_read_when_they_are_asked_for() -> None:
    images = PrefetchedImages(OnDisk(), pinned=False)
    images.prefetch(torch.tensor([1, 2]))
    for rows in (torch.tensor([2, 1]), torch.tensor([1, 2]), torch.tensor([5])):
        assert torch.equal(images[rows], PIXELS[rows])


def test_an_error_comes_when_the_rows_are_asked_for() -> None:
    images = PrefetchedImages(OnDisk(), pinned=False)
    images.prefetch(torch.tensor([13]))
    assert torch.equal(images[torch.tensor([1])], PIXELS[[1]])
    images.prefetch(torch.tensor([13]))
    with pytest.raises(RbdmlError, match=r"13\.png"):
        images[torch.tensor([13])]


def test_images_in_memory_are_left_as_they_are() -> None:
    split = Split(PIXELS, LABELS)
    assert with_prefetch(split) is split
    prefetch(split, torch.tensor([1]))  # nothing to do
    ahead = with_prefetch(Split(OnDisk(), LABELS))
    assert with_prefetch(ahead) is ahead


def test_training_reads_every_batch_but_the_first_ahead_and_gets_the_same_images() -> None:
    disk = OnDisk()
    spec = make_spec(defense="regular", dataset="fashion", budget="64", training={"pairs": 8})
    disk_trainer, plain = (
        Trainer(spec, Dataset("fashion", Split(images, LABELS), Split(images, LABELS), {}), device=CPU)
        for images in (disk, PIXELS)
    )
    for iteration in range(4):
        batch = disk_trainer.batch(iteration)
        assert torch.equal(batch.images, plain.batch(iteration).images)
    prefetch(disk_trainer.data, torch.tensor([0]))
    assert [ahead for _, ahead in disk.read][:4] == [False, True, True, True]
    assert [rows for rows, _ in disk.read][:4] == [plain.pairs.indices(i).tolist() for i in range(4)]


def test_a_gallery_is_read_ahead_and_each_row_once() -> None:
    disk = OnDisk()
    found = embed(lambda images: images.flatten(1), Split(disk, LABELS), device=CPU)  # type: ignore[arg-type]
    assert torch.equal(found, PIXELS.flatten(1).float() / 255)
    assert [ahead for _, ahead in disk.read] == [False, True, True]
    assert [len(rows) for rows, _ in disk.read] == [GALLERY_BLOCK, GALLERY_BLOCK, 600 - 2 * GALLERY_BLOCK]

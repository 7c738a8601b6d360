"""A small part of `glyphs`, for tests. Its entry point (in the folder beside) registers it in subprocesses, too."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from robustbench_dml.datasets import glyphs
from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, Split
from robustbench_dml.datasets.idx import idx_status
from robustbench_dml.spec.registry import DATASETS, register_dataset

NAME, TRAIN, TEST = "glyphs-mini", 1200, 600  # images of 20 and of 10 classes


@cache
def small() -> Dataset:
    whole = glyphs.load(DataPaths())
    train, test = (
        Split(split.images[torch.arange(count)], split.labels[:count].clone())
        for split, count in ((whole.train, TRAIN), (whole.test, TEST))
    )
    return Dataset(NAME, train, test, whole.hashes)


def load(_: DataPaths) -> Dataset:
    return small()


def status(_: DataPaths, *, verify: bool = False) -> DatasetStatus:
    del verify
    return idx_status(glyphs.EMBEDDED, small())


register_dataset(
    replace(
        DATASETS.get("glyphs"),
        name=NAME,
        summary="a part of glyphs, for tests",
        family="grey28",  # published settings do not change
        train_images=TRAIN,
        test_images=TEST,
        train_classes=TRAIN // glyphs.PER_CLASS,
        test_classes=TEST // glyphs.PER_CLASS,
        queries=None,
        load=load,
        status=status,
    )
)

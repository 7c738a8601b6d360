"""Rendered characters: 148 training and 148 unseen test classes in free fonts, embedded in the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, Split
from robustbench_dml.datasets.idx import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    idx_status,
    load_idx,
)
from robustbench_dml.spec.registry import DatasetInfo, register_dataset

EMBEDDED = Path(__file__).parent
CLASSES, PER_CLASS = 148, 60  # counts of each split

# Printed by benchmarks/glyphs/render.py. Both splits number their classes from 0 in files; `load` makes them distinct.
GLYPHS = {
    TRAIN_IMAGES: "7d5f740067aae626325219db498215b29d2d20c3cdee8b5ecc71c90b50408047",
    TRAIN_LABELS: "5baf1265ccbc55169393f1478af1523d7927678ef6149cd6269148cae7854346",
    TEST_IMAGES: "29213dbc9086508bfe25c36d7e50ee863a5a9c80be48c9df35046d0ba46cbfe8",
    TEST_LABELS: "5baf1265ccbc55169393f1478af1523d7927678ef6149cd6269148cae7854346",
}


def load(_: DataPaths) -> Dataset:
    """Load the embedded images (see README.md). Training classes are 0 to 147, test classes 148 to 295.

    Raises:
        RbdmlError: a file is damaged or missing.
    """
    data = load_idx("glyphs", EMBEDDED, GLYPHS, remedy="by installing the package again")
    return replace(data, test=Split(data.test.images, data.test.labels + CLASSES))


def status(paths: DataPaths, *, verify: bool = False) -> DatasetStatus:
    """Report the embedded files, which are always checked."""
    del verify
    return idx_status(EMBEDDED, load(paths))


register_dataset(
    DatasetInfo(
        name="glyphs",
        summary="rendered characters in free fonts, embedded: 148 / 148 classes, 8,880 / 8,880 grey 28x28 images",
        paper="this project; rendered from Debian's fonts, see datasets/glyphs/README.md",
        family="glyphs28",
        backbone="c2f2",
        train_images=CLASSES * PER_CLASS,
        test_images=CLASSES * PER_CLASS,
        train_classes=CLASSES,
        test_classes=CLASSES,
        queries=500,
        load=load,
        status=status,
    )
)

"""Rendered characters: 151 training and 151 unseen test classes in free fonts, embedded in the package."""

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
CLASSES, PER_CLASS = 151, 60  # of each split

# Printed by render.py. Both splits number their classes from 0 in files; `load` makes the classes distinct.
GLYPHS = {
    TRAIN_IMAGES: "96980ea3d3e858a4994f6b220e4d6f275bd5f8db4b76897c725e768ff4cbf51f",
    TRAIN_LABELS: "1f8f895f88ad55b43c7dacf148c8d53183e221a178c7a0eec71f3a6a5f7013c0",
    TEST_IMAGES: "1884332f4b0a628ff9f4cdaee71a1ff573dc1cc088b512aec59bd69de0cce4b3",
    TEST_LABELS: "1f8f895f88ad55b43c7dacf148c8d53183e221a178c7a0eec71f3a6a5f7013c0",
}


def load(_: DataPaths) -> Dataset:
    """Load the embedded images (see README.md). Training classes are 0 to 150, test classes 151 to 301.

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
        summary="rendered characters in free fonts, embedded: 151 / 151 classes, 9,060 / 9,060 grey 28x28 images",
        paper="this project; rendered from Debian's fonts, see datasets/glyphs/README.md",
        family="glyphs28",
        backbone="c2f2",
        train_images=CLASSES * PER_CLASS,
        test_images=CLASSES * PER_CLASS,
        train_classes=CLASSES,
        test_classes=CLASSES,
        load=load,
        status=status,
    )
)

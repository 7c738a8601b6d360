"""MNIST: handwritten digits. LeCun et al., Proceedings of the IEEE, 1998."""

from __future__ import annotations

from robustbench_dml.datasets.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxSet
from robustbench_dml.spec.registry import DatasetInfo, register_dataset

MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    hashes={
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    servers=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    archives={
        TRAIN_IMAGES: "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        TRAIN_LABELS: "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        TEST_IMAGES: "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        TEST_LABELS: "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)

register_dataset(
    DatasetInfo(
        name="mnist",
        summary="MNIST: 60,000 / 10,000 grey 28x28 images of ten digits",
        paper="LeCun et al., Proceedings of the IEEE, 1998",
        family="grey28",
        backbone="c2f2",
        train_images=60_000,
        test_images=10_000,
        train_classes=10,
        test_classes=10,
        queries=2_000,
        load=MNIST.load,
        status=MNIST.status,
        prepare=MNIST.prepare,
    )
)

"""Fashion-MNIST. Xiao et al., 2017, arXiv:1708.07747; MIT licence."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.datasets.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxSet
from robustbench_dml.spec.registry import DatasetInfo, register_dataset

# SHA-256 of the uncompressed files. Debian's archives hold the original bytes: with the original name and time in the
# gzip header, they have the MD5 sums that torchvision checks.
FASHION = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

FASHION_MNIST = IdxSet(
    name="fashion",
    title="FashionMNIST",
    hashes=FASHION,
    servers=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    archives={
        TRAIN_IMAGES: "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        TRAIN_LABELS: "md5:25c81989df183df01b3e8a0aad5dffbe",
        TEST_IMAGES: "md5:bef4ecab320f06d8554ea6380940ec79",
        TEST_LABELS: "md5:bb300cfdad3c16e7a12a480ee83cd310",
    },
    folders=("fashion-mnist",),
    system=(Path("/usr/share/datasets/fashion-mnist"), "apt-get install dataset-fashion-mnist"),
)

register_dataset(
    DatasetInfo(
        name="fashion",
        summary="Fashion-MNIST: 60,000 / 10,000 grey 28x28 images of ten classes",
        paper="Xiao et al., 2017, arXiv:1708.07747",
        family="grey28",
        backbone="c2f2",
        train_images=60_000,
        test_images=10_000,
        train_classes=10,
        test_classes=10,
        queries=2_000,
        load=FASHION_MNIST.load,
        status=FASHION_MNIST.status,
        prepare=FASHION_MNIST.prepare,
    )
)

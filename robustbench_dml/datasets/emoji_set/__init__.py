"""How the data set `emoji` is made: one class for each emoji, its images are drawings by several open projects."""

# What the pinned packages give.
TRAIN_CLASSES = 784
TRAIN_IMAGES = 4_537
TEST_CLASSES = 784
TEST_IMAGES = 4_603

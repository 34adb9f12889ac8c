"""Data sets that come inside installed packages: handwritten digits, 8x8. Safe on any thread or process."""

from __future__ import annotations

import numpy as np

from engines.data.dataset import Dataset


def digits(*, seed: int = 0) -> Dataset:
    """1,797 real handwritten digits of 8x8 pixels with 17 levels of grey.

    The split does not depend on the seed: of each class every fifth image, in the order of the file, is a
    test image.

    Parameters
    ----------
    seed : int
        Unused; every data set takes one.
    """
    from sklearn.datasets import (
        load_digits,  # takes most of a second, so not at start-up
    )

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        is_test[np.flatnonzero(labels == digit)[4::5]] = True
    return Dataset(
        name="digits",
        title="Digits 8x8",
        train=images[~is_test],
        test=images[is_test],
        kind="images",
        train_labels=labels[~is_test],
        test_labels=labels[is_test],
        class_names=tuple(str(digit) for digit in range(10)),
        levels=17,
        licence="CC BY 4.0",
        source=(
            "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak), UCI Machine Learning "
            "Repository, as shipped with scikit-learn"
        ),
        notes=(
            "Pixels have 17 levels (0 to 16): each counts the ink in a 4x4 block of the original bitmap.",
        ),
    )

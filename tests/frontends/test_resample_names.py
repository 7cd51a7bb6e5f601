"""The table of `resample` names in docs/artifact-format.md: what it says of TensorFlow is measured."""

import importlib

import numpy as np

from tests.transform.test_resample_names import SMALL_HEIGHT, SMALL_WIDTH, cells, picture, resized


def test_tensorflow_gives_the_same_where_the_table_names_its_method() -> None:
    tf = importlib.import_module("tensorflow")  # here and not above: collecting the tests takes no TensorFlow
    for name, (*_, method) in cells().items():
        if method == "none" or "whole factors" in method:
            continue
        word = {"bicubic": "bicubic", "lanczos": "lanczos3"}.get(name, name)
        assert method.split()[0] == word
        found = tf.image.resize(
            picture()[None, :, :, None].astype(np.float32), (SMALL_HEIGHT, SMALL_WIDTH), method=word, antialias=True
        ).numpy()[0, :, :, 0]
        assert np.abs(found - resized(name)).max() <= 1.01, name

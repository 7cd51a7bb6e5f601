"""HDF5: the only place that imports h5py, which is an extra."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converter.errors import CalibrationError


def read_hdf5(path: Path) -> dict[str, NDArray[Any]]:
    """All data sets of numbers or texts, those in groups by the last part of their name.

    Raises:
        CalibrationError: h5py is not installed, or the file cannot be read.
    """
    try:
        import h5py
    except ImportError as error:
        raise CalibrationError(
            f"{path} is HDF5, and h5py is not installed", hint="pip install 'edge-deploy[hdf5]'"
        ) from error
    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim:
            text = h5py.check_string_dtype(item.dtype) is not None
            found[name.rpartition("/")[2]] = np.asarray(item.asstr()[()] if text else item[()], str if text else None)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise CalibrationError(f"{path} is not whole HDF5: {error}", hint="write x and y as data sets") from error
    return found

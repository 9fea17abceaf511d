"""Arrays in a file, under any name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Arrays as .npz: numpy's `savez` takes keywords, where `file` has a meaning already."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: Path) -> Arrays:
    """What `save_arrays` wrote, in its order."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}

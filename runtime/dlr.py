"""The face of DLR, the runtime of SageMaker Neo: moving from it to Sanderling changes one import.

The original's documentation: https://neo-ai-dlr.readthedocs.io. As there, inputs are cast to the model's
dtype.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from . import _core
from .errors import InputError, SanderlingError
from .loading import load
from .tensors import Array, TensorSpec


class DLRModel:
    """Load a package; `model_path` is a `.sand` file or a folder that holds exactly one.

    `dev_type` is ``cpu``; `error_log_file` gets a line for each error. Raises SanderlingError.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        dev_type: str | None = None,
        dev_id: int | None = None,
        error_log_file: str | None = None,
        use_default_dlr: bool = False,
    ) -> None:
        self._logger = _logger(error_log_file)
        try:
            if dev_type not in (None, "cpu"):
                raise SanderlingError(f"dev_type {dev_type!r} is not available; packages run on 'cpu'")
            if dev_id not in (None, 0):
                raise SanderlingError(f"dev_id {dev_id} is not available; the CPU is device 0")
            self._model = load(_find(Path(model_path)))
        except SanderlingError as error:
            self._logger.error("cannot load %s: %s", model_path, error)
            raise
        self._last: dict[str, Array] = {}

    def run(self, input_values: Array | Mapping[str, Array]) -> list[Array]:
        """Run once; `input_values` is an array for a model with one input, or arrays by name."""
        try:
            self._last = self._cast(input_values)
            return self._model.run(self._last)
        except SanderlingError as error:
            self._logger.error("cannot run: %s", error)
            raise

    def get_input_names(self) -> list[str]:
        """Names of all inputs."""
        return [spec.name for spec in self._model.inputs]

    def get_output_names(self) -> list[str]:
        """Names of all outputs."""
        return [spec.name for spec in self._model.outputs]

    def get_input_name(self, index: int) -> str:
        """Name of one input."""
        return _at(self._model.inputs, index).name

    def get_output_name(self, index: int) -> str:
        """Name of one output."""
        return _at(self._model.outputs, index).name

    def get_input_dtypes(self) -> list[str]:
        """numpy's dtype names of all inputs."""
        return [spec.dtype.name for spec in self._model.inputs]

    def get_output_dtypes(self) -> list[str]:
        """numpy's dtype names of all outputs."""
        return [spec.dtype.name for spec in self._model.outputs]

    def get_input_dtype(self, index: int) -> str:
        """numpy's dtype name of one input."""
        return _at(self._model.inputs, index).dtype.name

    def get_output_dtype(self, index: int) -> str:
        """numpy's dtype name of one output."""
        return _at(self._model.outputs, index).dtype.name

    def get_input(self, name: str, shape: Sequence[int] | None = None) -> Array:
        """A copy of what the last run got for an input; zeros before the first run."""
        specs = {spec.name: spec for spec in self._model.inputs}
        if name not in specs:
            raise InputError(f"there is no input {name!r}, only {list(specs)}")
        value = self._last.get(name)
        array = np.zeros(specs[name].shape, specs[name].dtype) if value is None else value.copy()
        return array if shape is None else array.reshape(shape)

    def has_metadata(self) -> bool:
        """Whether the artefact says what it holds: a package always does."""
        return True

    def get_version(self) -> str:
        """Version of the runtime."""
        return _core.version()

    def _cast(self, values: Array | Mapping[str, Array]) -> dict[str, Array]:
        specs = {spec.name: spec for spec in self._model.inputs}
        named: Mapping[str, Array]
        if isinstance(values, Mapping):
            named = values
        elif isinstance(values, np.ndarray | np.generic) and len(specs) == 1:
            named = {next(iter(specs)): np.asarray(values)}
        else:
            raise InputError(f"input_values must be an array (one input) or a dict of {list(specs)}")
        unknown = [name for name in named if name not in specs]
        if unknown:
            raise InputError(f"{unknown} are not valid input names; the model takes {list(specs)}")
        return {name: np.asarray(value, dtype=specs[name].dtype, order="C") for name, value in named.items()}


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.sand"))
    if len(found) != 1:
        raise SanderlingError(f"{path} holds {len(found)} .sand files; exactly one is needed")
    return found[0]


def _at(specs: Sequence[TensorSpec], index: int) -> TensorSpec:
    if not 0 <= index < len(specs):
        raise InputError(f"index {index} is out of range; there are {len(specs)}")
    return specs[index]


def _logger(file: str | None) -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.{file}" if file else __name__)
    if file and not logger.handlers:
        logger.addHandler(logging.FileHandler(file, delay=True))
        logger.propagate = False
    return logger

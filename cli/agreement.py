"""Whether a runtime's outputs are the reference's, although it may name and shape them in its own way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sanderling.compiler.reference import largest_error

TOLERANCE = 1e-3
"""Largest deviation, relative to the largest output, of an answer that counts as right."""

Arrays = Mapping[str, npt.NDArray[Any]]


class DisagreementError(Exception):
    """The outputs cannot be compared: another number, other shapes, or NaN on one side."""


def relative_error(found: Arrays, reference: Arrays) -> float:
    """The worst output's largest |difference| over its largest |value|.

    Outputs are matched by name, or by order where the names differ; shapes are compared without dimensions
    of extent 1, which some runtimes drop. Raises DisagreementError.
    """
    if len(found) != len(reference):
        raise DisagreementError(f"{len(found)} outputs, not {len(reference)}")
    same_names = set(found) == set(reference)
    pairs = (
        [(found[name], reference[name]) for name in reference]
        if same_names
        else zip(found.values(), reference.values(), strict=True)
    )
    worst = 0.0
    for name, (got, wanted) in zip(reference, pairs, strict=True):
        if np.squeeze(got).shape != np.squeeze(wanted).shape:
            raise DisagreementError(f"output {name!r}: shape {got.shape}, not {wanted.shape}")
        error = largest_error(np.squeeze(got), np.squeeze(wanted))
        if math.isinf(error):
            raise DisagreementError(
                f"output {name!r}: NaN or infinity where the reference has none, or not where it has"
            )
        worst = max(worst, error)
    return worst

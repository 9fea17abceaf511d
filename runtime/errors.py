"""The one base class of every error that Sanderling raises on purpose."""

from __future__ import annotations


class SanderlingError(RuntimeError):
    """An operation failed for a reason that its text explains."""

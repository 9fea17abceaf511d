"""The command line, one module a command; `sanderling.cli.main` finds and runs it."""

from sanderling.cli.main import main

__all__ = ["main"]

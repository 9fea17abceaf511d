"""Loads packages and runs them: `sanderling.load` is the way in."""

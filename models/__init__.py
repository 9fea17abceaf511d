"""Models that Sanderling is shown and measured with: a bird detector and benchmark architectures."""

"""Run every benchmark in turn, then draw their pictures: `python -m benchmarks [--quick]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import compile_time, footprint, latency, readme, render
from benchmarks.results import RESULTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds each, to see that all works")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    output = ["--output", str(args.output)]
    compile_time.main([*output, *(["--model", "squeezenet1_1"] if args.quick else [])])
    latency.main([*output, *(["--duration", "0.5", "--tune", "none"] if args.quick else [])])
    footprint.main([*output, *(["--starts", "3"] if args.quick else [])])
    render.main(["--folder", str(args.output)])
    return readme.main([]) if args.output == RESULTS else 0


if __name__ == "__main__":
    sys.exit(main())

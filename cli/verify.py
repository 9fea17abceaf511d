"""Check a package: its container, the digest of every entry, and every plan. No code of it is loaded."""

from __future__ import annotations

import argparse

from sanderling.cli.console import print_json, size

EXAMPLES = """\
  sanderling verify birds.sand
  sanderling verify birds.sand --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", help="a .sand file")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def execute(args: argparse.Namespace) -> int:
    from sanderling.runtime.package import Package

    with Package(args.package) as package:
        package.verify()
        entries, total = len(package.entries), sum(package.entries.values())
        if args.json:
            print_json(
                {"package": args.package, "valid": True, "digest": package.digest, "signed": package.signed}
            )
        else:
            signature = "there is a signature, not checked" if package.signed else "unsigned"
            print(f"{args.package}: valid, {entries} entries, {size(total)}, {signature}")
            print(f"digest {package.digest}")
    return 0

"""Show what a package holds: tensors, variants, sizes, calls, where it came from. No code of it is loaded."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from sanderling.cli.console import pairs, print_json, size, table, tensor

if TYPE_CHECKING:
    from sanderling.runtime.package import Package
    from sanderling.runtime.plan import Plan

EXAMPLES = """\
  sanderling inspect birds.sand
  sanderling inspect birds.sand --calls
  sanderling inspect birds.sand --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", help="a .sand file")
    parser.add_argument("--calls", action="store_true", help="list every call of every variant")
    parser.add_argument("--json", action="store_true", help="print one JSON object with everything")


def execute(args: argparse.Namespace) -> int:
    from sanderling.runtime.package import Package
    from sanderling.runtime.plan import decode_plan

    with Package(args.package) as package:
        plans = {name: decode_plan(package.read(f"variants/{name}/plan.bin")) for name in package.variants}
        if args.json:
            print_json(_document(package, plans))
        else:
            print(_text(package, plans, calls=args.calls))
    return 0


def _document(package: Package, plans: dict[str, Plan]) -> dict[str, Any]:
    manifest = package.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": package.digest,
        "created_by": manifest.created_by,
        "signed": package.signed,
        "inputs": [_spec(spec) for spec in manifest.inputs],
        "outputs": [_spec(spec) for spec in manifest.outputs],
        "task": manifest.pipeline.task if manifest.pipeline else None,
        "labels": list(manifest.labels),
        "variants": {
            name: {
                **row,
                "present": name in plans,
                **({"calls": [_call(call) for call in plans[name].calls]} if name in plans else {}),
            }
            for name, row in manifest.variants.items()
        },
        "unsupported": [dict(node) for node in manifest.unsupported],
        "lineage": dict(manifest.lineage),
        "report": dict(manifest.report),
        "entries": package.entries,
    }


def _spec(spec: Any) -> dict[str, Any]:
    bounded = {} if spec.bounded is None else {"bounded": spec.bounded}
    return {"name": spec.name, "dtype": spec.dtype.name, "shape": list(spec.shape), **bounded}


def _call(call: Any) -> dict[str, Any]:
    return {"node": call.node, "kind": call.kind, "tasks": call.tasks, "flops": call.flops}


def _text(package: Package, plans: dict[str, Plan], calls: bool) -> str:
    manifest = package.manifest
    lineage = manifest.lineage
    source = f"{lineage.get('source_name', '?')} (opset {lineage.get('opset', '?')})"
    compilers = ", ".join(f"{name} {version}" for name, version in lineage.get("compiler", {}).items())
    head = {
        "package": f"{manifest.name} {manifest.version}",
        "digest": package.digest,
        "made": f"by {manifest.created_by} from {source}",
        "with": compilers,
        "signature": "present (not checked here)" if package.signed else "none",
        "inputs": "\n           ".join(tensor(s.name, s.dtype.name, s.shape) for s in manifest.inputs),
        "outputs": "\n           ".join(
            tensor(s.name, s.dtype.name, s.shape, s.bounded) for s in manifest.outputs
        ),
        "task": manifest.pipeline.task if manifest.pipeline else "tensors in, tensors out",
        "labels": ", ".join(manifest.labels) or "none",
    }
    parts = [pairs(head), _variants(package, plans), _entries(package)]
    parts += [_calls(name, plan) for name, plan in plans.items()] if calls else []
    if manifest.unsupported:
        rows = [[str(node.get(key, "")) for key in ("node", "op", "reason")] for node in manifest.unsupported]
        parts.append("no native kernel:\n" + table(["node", "operator", "reason"], rows, left=3))
    return "\n\n".join(part for part in parts if part)


def _variants(package: Package, plans: dict[str, Plan]) -> str:
    rows = []
    for name in package.manifest.variants:
        if (plan := plans.get(name)) is None:
            rows.append([name, "not in this file", "", "", "", "", ""])
            continue
        files = (
            package.entries[f"variants/{name}/{file}"] for file in ("kernels.so", "params.bin", "plan.bin")
        )
        work = sum(call.flops for call in plan.calls)
        rows.append(
            [name, *map(size, files), size(plan.arena_bytes), str(len(plan.calls)), f"{work / 1e9:.3f}"]
        )
    if not rows:
        return "no variant: only the ONNX form, which ONNX Runtime runs"
    return table(["variant", "kernels", "params", "plan", "arena", "calls", "GFLOP"], rows)


def _entries(package: Package) -> str:
    return table(["entry", "size"], [[name, size(count)] for name, count in package.entries.items()])


def _calls(name: str, plan: Plan) -> str:
    """How often each kind of kernel is called, then every call."""
    kinds = Counter(re.split(r"[\s(\[]", call.kind, maxsplit=1)[0] for call in plan.calls)
    summary = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())
    rows = [[call.node, call.kind, str(call.tasks), f"{call.flops / 1e6:.2f}"] for call in plan.calls]
    return f"{name}: {summary}\n" + table(["node", "kernel", "tasks", "MFLOP"], rows, left=2)

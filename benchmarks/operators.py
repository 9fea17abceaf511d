"""Which operators compile natively: ONNX's own tests, compiled and run (`python -m benchmarks.operators`).

Every case goes through `sanderling.compile` and the runtime. Where an operator needs some inputs to be
constant (shapes, axes, weights …), all inputs but the first are made so. Writes `results/operators.json` and
from that `docs/operators.md`; `--render` only the latter.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from benchmarks.results import RESULTS, read, write
from sanderling.compiler.driver import compile as compile_model
from sanderling.compiler.frontends.onnx import OPSETS
from sanderling.runtime.errors import SanderlingError
from sanderling.runtime.loading import load

PAGE = Path(__file__).parent.parent / "docs" / "operators.md"

OTHERWISE = {
    "test_resize_downsample_scales_linear_align_corners": "ONNX Runtime and PyTorch round the size first",
    "test_resize_downsample_scales_cubic_align_corners": "ONNX Runtime and PyTorch round the size first",
    "test_mod_float_edge_cases_fmod_0": "a version of Mod that is newer than 22",
}
"""Cases (or what they begin with) whose expectation is not ONNX Runtime's, or not that of version 22."""

_BESIDE = re.compile(
    "has no operator|Unrecognized attribute|unsupported type|"  # newer than version 22
    "no kernels for tensors of|topologically sorted|is of type|"  # other element types
    "holds strings|is a sequence|optional value|no dense tensor|"  # other kinds of values
    "leaves dimension|at least 1, got 0"  # arrays without elements
)
_OF_SIZES = (
    "BlackmanWindow", "Constant", "ConstantOfShape", "HammingWindow", "HannWindow", "Loop", "MelWeightMatrix",
    "Range",
)  # fmt: skip
"""Operators without data: even their first input may be constant. Any other would only be folded."""
_SHOWN = 3  # reasons that the page gives for an operator

_PAGE = """\
# Operators

All {all} operators of ONNX {first}–{last}, and what becomes of them. *Native* means that every case of
ONNX's own operator tests compiles and gives the expected result; *native, with limits* that some do.
What is *not* native leaves a package with the ONNX form for ONNX Runtime, and the report names the node.
Inputs that say how (shapes, axes, sizes, bounds) must be constant, or follow from constants and shapes.
Elements are float32, float64, float16, bool, or integers of 8 to 64 bits; cases with strings, sequences,
other types or arrays without elements are not counted, *outside* has no others.

{native} are native, some with limits; {not} are not. Made from `benchmarks/results/operators.json` by
`python -m benchmarks.operators`; do not edit.

| operator | changed in | state | cases right | limits |
|---|---|---|---|---|
"""

Outcome = Literal["right", "wrong", "refused", "beside"]


@dataclass(frozen=True, slots=True)
class Result:
    """One case. `reason` says what was wrong, or why there is no native code."""

    case: str
    operator: str
    outcome: Outcome
    reason: str = ""


def cases(names: Iterable[str] = ()) -> Iterator[Any]:
    """ONNX's cases of single operators (those that write an operator as others apart), or those named."""
    wanted = frozenset(names)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        if case.model is None or case.name.startswith(tuple(OTHERWISE)) or "_expanded" in case.name:
            continue
        if {entry.domain for entry in case.model.opset_import} <= {"", "ai.onnx"} and (
            not wanted or case.name in wanted
        ):
            yield case


def check(case: Any) -> Result:
    """Compile a case, run it, and compare with what ONNX expects."""
    operator = case.model.graph.node[-1].op_type
    model = _in_our_range(case.model)
    given = map(_array, case.data_sets[0][0])
    values = dict(zip((value.name for value in model.graph.input), given, strict=True))
    for value in model.graph.input:  # some leave it open
        if isinstance(values[value.name], np.ndarray | np.generic):
            kind = value.type.tensor_type.elem_type
            fixed = helper.make_tensor_value_info(value.name, kind, np.shape(values[value.name]))
            value.CopyFrom(fixed)
    result = _attempt(case, operator, model, values)
    for kept in (1, 0):  # inputs
        if result.outcome != "refused" or len(values) == kept or (not kept and operator not in _OF_SIZES):
            continue
        again = _attempt(case, operator, _with_constants(model, values, kept), values)
        if again.outcome in ("right", "wrong") or (kept and again.outcome == "refused"):
            result = again
    return result


def _in_our_range(source: ModelProto) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(source)
    model.ir_version = 10
    for entry in model.opset_import:
        entry.version = min(max(entry.version, OPSETS[0]), OPSETS[-1])
    return model


def _with_constants(source: ModelProto, values: Mapping[str, Any], kept: int) -> ModelProto:
    """All inputs but the first few are constants; what is no tensor remains an input."""
    model = ModelProto()
    model.CopyFrom(source)
    first, others = list(model.graph.input[:kept]), model.graph.input[kept:]
    constant = [value for value in others if isinstance(values[value.name], np.ndarray | np.generic)]
    for value in constant:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values[value.name]), value.name))
    inputs = [*first, *(value for value in others if value not in constant)]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if not inputs:  # a package has at least one input
        model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1]))
    return model


def _attempt(case: Any, operator: str, model: ModelProto, values: Mapping[str, Any]) -> Result:
    with tempfile.TemporaryDirectory(prefix="sanderling-") as folder:
        package = Path(folder) / "case.sand"
        try:
            report = compile_model(model, output=package, tune="none", verify=False, name="case")
            if report.unsupported:
                reason = "; ".join(dict.fromkeys(row["reason"] for row in report.unsupported))
                return Result(case.name, operator, _refusal(reason), reason)
            with load(package, backend="native") as native:
                feeds = {spec.name: _feed(values, spec) for spec in native.inputs}
                found = [np.array(array) for array in native.run(feeds)]
        except SanderlingError as error:
            reason = " ".join(str(error).split())
            return Result(case.name, operator, _refusal(reason), reason)
    wrong = [
        k
        for k, (have, want) in enumerate(zip(found, map(_array, case.data_sets[0][1]), strict=True))
        if not _agree(have, want)
    ]
    return (
        Result(case.name, operator, "wrong", f"outputs {wrong}")
        if wrong
        else Result(case.name, operator, "right")
    )


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _refusal(reason: str) -> Outcome:
    return "beside" if _BESIDE.search(reason) else "refused"


def _feed(values: Mapping[str, Any], spec: Any) -> Any:
    """An input's value; nothing depends on one that the case does not have."""
    return (
        np.asarray(values[spec.name], spec.dtype) if spec.name in values else np.zeros(spec.shape, spec.dtype)
    )


def _agree(found: Any, expected: Any) -> bool:
    expected = np.asarray(expected)
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if expected.dtype.kind not in "fiub":
        return bool(np.array_equal(found, expected))
    scale = float(np.abs(expected.astype(np.float64)).max(initial=1.0))
    tolerance = 1e-4 * (scale if np.isfinite(scale) else 1.0)
    return bool(np.allclose(found, expected, rtol=1e-3, atol=tolerance, equal_nan=True))


def operators() -> dict[str, list[int]]:
    """ONNX's own operators that models of our versions may hold, each with the versions that changed it."""
    found: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= OPSETS[-1]:
            found.setdefault(schema.name, []).append(schema.since_version)
    newest = {name: onnx.defs.get_schema(name, max(versions), "") for name, versions in found.items()}
    return {name: sorted(versions) for name, versions in sorted(found.items()) if not newest[name].deprecated}


def summarize(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One row for each operator: how many cases have which outcome, and the reasons of those refused."""
    rows = {
        name: {"operator": name, "right": 0, "wrong": 0, "refused": 0, "beside": 0, "reasons": {}}
        for name in operators()
    }
    reasons: dict[str, Counter[str]] = {}
    beside: dict[str, Counter[str]] = {}
    for result in results:
        row: Any = rows.get(result.operator)
        if row is None:
            continue
        if result.outcome == "beside":
            beside.setdefault(result.operator, Counter())[_general(result.reason)] += 1
            continue
        row[result.outcome] += 1
        if result.reason:
            reasons.setdefault(result.operator, Counter())[_general(result.reason)] += 1
    for name, counted in beside.items():
        rows[name]["beside"] = counted.total()
        if not any(rows[name][outcome] for outcome in ("right", "wrong", "refused")):
            reasons[name] = counted  # all that there is to say
    for name, counted in reasons.items():
        rows[name]["reasons"] = dict(counted.most_common())
    return list(rows.values())


def _general(reason: str) -> str:
    """Without the names and sizes of one case."""
    reason = re.sub(r"^\w+: ", "", reason).partition("; fix it")[0]
    reason = re.sub(r"^node '[^']*' \(\w+\): ", "", reason)
    return re.sub(r" ?\('[^']*'\)", "", reason)[:160]


def render(document: Mapping[str, Any]) -> str:
    """The page."""
    rows = {row["operator"]: row for row in document["rows"]}
    table = [_line(name, versions, rows.get(name)) for name, versions in operators().items()]
    states = Counter(line[2].partition(",")[0] for line in table)
    facts = {"first": OPSETS[0], "last": OPSETS[-1], "all": len(table), **states}
    lines = "\n".join(f"| {' | '.join(line)} |" for line in table)
    return _PAGE.format_map(Counter(facts)).rstrip() + f"\n{lines}\n"


def _line(name: str, versions: Sequence[int], row: Mapping[str, Any] | None) -> tuple[str, ...]:
    before = [version for version in versions if version <= OPSETS[0]][-1:]
    changed = ", ".join(map(str, [*before, *(v for v in versions if v > OPSETS[0])]))
    if row is None or not any(row[outcome] for outcome in ("right", "wrong", "refused", "beside")):
        return f"`{name}`", changed, "no test", "–", ""
    total = row["right"] + row["wrong"] + row["refused"]
    state = "native" if row["right"] == total else "native, with limits" if row["right"] else "not"
    state = state if total else "outside"
    reasons = [reason.replace("|", "\\|") for reason in list(row["reasons"])[:_SHOWN]]
    return f"`{name}`", changed, state, f"{row['right']} of {total}", "; ".join(reasons)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the JSON file")
    parser.add_argument("--render", action="store_true", help="only write the page again")
    options = parser.parse_args(arguments)
    if not options.render:
        results = [check(case) for case in cases()]
        write(options.output, "operators", arguments, summarize(results))
        wrong = [result.case for result in results if result.outcome == "wrong"]
        print(json.dumps({"cases": len(results), "wrong": wrong}))
    PAGE.write_text(render(read(options.output / "operators.json")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

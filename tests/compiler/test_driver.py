"""The driver with real native code (from the C compiler), the real loader, and ONNX Runtime."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import sanderling.compiler
from sanderling.compiler import driver, measure, request
from sanderling.compiler.database import Choice, Database
from sanderling.compiler.driver import NotNativeError, Tuning
from sanderling.compiler.errors import CompileError, ModelError, UnsupportedError
from sanderling.compiler.graph import Graph, TensorType
from sanderling.compiler.plan import decode_plan
from sanderling.compiler.program import Program
from sanderling.compiler.report import Report
from sanderling.compiler.target import Target
from sanderling.runtime.manifest import parse_manifest

AffineProgram = Callable[..., Program]


def affine_model(program: Program) -> bytes:
    """max(x·w + b, 0) as ONNX, with the program's own shape and weights."""
    shape = list(program.inputs["x"].shape)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["t"], "mul"),
        helper.make_node("Add", ["t", "b"], ["u"], "add"),
        helper.make_node("Relu", ["u"], ["y"], "relu"),
    ]
    weights = [numpy_helper.from_array(program.params[name], name) for name in "wb"]
    return serialize(helper.make_graph(nodes, "affine", [x], [y], weights))


def serialize(graph: Any) -> bytes:
    opset = [helper.make_opsetid("", 17)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return data


def giving(program: Program) -> Callable[[Graph, Target, Tuning], Program]:
    """Code generation that has this program ready for every target."""
    return lambda graph, target, tuning: replace(program, target=target.name)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(measure, "_RACE_SECONDS", 0.02)
    monkeypatch.setattr(measure, "_PROFILE_SECONDS", 0.02)
    monkeypatch.setattr(measure, "_TUNING_SECONDS", 0.02)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "affine.sand"


@pytest.fixture
def run(affine: Program, output: Path) -> Callable[..., Report]:
    """Compile the affine model, with other arguments if given."""

    def compile_(model: object = None, **arguments: Any) -> Report:
        settings = {"output": output, "generate": giving(affine), "name": "affine"} | arguments
        return driver.compile(affine_model(affine) if model is None else model, **settings)

    return compile_


def manifest(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return found


def test_a_model_becomes_a_verified_measured_package(
    run: Callable[..., Report], output: Path, affine: Program, host: Target
) -> None:
    stages: list[str] = []
    report = run(progress=lambda stage, done, total: stages.append(stage))
    target = report.targets[host.name]
    assert target.native
    assert target.errors is not None
    assert 0 <= target.errors["y"] <= 1e-6
    assert target.latency is not None
    assert 0 < target.latency.native_min <= target.latency.native_median
    assert all(node.ms is not None for node in target.nodes)
    assert target.first_ms
    assert target.peak_bytes
    assert report.sizes["package"] == output.stat().st_size
    assert stages == list(report.stages)
    assert str(report).startswith("affine 1.0.0")
    json.dumps(report.to_json(), allow_nan=False)


def test_the_package_holds_model_self_test_plan_lineage_and_report(
    run: Callable[..., Report], output: Path, affine: Program, host: Target
) -> None:
    run(version="2.1.0")
    with zipfile.ZipFile(output) as archive:
        x = np.frombuffer(archive.read("selftest/input0.bin"), np.float32).reshape(4, 16)
        y = np.frombuffer(archive.read("selftest/output0.bin"), np.float32).reshape(4, 16)
        plan = decode_plan(archive.read(f"variants/{host.name}/plan.bin"))
        assert archive.read("model.onnx")
    assert np.allclose(y, np.maximum(x * affine.params["w"] + affine.params["b"], 0), atol=1e-6)
    assert [call.symbol for call in plan.calls] == ["scale", "shift"]
    document = manifest(output)
    assert (document["name"], document["version"], document["unsupported"]) == ("affine", "2.1.0", [])
    assert document["lineage"]["opset"] == 17
    assert document["report"]["targets"][host.name]["latency_ms"]["ratio"] > 0


def test_the_package_runs_at_any_number_of_threads_alike(
    run: Callable[..., Report], output: Path, host: Target
) -> None:
    report = run(threads=2)
    assert report.targets[host.name].errors == {"y": pytest.approx(0, abs=1e-6)}
    x = np.random.default_rng(5).standard_normal((4, 16), dtype=np.float32)
    results = [
        measure.run_once(
            output, host, inputs={"x": x}, outputs={"y": TensorType("float32", (4, 16))}, threads=threads
        ).outputs["y"]
        for threads in (1, 2, 3)
    ]
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.fixture
def elsewhere(host: Target, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target like this machine, but for a feature that it lacks."""
    target = replace(host, name="elsewhere", features=(*host.features, "no_such_feature"))
    monkeypatch.setattr(
        request,
        "find_target",
        lambda name: target if name == "elsewhere" else sanderling.compiler.find_target(name),
    )
    return target


def test_several_targets_share_one_package_and_only_those_that_run_here_are_measured(
    run: Callable[..., Report], output: Path, host: Target, elsewhere: Target
) -> None:
    report = run(target=["host", "elsewhere", "host"])
    assert list(report.targets) == [host.name, "elsewhere"]
    assert report.targets[host.name].latency is not None
    other = report.targets["elsewhere"]
    assert other.native
    assert (other.errors, other.latency) == (None, None)
    assert "chosen by estimate" in other.note
    assert "this machine cannot run it" in other.note
    assert set(manifest(output)["variants"]) == {host.name, "elsewhere"}


def test_code_for_elsewhere_is_never_tuned_here(
    run: Callable[..., Report], affine: Program, elsewhere: Target
) -> None:
    seen: dict[str, Tuning] = {}

    def generate(graph: Graph, target: Target, tuning: Tuning) -> Program:
        seen[target.name] = tuning
        return replace(affine, target=target.name)

    run(target=["elsewhere"], generate=generate, tune="full")
    assert seen["elsewhere"].measure is None
    assert seen["elsewhere"].mode == "full"


def test_calls_of_a_program_are_timed_for_the_tuner(run: Callable[..., Report], affine: Program) -> None:
    times: list[float] = []

    def generate(graph: Graph, target: Target, tuning: Tuning) -> Program:
        assert tuning.measure is not None
        times.extend(tuning.measure(affine))
        return affine

    run(generate=generate)
    assert len(times) == 2
    assert all(0 <= seconds < 1 for seconds in times)


def test_what_was_measured_is_kept_even_if_generation_fails(
    run: Callable[..., Report], tmp_path: Path
) -> None:
    def generate(graph: Graph, target: Target, tuning: Tuning) -> Program:
        tuning.database.record("w", target.name, "a", {"a": 1e-3})
        raise KeyboardInterrupt

    path = tmp_path / "tuning.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(generate=generate, database=path)
    assert Database.open(path).lookup("w", sanderling.compiler.find_target("host").name) == Choice(
        "a", {"a": 1e-3}
    )


def test_a_database_that_cannot_be_written_costs_a_warning_not_the_package(
    run: Callable[..., Report], output: Path, affine: Program
) -> None:
    def generate(graph: Graph, target: Target, tuning: Tuning) -> Program:
        tuning.database.record("w", target.name, "a", {"a": 1e-3})
        return affine

    with pytest.warns(UserWarning, match=r"tuning database .* cannot be written"):
        run(generate=generate, database=Path("/proc/nowhere/tuning.jsonl"))
    assert output.exists()


UNSUPPORTED = (UnsupportedError("loop", "Loop", "control flow"), UnsupportedError("a", "NonZero", "shape"))


@pytest.mark.parametrize("error", [NotNativeError(UNSUPPORTED), UNSUPPORTED[0]])
def test_a_node_without_a_kernel_leaves_the_onnx_form_and_is_named(
    run: Callable[..., Report], output: Path, host: Target, error: Exception
) -> None:
    def generate(graph: Graph, target: Target, tuning: Tuning) -> Program:
        raise error

    report = run(generate=generate)
    assert not report.targets[host.name].native
    document = manifest(output)
    assert document["variants"] == {}
    assert {"node": "loop", "op": "Loop", "reason": "control flow"} in document["unsupported"]
    assert document["unsupported"] == list(report.unsupported)
    assert "control flow" in str(report)
    assert "selftest/output0.bin" in document["entries"]


def test_a_graph_that_cannot_be_imported_takes_its_output_types_from_the_reference(
    run: Callable[..., Report], output: Path
) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    model = serialize(helper.make_graph([helper.make_node("Unique", ["x"], ["y"])], "g", [x], [y]))
    report = run(model)
    assert report.unsupported[0]["op"] == "Unique"
    assert manifest(output)["outputs"] == [{"name": "y", "dtype": "float32", "shape": [12]}]


def test_wrong_results_are_refused_with_the_figures(
    run: Callable[..., Report], output: Path, affine: Program
) -> None:
    params = {"w": affine.params["w"] * np.float32(1.01), "b": affine.params["b"]}
    wrong = giving(replace(affine, params=params))
    with pytest.raises(
        CompileError, match=r"outputs differ from ONNX Runtime .* than 0.0001 .*: y \d\.\d+e-0[23]"
    ):
        run(generate=wrong)
    assert not output.exists()
    assert run(generate=wrong, max_error=0.1).targets


@pytest.mark.parametrize(
    ("body", "cause"),
    [("*(volatile int*)0 = 1;", "SIGSEGV"), ('for (;;) __asm__ volatile("");', "did not finish within 1 s")],
)
def test_code_that_crashes_or_hangs_ends_only_its_own_process(
    run: Callable[..., Report],
    output: Path,
    affine: Program,
    compile_c: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    cause: str,
) -> None:
    monkeypatch.setattr(measure, "_RUN_TIMEOUT", 1.0)
    code = compile_c(f"void scale(void) {{ {body} }} void shift(void) {{}}")
    with pytest.raises(CompileError, match=cause):
        run(generate=giving(replace(affine, code=code)))
    assert list(output.parent.iterdir()) == []


def test_a_plan_that_the_runtime_refuses_is_found_even_for_another_machine(
    run: Callable[..., Report], output: Path, affine: Program, elsewhere: Target
) -> None:
    scale, shift = affine.calls
    unaligned = replace(scale, args=(replace(scale.args[0], align=64), *scale.args[1:]))
    with pytest.raises(CompileError, match=r"the package is refused: .*align"):
        run(target="elsewhere", generate=giving(replace(affine, calls=(unaligned, shift))))
    assert not output.exists()


def test_no_path_of_this_machine_gets_into_the_package(
    run: Callable[..., Report], output: Path, affine: Program, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(affine_model(affine))
    run(path)
    assert manifest(output)["lineage"]["source_name"] == "model.onnx"
    assert str(tmp_path).encode() not in output.read_bytes()


def test_a_missed_budget_says_by_how_much(run: Callable[..., Report], output: Path) -> None:
    with pytest.raises(CompileError, match=r"misses the budget of 1e-06 ms by \d+\.\d+ ms \(\d+%\)"):
        run(budget_ms=1e-6)
    assert not output.exists()
    run(budget_ms=1e6)
    assert output.exists()


def test_a_budget_that_cannot_be_checked_is_an_error(run: Callable[..., Report], elsewhere: Target) -> None:
    with pytest.raises(CompileError, match=r"budget cannot be checked for elsewhere: .*cannot run it"):
        run(target="elsewhere", budget_ms=5)


def test_without_verification_nothing_is_run_or_claimed(
    run: Callable[..., Report], output: Path, host: Target
) -> None:
    report = run(verify=False)
    assert report.reference is None
    assert report.targets[host.name].errors is None
    assert not [name for name in manifest(output)["entries"] if name.startswith("selftest")]


def test_a_pipeline_and_labels_reach_manifest_and_plan(
    run: Callable[..., Report], output: Path, affine_program: AffineProgram, host: Target, tmp_path: Path
) -> None:
    program = affine_program(shape=(1, 3, 4, 16))
    document = {
        "task": "classify",
        "input": {"name": "x", "mean": [1, 2, 3], "std": [4, 5, 6]},
        "output": {"score": "none"},
    }
    labels = [f"class {i}" for i in range(192)]
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(document))
    run(affine_model(program), generate=giving(program), pipeline=path, labels=labels)
    found = manifest(output)
    assert found["pipeline"]["input"]["resize"] == "letterbox"
    assert found["labels"] == labels
    with zipfile.ZipFile(output) as archive:
        parsed = parse_manifest(archive.read("manifest.json"))
    assert parsed.pipeline is not None
    assert (parsed.pipeline.input.mean, parsed.pipeline.output.score) == ((1, 2, 3), "none")
    assert parsed.variants[host.name]["native"] is True
    with zipfile.ZipFile(output) as archive:
        plan = decode_plan(archive.read(f"variants/{host.name}/plan.bin"))
    assert plan.pipeline is not None
    assert (plan.pipeline.mean, plan.pipeline.score, plan.labels) == ((1, 2, 3), "none", tuple(labels))


@pytest.mark.parametrize("where", ["generate", "fsync"])
def test_an_interruption_leaves_nothing_behind(
    run: Callable[..., Report], output: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    if where == "fsync":
        monkeypatch.setattr("sanderling.compiler.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(**({"generate": interrupt} if where == "generate" else {}))
    assert list(output.parent.iterdir()) == []


BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"target": "pdp-11"}, "unknown target 'pdp-11'"),
    ({"target": []}, "no target"),
    ({"tune": "hard"}, "tune: 'hard'; allowed: none, quick, full"),
    ({"threads": 0}, "threads: 0"),
    ({"name": "a b"}, "model name 'a b'"),
    ({"version": "1"}, "version '1'"),
    ({"budget_ms": 0}, "budget_ms: 0"),
    ({"budget_ms": 5, "verify": False}, "leave out the budget"),
    ({"max_error": float("nan")}, "max_error"),
    ({"labels": "ab"}, "labels: 'ab'"),
    ({"output": "/no/such/folder/x.sand"}, "/no/such/folder is no folder"),
    ({"output": "/tmp"}, "/tmp is a folder"),
    ({"pipeline": {"task": "segment"}}, "pipeline: input, output is missing"),
    ({"max_error": 1e-4, "pipeline": "{pipeline}"}, "is not JSON"),
]


@pytest.mark.parametrize(("arguments", "cause"), BAD_ARGUMENTS, ids=range(len(BAD_ARGUMENTS)))
def test_an_argument_that_makes_no_sense_is_refused_before_any_code_is_generated(
    run: Callable[..., Report], tmp_path: Path, arguments: dict[str, Any], cause: str
) -> None:
    def generate(*_: object) -> Any:
        pytest.fail("code was generated")

    (tmp_path / "bad.json").write_text("{")
    if arguments.get("pipeline") == "{pipeline}":
        arguments = {"pipeline": tmp_path / "bad.json"}
    with pytest.raises(CompileError, match=cause):
        run(generate=generate, **arguments)


def test_the_model_is_not_overwritten(run: Callable[..., Report], affine: Program, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(affine_model(affine))
    with pytest.raises(CompileError, match="is the model itself"):
        run(path, output=path)


def test_the_name_comes_from_the_file(run: Callable[..., Report], affine: Program, tmp_path: Path) -> None:
    path = tmp_path / "my model (2).onnx"
    path.write_bytes(affine_model(affine))
    assert run(path, name=None, verify=False).name == "my_model__2_"


def test_a_wrong_model_is_an_error_and_leaves_nothing(run: Callable[..., Report], output: Path) -> None:
    with pytest.raises(ModelError):
        run(b"not a model")
    assert list(output.parent.iterdir()) == []

"""`compile`: a model file in, one package out. Stages run in order; each is a module of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sanderling.runtime.plan import Pipeline

from .acceptance import Truth, accept, check_budget
from .database import Database, default_paths, require_database
from .errors import NotNativeError, UnsupportedError
from .graph import Graph, TensorType
from .lineage import describe_source, machine_name
from .measure import runs_here, time_calls
from .package import Package, Variant, make_variant, write_package
from .pipeline import check_pipeline
from .program import Program
from .reference import Reference, make_inputs
from .report import NodeTime, Report, TargetReport
from .request import Request, Tune, make_request
from .stages import Progress, Stages
from .target import Target

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram
    from torch.nn import Module

    from .frontends import InputSpec, OnnxModel
    from .remote import Device

    Source: TypeAlias = str | Path | bytes | ModelProto | Module | ExportedProgram


@dataclass(frozen=True)
class Tuning:
    """How kernels are chosen. `measure` gives seconds of a Program's calls; None: it cannot run here."""

    mode: Tune
    database: Database
    measure: Callable[[Program], Sequence[float]] | None


_ESTIMATED = "kernels that the tuning database does not know were chosen by estimate"

Generate = Callable[[Graph, Target, Tuning], Program]


def generate_native(graph: Graph, target: Target, tuning: Tuning) -> Program:
    """Code generation with TVM. Raises NotNativeError naming every node that nothing can compile."""
    from .codegen import generate
    from .codegen.tuning import Tuner

    return generate(graph, target, Tuner(target, tuning.mode, tuning.database, tuning.measure))


def compile(  # noqa: A001 - the name that everybody expects
    model: Source,
    *,
    output: str | Path,
    target: str | Sequence[str] = "host",
    inputs: Mapping[str, InputSpec | Sequence[int]] | None = None,
    example_inputs: Any = None,
    tune: Tune = "quick",
    database: str | Path | None = None,
    threads: int = 1,
    pipeline: Mapping[str, Any] | str | Path | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    version: str = "1.0.0",
    budget_ms: float | None = None,
    max_error: float = 1e-4,
    verify: bool = True,
    device: Device | None = None,
    progress: Progress | None = None,
    generate: Generate = generate_native,
) -> Report:
    """Compile a model for one or more targets into one package, which is written whole or not at all.

    A node without a native kernel leaves the package with the ONNX form only; the report names node and
    reason. Targets that this machine cannot run are compiled, but neither verified nor measured.

    Args:
        model: ONNX (path, bytes or message), or PyTorch (a module with `example_inputs`, an exported program,
            or the path of a saved one).
        output: the package to write.
        target: names or aliases of targets; ``host`` is this machine.
        inputs: shapes for inputs that have open dimensions.
        example_inputs: for a PyTorch module: a tensor, a tuple of arguments, or a dict of keyword arguments.
        tune: how much to measure where the database knows nothing.
        database: the tuning database to read and to add to; default: the user's own.
        threads: that measured runs use.
        pipeline: what `Model.detect` does: a document (`docs/package-format.md`, section 5) or a JSON file.
        labels: class names.
        name: of the model; default: the file's.
        version: of the model, a semantic version.
        budget_ms: limit on the median run on every target.
        max_error: limit on the largest difference to ONNX Runtime, relative to its largest output.
        verify: compare with ONNX Runtime, keep a self-test in the package, and measure.
        device: measures candidates in place of this machine, for targets that it can run.
        progress: called as the work goes on.
        generate: code generation.

    Raises:
        ModelError: the model is wrong.
        CompileError: it cannot be compiled as asked, differs from ONNX Runtime, or is too slow.
        OSError: a file cannot be read or written.
    """
    request = make_request(
        model, output=output, target=target, tune=tune, threads=threads, pipeline=pipeline, labels=labels,
        name=name, version=version, budget_ms=budget_ms, max_error=max_error, verify=verify,
    )  # fmt: skip
    stages = Stages(progress or (lambda *_: None))
    if database is not None:
        require_database(Path(database))
    source = _read(request, model, inputs or {}, example_inputs, stages)
    tuned = Database.open(*default_paths()[:-1], Path(database)) if database is not None else Database.open()
    context = _Context(request, generate, tuned, stages, device)
    built = [_build(context, source, target) for target in request.targets]
    package = replace(
        source.package,
        variants=tuple(item.variant for item in built if item.variant is not None),
        unsupported=_unsupported_rows(built),
    )
    natives = [item.target for item in built if item.variant is not None]
    reports = {item.target.name: item.report for item in built}
    if source.truth is not None and natives:
        reports |= accept(package, natives, reports, source.truth, request, stages)
    check_budget(request.budget_ms, reports)
    report = Report(
        name=request.name,
        version=request.version,
        package=str(request.output),
        threads=request.threads,
        reference=source.truth.reference.title if source.truth else None,
        sizes={"source": source.size},
        targets=reports,
        unsupported=package.unsupported,
        stages=dict(stages.seconds),
        machine=machine_name(),
    )
    with stages("write"):
        write_package(request.output, replace(package, report=report.for_manifest()))
    return report.with_package_size(request.output.stat().st_size, stages.seconds)


@dataclass(frozen=True)
class _Context:
    """What every target shares."""

    request: Request
    generate: Generate
    database: Database
    stages: Stages
    device: Device | None

    def measures(self, target: Target) -> bool:
        """Whether candidates can be measured."""
        return runs_here(target) if self.device is None else self.device.fits(target)


@dataclass(frozen=True)
class _Source:
    """The model, before any target. `package` has no variants; `graph` is None where `missing` says why."""

    package: Package
    graph: Graph | None
    missing: tuple[UnsupportedError, ...]
    record: Pipeline | None
    truth: Truth | None
    size: int


def _read(
    request: Request,
    model: Source,
    shapes: Mapping[str, InputSpec | Sequence[int]],
    example_inputs: Any,
    stages: Stages,
) -> _Source:
    from .frontends import InputSpec, load, portable

    with stages("read the model"):
        specs = {k: v if isinstance(v, InputSpec) else InputSpec(tuple(v)) for k, v in shapes.items()}
        loaded = load(model, inputs=specs, example_inputs=example_inputs)
        model_onnx = portable(loaded)
    with stages("simplify the graph"):
        graph, missing = _simplified(loaded)
    with stages("run the reference"):
        reference = Reference(model_onnx, threads=request.threads) if request.verify or not graph else None
        inputs, outputs = _types(loaded, graph, reference)
        document, record, labels = None, None, request.labels or ()
        if request.pipeline is not None:
            document, record, labels = check_pipeline(request.pipeline, inputs, outputs, request.labels)
        truth = None
        if reference is not None and request.verify:
            feeds = make_inputs(inputs, pipeline=document)
            truth = Truth(reference, feeds, reference.run(feeds))
    package = Package(
        name=request.name,
        version=request.version,
        inputs=inputs,
        outputs=outputs,
        model_onnx=model_onnx,
        pipeline=document,
        labels=labels,
        lineage=describe_source(loaded),
        selftest_inputs=truth.inputs if truth else {},
        selftest_outputs=truth.outputs if truth else {},
        bounded={name: bound.axis for name, bound in graph.bounds.items()} if graph is not None else {},
    )
    return _Source(package, graph, missing, record, truth, _source_size(model, model_onnx))


def _source_size(model: object, model_onnx: bytes) -> int:
    return Path(model).stat().st_size if isinstance(model, str | Path) else len(model_onnx)


def _simplified(model: OnnxModel) -> tuple[Graph | None, tuple[UnsupportedError, ...]]:
    from .importer import to_graph
    from .passes import run_passes

    try:
        return run_passes(to_graph(model)), ()
    except NotNativeError as error:
        return None, error.nodes
    except UnsupportedError as error:
        return None, (error,)


def _types(
    model: OnnxModel, graph: Graph | None, reference: Reference | None
) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
    """Types of inputs and outputs. Where there is no graph, a run of the reference shows the outputs'."""
    if graph is not None:
        return {n: graph.types[n] for n in graph.inputs}, {n: graph.types[n] for n in graph.results}
    from .onnx_types import static_type

    assert reference is not None
    inputs = {}
    for value in model.proto.graph.input:
        type_ = static_type(value.type, f"input {value.name!r}")
        assert type_ is not None, "load_onnx fixes all inputs"
        inputs[value.name] = type_
    outputs = reference.run(make_inputs(inputs))
    return inputs, {name: TensorType(array.dtype.name, array.shape) for name, array in outputs.items()}


@dataclass(frozen=True)
class _Built:
    """One target: a variant, or the nodes that prevent it."""

    target: Target
    variant: Variant | None
    report: TargetReport
    missing: tuple[UnsupportedError, ...] = ()


def _build(context: _Context, source: _Source, target: Target) -> _Built:
    missing = source.missing
    if source.graph is not None:
        try:
            with context.stages(f"compile for {target.name}"):
                return _native(context, source, source.graph, target)
        except NotNativeError as error:
            missing = error.nodes
        except UnsupportedError as error:
            missing = (error,)
    note = f"{len(missing)} node(s) without a native kernel"
    return _Built(target, None, TargetReport(native=False, note=note), missing)


def _native(context: _Context, source: _Source, graph: Graph, target: Target) -> _Built:
    def measure(program: Program) -> list[float]:
        return time_calls(program, target, threads=context.request.threads, device=context.device)

    can_measure = context.measures(target)
    tuning = Tuning(context.request.tune, context.database, measure if can_measure else None)
    try:
        program = context.generate(graph, target, tuning)
    finally:
        _save(context.database)  # what has been measured is kept, whatever happens
    variant = make_variant(program, target, pipeline=source.record, labels=source.package.labels)
    report = TargetReport(
        native=True,
        note="" if can_measure else _ESTIMATED,
        sizes={
            "kernels_bytes": len(variant.kernels),
            "params_bytes": len(variant.params),
            "plan_bytes": len(variant.plan),
            "arena_bytes": variant.row["arena_bytes"],
            "scratch_bytes": variant.row["scratch_bytes"],
        },
        nodes=tuple(NodeTime(call.node, call.kind, call.flops) for call in program.calls),
    )
    return _Built(target, variant, report)


def _save(database: Database) -> None:
    try:
        database.save()
    except OSError as error:
        warnings.warn(f"tuning database {database.path} cannot be written: {error}", stacklevel=2)


def _unsupported_rows(built: Sequence[_Built]) -> tuple[dict[str, str], ...]:
    """Each node once, whatever number of targets lacks it."""
    errors = {(e.node, e.op, e.reason) for item in built for e in item.missing}
    return tuple({"node": node, "op": op, "reason": reason} for node, op, reason in sorted(errors))

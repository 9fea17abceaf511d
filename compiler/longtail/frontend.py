"""A node → stages: ONNX, through TVM's importer and its tensor expressions, to the mathematics in them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.ir import TensorLoad
from tvm.relax.frontend.onnx import from_onnx

from ..errors import UnsupportedError
from ..exporter import to_onnx
from ..graph import Graph, Node
from .computation import Computation
from .operators import OPERATORS
from .rewrite import rewritten, with_function_body
from .special import SPECIAL
from .stage import AnyStage, Axis, Combine, Expr, RawStage, Stage, Tensor, count, substitute

_ARGUMENT_CONSTANT_LIMIT = 16  # elements: TVM's importer wants shapes, scales and limits as known numbers


def computation(graph: Graph, node: Node, symbol: str) -> Computation:
    """The node's mathematics. Raises UnsupportedError."""
    special = SPECIAL.get(node.op)
    if special is not None:
        return Computation(*special(graph, node, symbol))
    own = OPERATORS.get(node.op)
    if own is not None:
        return own(graph, node, symbol)
    return _Importer(graph, node, symbol).run()


def _one_node_graph(graph: Graph, node: Node) -> Graph:
    """`node` alone. Large constants become inputs, so that they keep their names and are not copied about."""
    used = [value for value in dict.fromkeys(node.inputs) if value]
    small = {
        value: graph.constants[value]
        for value in used
        if value in graph.constants and graph.constants[value].size <= _ARGUMENT_CONSTANT_LIMIT
    }
    inputs = tuple(value for value in used if value not in small)
    outputs = tuple(value for value in node.outputs if value)
    return graph.with_(
        name="node",
        nodes=(node,),
        inputs=inputs,
        outputs=outputs,
        types=MappingProxyType({value: graph.types[value] for value in (*used, *outputs)}),
        constants=MappingProxyType(small),
    )


class _Importer:
    def __init__(self, graph: Graph, node: Node, symbol: str) -> None:
        self.node, self.symbol = node, symbol
        self.alone = _one_node_graph(graph, node)
        self.stages: list[AnyStage] = []
        self.values: dict[Expr, Any] = {}  # relax variable → Tensor or tuple of them
        self.constants: list[Tensor] = []
        self.temporaries = 0

    def unsupported(self, reason: str) -> UnsupportedError:
        return UnsupportedError(self.node.name, self.node.op, reason)

    def run(self) -> Computation:
        module = self.relax_module()
        main = module["main"]
        inputs = {}
        for var, name in zip(main.params, self.alone.inputs, strict=True):
            type_ = self.alone.types[name]
            inputs[name] = self.values[var] = Tensor.make(name, type_.dtype, type_.shape)
        for block in main.body.blocks:
            for binding in block.bindings:
                self.values[binding.var] = self.value(binding.value, module)
        results = self.value(main.body.body, module)
        results = results if isinstance(results, tuple) else (results,)
        outputs = {}
        for name, tensor in zip(self.alone.outputs, results, strict=True):
            outputs[name] = self.output(name, tensor)
        stages = tuple(stage for stage in self.stages if any(out.size for out in stage.outs))
        return Computation(stages, inputs, outputs, tuple(self.constants))

    def relax_module(self) -> Any:
        model = to_onnx(rewritten(self.alone))
        try:
            return _legalised(model)
        except Exception as error:  # TVM raises whatever its importer meets
            try:
                return _legalised(with_function_body(model))
            except Exception:
                raise self.unsupported(_import_failure(error)) from error

    def value(self, expr: Any, module: Any) -> Any:
        if isinstance(expr, tvm.ir.Var):
            return self.values[expr]
        if isinstance(expr, tvm.ir.GenericConst):
            return self.constant(expr.value.numpy())
        if isinstance(expr, relax.Tuple):
            return tuple(self.value(field, module) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return self.value(expr.tuple_value, module)[expr.index]
        if isinstance(expr, relax.ShapeExpr):
            return expr
        if isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.Op):
            if expr.op.name == "relax.call_tir":
                return self.call(expr, module)
            if expr.op.name == "relax.shape_of":
                return expr
            raise self.unsupported(f"TVM has no loops for {expr.op.name}")
        raise self.unsupported(f"TVM imports it as {type(expr).__name__}, which is no tensor computation")

    def constant(self, array: Any) -> Tensor:
        self.temporaries += 1
        name = f"{self.symbol}.c{self.temporaries}"
        if array.size == 1:
            # Not a load but a number, once it is inlined.
            tensor = Tensor.make(name, str(array.dtype), array.shape)
            axes = tuple(Axis.make("one", 1) for _ in array.shape)
            self.stages.append(Stage(tensor, axes, tirx.const(array.item(), str(array.dtype))))
            return tensor
        self.constants.append(Tensor.make(name, str(array.dtype), array.shape, array))
        return self.constants[-1]

    def temporary(self, type_: Any) -> Tensor:
        if type_.shape is None or not all(isinstance(d, tirx.IntImm) for d in type_.shape.values):
            raise self.unsupported("the shape of its result depends on the input's contents")
        self.temporaries += 1
        shape = tuple(int(d) for d in type_.shape.values)
        return Tensor.make(f"{self.symbol}.t{self.temporaries}", str(type_.dtype), shape)

    def call(self, call: Any, module: Any) -> Any:
        arguments = [self.value(argument, module) for argument in call.args[1].fields]
        types = call.ty.fields if isinstance(call.ty, relax.TupleType) else [call.ty]
        results = tuple(self.temporary(type_) for type_ in types)
        self.stages += stages_of(module[call.args[0]], (*arguments, *results), results, self.unsupported)
        return results if isinstance(call.ty, relax.TupleType) else results[0]

    def output(self, name: str, tensor: Tensor) -> Tensor:
        """A result under the graph's own name: what TVM gives may be an input, or the same tensor twice."""
        type_ = self.alone.types[name]
        renamed = Tensor.make(name, type_.dtype, type_.shape)
        if renamed.shape != tensor.shape:
            raise self.unsupported(f"TVM computes shape {tensor.shape}, ONNX says {renamed.shape}")
        axes = tuple(Axis.make("i", extent) for extent in tensor.shape)
        value = tirx.BufferLoad(tensor.buffer, [axis.var for axis in axes])
        self.stages.append(
            Stage(renamed, axes, value if renamed.dtype == tensor.dtype else value.astype(renamed.dtype))
        )
        return renamed


def _legalised(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = from_onnx(model)
        module = relax.transform.DecomposeOpsForInference()(module)
        return relax.transform.LegalizeOps()(module)


def _import_failure(error: Exception) -> str:
    if "not supported for frontend ONNX" in str(error):
        return "there is no kernel for this operator"
    return f"TVM cannot import it: {last_line(error)}"


def last_line(error: Exception) -> str:
    """What TVM's error says, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)


_COMBINERS: dict[type, Callable[[Expr, Expr], Expr]] = {
    tirx.Add: lambda a, b: a + b,
    tirx.Mul: lambda a, b: a * b,
    tirx.Max: tirx.Max,
    tirx.Min: tirx.Min,
    tirx.And: tirx.And,
    tirx.Or: tirx.Or,
}


def stages_of(
    function: Any,
    arguments: tuple[Tensor, ...],
    results: tuple[Tensor, ...],
    unsupported: Callable[[str], UnsupportedError],
) -> list[AnyStage]:
    """The blocks of a legalised PrimFunc, its parameters being `arguments`."""
    if count(function.body, (tvm.ir.Call,), _leaves_the_kernel):
        raise unsupported("TVM implements it with a call into its runtime")
    root = function.body.block
    tensors = dict(zip(function.params, arguments, strict=True))
    for buffer in root.alloc_buffers:
        shape = tuple(int(extent) for extent in buffer.shape)
        tensors[buffer] = Tensor.make(f"{results[0].name}.{buffer.name}", str(buffer.dtype), shape)
    if root.name_hint != "root":
        return [_opaque(root.body, tensors)]
    statements = root.body.seq if isinstance(root.body, tirx.SeqStmt) else [root.body]
    return [_stage(_block(statement, unsupported), tensors) for statement in statements]


def _leaves_the_kernel(call: Any) -> bool:
    name = getattr(call.op, "name", "")
    return "extern" in name or "packed" in name


def _block(statement: Any, unsupported: Callable[[str], UnsupportedError]) -> Any:
    while isinstance(statement, tirx.For):
        statement = statement.body
    if not isinstance(statement, s_tir.SBlockRealize) or statement.block.alloc_buffers:
        raise unsupported("TVM's loops for it are not one block per step")
    if not (isinstance(statement.predicate, tirx.IntImm) and bool(statement.predicate.value)):
        raise unsupported("TVM's loops for it are guarded")
    return statement.block


def _stage(block: Any, tensors: Mapping[Expr, Tensor]) -> AnyStage:
    if not block.iter_vars:
        return _opaque(block.body, tensors)
    spatial = [var for var in block.iter_vars if var.iter_type == tirx.IterVar.DataPar]
    reduced = [var for var in block.iter_vars if var.iter_type != tirx.IterVar.DataPar]
    rename = {
        iteration.var: Axis.make(iteration.var.name, int(iteration.dom.extent))
        for iteration in block.iter_vars
    }

    def translated(code: Expr) -> Expr:
        return _translated(code, {var: axis.var for var, axis in rename.items()} | _buffers(tensors))

    reduce = tuple(rename[var.var] for var in reduced)
    store = block.body
    if isinstance(store, tirx.BufferStore):
        axes = _output_axes(store, [rename[var.var] for var in spatial], rename)
        if axes is not None and (stage := _simple(store, block.init, axes, reduce, tensors, translated)):
            return stage
    return _raw(block, tuple(rename[var.var] for var in spatial), reduce, tensors, translated)


def _buffers(tensors: Mapping[Expr, Tensor]) -> dict[Expr, Expr]:
    return {var: tensor.buffer for var, tensor in tensors.items()}


def _output_axes(store: Any, spatial: list[Axis], rename: Mapping[Expr, Axis]) -> tuple[Axis, ...] | None:
    """One axis per dimension of the stored tensor, if every index is an axis of its own."""
    axes = []
    for index in store.indices:
        axis = rename.get(index) if isinstance(index, tvm.ir.Var) else None
        if axis is None and isinstance(index, tirx.IntImm) and index.value == 0:
            axis = Axis.make("one", 1)
        if axis is None or axis in axes:
            return None
        axes.append(axis)
    free = [axis for axis in spatial if axis not in axes]
    return tuple(axes) if all(axis.extent == 1 for axis in free) else None


def _simple(
    store: Any,
    init: Any,
    axes: tuple[Axis, ...],
    reduce: tuple[Axis, ...],
    tensors: Mapping[Expr, Tensor],
    translated: Callable[[Expr], Expr],
) -> Stage | None:
    out = tensors[store.buffer]
    if out.shape != tuple(axis.extent for axis in axes):
        return None
    if init is None:
        return None if reduce else Stage(out, axes, translated(store.value))
    function = _COMBINERS.get(type(store.value))
    if function is None or not isinstance(init, tirx.BufferStore):
        return None
    first, second = store.value.a, store.value.b
    if not (isinstance(first, TensorLoad) and first.source.same_as(store.buffer)):
        return None
    neutral = _neutral(store.value, init.value)
    if out.dtype != "float16":
        return Stage(out, axes, translated(second), reduce, Combine(function, neutral))
    # Sums of halves need more than eleven bits on the way.
    partial = tirx.Var("partial", "float32")
    combine = Combine(function, tirx.const(float(neutral.value), "float32"))
    return Stage(
        out, axes, _single(translated(second)), reduce, combine, partial, tirx.Cast("float16", partial)
    )


def _single(value: Any) -> Any:
    """A float16 value in float32, products before they are rounded."""
    if isinstance(value, tirx.Mul):
        return _single(value.a) * _single(value.b)
    return tirx.Cast("float32", value)


def _neutral(update: Any, value: Any) -> Any:
    """TVM starts maxima at the largest finite number, but everything may be infinite."""
    if isinstance(value, tirx.FloatImm) and isinstance(update, tirx.Max | tirx.Min):
        return tirx.const(-inf if isinstance(update, tirx.Max) else inf, str(value.ty.dtype))
    return value


def _raw(
    block: Any,
    axes: tuple[Axis, ...],
    reduce: tuple[Axis, ...],
    tensors: Mapping[Expr, Tensor],
    translated: Callable[[Expr], Expr],
) -> RawStage:
    body = translated(block.body)
    for axis in reversed(reduce):
        body = tirx.For(
            axis.var, tirx.const(0, "int64"), tirx.const(axis.extent, "int64"), tirx.ForKind.SERIAL, body
        )
    if block.init is not None:
        body = tirx.SeqStmt([translated(block.init), body])
    outs = tuple(dict.fromkeys(tensors[region.source] for region in block.writes))
    return RawStage(outs, axes, body, steps=int(np.prod([axis.extent for axis in reduce], dtype=np.int64)))


def _opaque(body: Any, tensors: Mapping[Expr, Tensor]) -> RawStage:
    """Statements that TVM wrote by hand: one task, as they are."""
    stored: list[Any] = []
    tvm_ffi.structural_walk(body, (tirx.BufferStore, lambda store: stored.append(store.buffer)), order="post")
    outs = tuple(dict.fromkeys(tensors[buffer] for buffer in stored))
    return RawStage(outs, (), _translated(body, _buffers(tensors)), steps=sum(out.size for out in outs))


def _translated(code: Any, names: Mapping[Expr, Expr]) -> Any:
    """With our own variables, safe indices and loops that nobody parallelises."""
    callbacks = [
        (TensorLoad, _clamped),
        (tirx.BufferStore, _guarded),
        (tirx.For, _serial),
        (tirx.AttrStmt, lambda statement: statement.body),
    ]
    return tvm_ffi.structural_map(substitute(code, names), callbacks, order="post")


def _guarded(store: Any) -> Any:
    """A store at indices that come from data happens only inside the tensor."""
    inside = [
        tirx.And(
            tirx.const(0, str(index.ty.dtype)) <= index, index < tirx.const(int(extent), str(index.ty.dtype))
        )
        for index, extent in zip(store.indices, store.buffer.shape, strict=True)
        if count(index, (TensorLoad,))
    ]
    return tirx.IfThenElse(tirx.all(*inside), store, None) if inside else store


def _serial(loop: Any) -> Any:
    return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.SERIAL, loop.body)


def _clamped(load: Any) -> Any:
    """Indices that come from data are kept inside the tensor: a wrong one must not read foreign memory."""
    indices = []
    for index, extent in zip(load.indices, load.source.shape, strict=True):
        if count(index, (TensorLoad,)):
            dtype = str(index.ty.dtype)
            last = tirx.const(int(extent) - 1, dtype)
            indices.append(tirx.Max(tirx.const(0, dtype), tirx.Min(index, last)))
        else:
            indices.append(index)
    return tirx.BufferLoad(load.source, indices)

"""A node → kernels that follow the ABI of `docs/package-format.md`, section 4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import tvm
from tvm import tirx

from ..errors import UnsupportedError
from ..graph import Graph, Node
from ..program import Call
from ..target import Target
from ..vectormath import replace_math
from .emit import Emitted, emit
from .frontend import computation, last_line
from .fuse import fuse
from .stage import Tensor, substitute

_MAX_ARGS = 24  # of a call in plan.bin
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = frozenset(("float32", "float64", "float16", "bool", *_INTEGERS))


@dataclass(frozen=True)
class KernelFunc:
    """A function for `codegen.object.compile_object`."""

    symbol: str
    func: Any


@dataclass(frozen=True)
class Lowered:
    """A node's kernels and the calls that run them, in order.

    Tensors are args of place ``buffer`` under their value's name, constants of place ``param``. `buffers` are
    the temporaries (bytes); `params` are all constants that the calls use.
    """

    kernels: tuple[KernelFunc, ...]
    calls: tuple[Call, ...]
    buffers: Mapping[str, int]
    params: Mapping[str, npt.NDArray[Any]]
    scratch_bytes: int


def lower_node(
    graph: Graph, node: Node, target: Target, symbol: str, unaligned: frozenset[str] = frozenset()
) -> Lowered:
    """Kernels for any node, on plain row-major tensors.

    `symbol` must be unique in the package: kernels, temporaries and constants are named after it. `unaligned`
    are the values that may lie at any multiple of 4, or of their item size if that is less (graph inputs and
    outputs); all others lie at multiples of 64.

    Raises:
        UnsupportedError: there is no kernel for the node; the reason says why.
    """
    for value in filter(None, (*node.inputs, *node.outputs)):
        if graph.types[value].dtype not in _DTYPES:
            raise UnsupportedError(
                node.name, node.op, f"no kernels for tensors of {graph.types[value].dtype} ({value!r})"
            )
    if all(graph.types[value].size == 0 for value in node.outputs if value):
        return Lowered((), (), {}, {}, 0)
    computed = computation(graph, node, symbol)
    try:
        groups = fuse(computed.stages, frozenset(computed.outputs.values()))
        tensors = computed.tensors()
        emitted, filled = [], set[Tensor]()
        for group in groups:
            emitted.append(emit(group, tensors, target.lanes, unaligned, filled))
            filled.update(out for stage in group.stages for out in stage.outs)
        names = [symbol if len(groups) == 1 else f"{symbol}_{k}" for k in range(len(groups))]
        kernels = tuple(
            KernelFunc(name, _to_abi(kernel, name, target))
            for name, kernel in zip(names, emitted, strict=True)
        )
    except (ValueError, tvm.error.InternalError) as error:
        raise UnsupportedError(node.name, node.op, last_line(error)) from error
    calls = []
    for name, kernel in zip(names, emitted, strict=True):
        if len(kernel.args) > _MAX_ARGS:
            raise UnsupportedError(
                node.name, node.op, f"it needs {len(kernel.args)} tensors at once, at most {_MAX_ARGS} fit"
            )
        calls.append(
            Call(
                name,
                kernel.tasks,
                kernel.args,
                node=node.name,
                kind=node.op,
                flops=kernel.flops,
                grain=kernel.grain,
            )
        )
    constants = {tensor.name: tensor.constant for tensor in tensors.values() if tensor.constant is not None}
    constants |= {name: graph.constants[name] for name in computed.inputs if name in graph.constants}
    used = {arg.name for call in calls for arg in call.args}
    known = {*computed.inputs, *computed.outputs, *constants}
    return Lowered(
        kernels,
        tuple(replace(call, args=tuple(_placed(arg, constants) for arg in call.args)) for call in calls),
        buffers={
            tensor.name: max(tensor.size, 1) * tensor.itemsize
            for tensor in tensors.values()
            if tensor.name in used and tensor.name not in known
        },
        params={name: array for name, array in constants.items() if name in used},
        scratch_bytes=max(kernel.scratch_bytes for kernel in emitted),
    )


def _placed(arg: Any, constants: Mapping[str, Any]) -> Any:
    return replace(arg, place="param") if arg.name in constants else arg


def _to_abi(kernel: Emitted, symbol: str, target: Target) -> Any:
    """Vectors and 32-bit indices by TVM's passes, then the task range: until here it is an ordinary loop."""
    from ..codegen.object import tvm_target  # here, because codegen imports this package

    function = tirx.PrimFunc(list(kernel.params), kernel.body)
    function = function.with_attr("global_symbol", symbol).with_attr("target", tvm_target(target))
    module = tvm.IRModule({symbol: function.with_attr("tirx.noalias", True)})
    for transform in (tirx.transform.NarrowDataType(32), tirx.transform.VectorizeLoop()):
        module = transform(module)
    function = module[symbol]
    *head, loop = function.body.seq
    lo, hi = tirx.Var("lo", "int32"), tirx.Var("hi", "int32")
    task = tirx.Var("task", "int32")
    body = substitute(loop.body, {loop.loop_var: task.astype(str(loop.loop_var.ty.dtype))})
    ranged = tirx.For(task, lo, hi - lo, tirx.ForKind.SERIAL, body)
    result = tirx.PrimFunc([lo, hi, *function.params], replace_math(tirx.SeqStmt([*head, ranged])))
    for key in ("global_symbol", "target", "tirx.noalias"):
        result = result.with_attr(key, function.attrs[key])
    return result

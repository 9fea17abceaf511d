"""Small packages of real native code, from a C compiler instead of ours: what runtime tests load."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sanderling.compiler.graph import TensorType
from sanderling.compiler.package import Package, make_variant, write_package
from sanderling.compiler.pipeline import check_pipeline
from sanderling.compiler.program import Arg, Call, Program
from sanderling.compiler.target import Target, host_target

Array = npt.NDArray[Any]

# A task is a row. The first parameter of each kernel's `p` is the length of a row.
SOURCE = """
typedef float any __attribute__((aligned(4)));
typedef unsigned char byte;
void affine(int lo, int hi, const any* x, const float* p, any* y) {
  const int n = (int)p[0];
  for (int i = lo * n; i < hi * n; ++i) y[i] = x[i] * p[1] + p[2];
}
void add(int lo, int hi, const any* a, const any* b, const float* p, any* y) {
  const int n = (int)p[0];
  for (int i = lo * n; i < hi * n; ++i) y[i] = a[i] + b[i];
}
void copy(int lo, int hi, const byte* from, const float* p, byte* to) {
  const int n = (int)p[0];
  for (int i = lo * n; i < hi * n; ++i) to[i] = from[i];
}
"""
FLAGS = (
    "-O2",
    "-shared",
    "-nostdlib",
    "-fPIC",
    "-s",
    "-ffp-contract=off",
    "-fno-tree-loop-distribute-patterns",
)


@cache
def kernels() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "kernels.c", Path(folder) / "kernels.so"
        source.write_text(SOURCE)
        subprocess.run(["gcc", *FLAGS, str(source), "-o", str(library)], check=True, capture_output=True)
        return library.read_bytes()


def write_affine(
    path: Path, *, shape: tuple[int, ...] = (1, 3, 8, 8), target: Target | None = None, native: bool = True
) -> Path:
    """x → `twice` = 2·x + 1 and `thrice` = twice + x, through one buffer."""
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    type_ = TensorType("float32", shape)
    inputs, outputs = {"x": type_}, {"twice": type_, "thrice": type_}
    n = type_.nbytes
    target = target or host_target()
    program = Program(
        target=target.name,
        inputs=inputs,
        outputs=outputs,
        buffers={"t": n},
        params={"two": np.float32([columns, 2, 1]), "one": np.float32([columns, 1, 0])},
        calls=(
            Call(
                "affine",
                rows,
                (
                    Arg("input", "x", "read", n, align=4),
                    Arg("param", "two", "read", 12),
                    Arg("buffer", "t", "write", n),
                ),
                node="double",
                kind="affine",
                flops=2 * type_.size,
            ),
            Call(
                "affine",
                rows,
                (
                    Arg("buffer", "t", "read", n),
                    Arg("param", "one", "read", 12),
                    Arg("output", "twice", "write", n, align=4),
                ),
                node="store",
                kind="affine",
            ),
            Call(
                "add",
                rows,
                (
                    Arg("buffer", "t", "read", n),
                    Arg("input", "x", "read", n, align=4),
                    Arg("param", "one", "read", 12),
                    Arg("output", "thrice", "write", n, align=4),
                ),
                node="sum",
                kind="add",
                flops=type_.size,
            ),
        ),
        scratch_bytes=0,
        code=kernels(),
    )
    model = _onnx(
        inputs,
        outputs,
        {"two": np.float32(2), "one": np.float32(1)},
        [
            helper.make_node("Mul", ["x", "two"], ["product"], name="double"),
            helper.make_node("Add", ["product", "one"], ["twice"], name="store"),
            helper.make_node("Add", ["twice", "x"], ["thrice"], name="sum"),
        ],
    )
    write_package(
        path,
        Package(
            name="affine",
            version="1.0.0",
            inputs=inputs,
            outputs=outputs,
            model_onnx=model,
            variants=(make_variant(program, target),) if native else (),
            lineage={"source_name": "affine.onnx"},
            unsupported=() if native else ({"node": "sum", "op": "Add", "reason": "left out by this test"},),
        ),
    )
    return path


def write_copies(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> Path:
    """Each tensor (dtype, shape) is an input that comes out unchanged as `<name>_out`; native only."""
    inputs = {name: TensorType(*row) for name, row in tensors.items()}
    outputs = {f"{name}_out": type_ for name, type_ in inputs.items()}
    target = host_target()
    program = Program(
        target=target.name,
        inputs=inputs,
        outputs=outputs,
        buffers={},
        params={name: np.float32([type_.nbytes]) for name, type_ in inputs.items()},
        calls=tuple(
            Call(
                "copy",
                1,
                (
                    Arg("input", name, "read", type_.nbytes, align=1),
                    Arg("param", name, "read", 4),
                    Arg("output", f"{name}_out", "write", type_.nbytes, align=1),
                ),
                node=name,
                kind="copy",
            )
            for name, type_ in inputs.items()
        ),
        scratch_bytes=0,
        code=kernels(),
    )
    write_package(
        path,
        Package("copies", "1.0.0", inputs, outputs, b"no ONNX form", (make_variant(program, target),)),
    )
    return path


def write_constant(
    path: Path,
    pipeline: Mapping[str, Any],
    image: tuple[int, ...],
    outputs: Mapping[str, Array],
    labels: tuple[str, ...] | None = None,
) -> Path:
    """A detector or classifier that always gives the same float32 outputs, natively and in ONNX."""
    name = pipeline["input"]["name"]
    inputs = {name: TensorType("float32", image)}
    types = {key: TensorType("float32", value.shape) for key, value in outputs.items()}
    document, record, names = check_pipeline(pipeline, inputs, types, labels)
    target = host_target()
    program = Program(
        target=target.name,
        inputs=inputs,
        outputs=types,
        buffers={},
        params={**outputs, **{f"{key}.size": np.float32([value.nbytes]) for key, value in outputs.items()}},
        calls=tuple(
            Call(
                "copy",
                1,
                (
                    Arg("param", key, "read", value.nbytes),
                    Arg("param", f"{key}.size", "read", 4),
                    Arg("output", key, "write", value.nbytes, align=4),
                ),
                node=key,
                kind="copy",
            )
            for key, value in outputs.items()
        ),
        scratch_bytes=0,
        code=kernels(),
    )
    model = _onnx(
        inputs,
        types,
        {f"{key}.value": value for key, value in outputs.items()},
        [helper.make_node("Identity", [f"{key}.value"], [key], name=key) for key in outputs],
    )
    variant = make_variant(program, target, pipeline=record, labels=names)
    write_package(
        path, Package("constant", "1.0.0", inputs, types, model, (variant,), pipeline=document, labels=names)
    )
    return path


def _onnx(
    inputs: Mapping[str, TensorType],
    outputs: Mapping[str, TensorType],
    constants: Mapping[str, Any],
    nodes: list[onnx.NodeProto],
) -> bytes:
    def values(types: Mapping[str, TensorType]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, t.shape) for n, t in types.items()]

    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", values(inputs), values(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())

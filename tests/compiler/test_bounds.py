"""Sizes that depend on the data: which operators they pass through, and whole detectors that end in them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

import sanderling
from sanderling.cli.main import main as cli
from sanderling.compiler import compile as compile_model
from sanderling.compiler.errors import CompileError, ModelError, UnsupportedError
from sanderling.compiler.evaluate import evaluate, run_onnxruntime
from sanderling.compiler.frontends import load_onnx
from sanderling.compiler.graph import Bound, Graph
from sanderling.compiler.importer import to_graph
from sanderling.compiler.passes import run_passes
from sanderling.compiler.serve import Server, find_runner
from sanderling.runtime.package import Package
from sanderling.runtime.plan import decode_plan
from tests.support.graphs import imported, parse

Array = npt.NDArray[Any]

# x: 6 × 4, of which any number of elements is found. i: their coordinates [2, ≤24]; r: as rows [≤24, 2];
# f: a float for each [≤24, 3].
FOUND = """g (float[6,4] x, float[9,3] t) => ({output}) {{
    i = NonZero(x)
    r = Transpose <perm = [1, 0]> (i)
    zero = Constant <value_ints = [0]> ()
    first = Gather <axis = 1> (r, zero)
    rows = Squeeze(first, one)
    f = Gather(t, rows)
    {body}
}}"""
NUMBERS = {
    "one": np.array([1], np.int64),
    "minus": np.array([-1], np.int64),
    "open": np.array([-1, 3], np.int64),
    "deep": np.array([0, 3, 1], np.int64),
    "fixed": np.array([24, 3], np.int64),
    "wide": np.array([2, 1, 3], np.int64),
    "twice": np.array([1, 2], np.int64),
    "none": np.array([0], np.int64),
    "five": np.array([5], np.int64),
    "many": np.array([2**62], np.int64),
    "weights": np.arange(6, dtype=np.float32).reshape(3, 2),
    "column": np.array([2], np.int64),
    "half": np.float32(0.5),
    "pads": np.array([0, 1, 0, 0], np.int64),
    "longer": np.array([0, 0, 1, 0], np.int64),
    "table": np.arange(54, dtype=np.float32).reshape(6, 9),
    "bias": np.arange(24, dtype=np.float32).reshape(24, 1),
    "square": np.ones((24, 24), np.float32),
    "k": np.array([2], np.int64),
}


def model_of(body: str, output: str, opset: int = 17) -> onnx.ModelProto:
    used = {name: array for name, array in NUMBERS.items() if name == "one" or name in body}
    return parse(FOUND.format(body=body, output=output), opset, used)


PASSES = {  # what is done, what it makes
    "y = Exp(f)": "float[N,3] y",
    "s = Sigmoid(f) y = Mul(f, s)": "float[N,3] y",
    "y = Mul(f, half)": "float[N,3] y",
    "m = Greater(f, half) y = Where(m, f, half)": "float[N,3] y",
    "c = Cast <to = 1> (r) y = Concat <axis = 1> (c, f)": "float[N,5] y",
    "y = Softmax <axis = 1> (f)": "float[N,3] y",
    "y = ReduceMax <axes = [1], keepdims = 0> (f)": "float[N] y",
    "y = ArgMax <axis = 1, keepdims = 1> (f)": "int64[N,1] y",
    "y, z = TopK <axis = 1> (f, k)": "float[N,2] y, int64[N,2] z",
    "c = Cast <to = 6> (r) y, z = Split <axis = 1> (c)": "int32[N,1] y, int32[N,1] z",
    "y = Slice(f, one, many, one)": "float[N,2] y",
    "y = Slice(f, none, five, none)": "float[M,3] y",
    "t5 = Slice(f, none, five, none) y = Neg(t5) z = Neg(f)": "float[M,3] y, float[N,3] z",
    "y = Unsqueeze(f, none)": "float[1,N,3] y",
    "y = Reshape(f, open)": "float[N,3] y",
    "y = Reshape(f, deep)": "float[N,3,1] y",
    "y = Flatten <axis = 1> (f)": "float[N,3] y",
    "y = Expand(f, wide)": "float[2,N,3] y",
    "y = Tile(f, twice)": "float[N,6] y",
    "y = Pad(f, pads)": "float[N,4] y",
    "y = MatMul(f, weights)": "float[N,2] y",
    "y = Gather <axis = 1> (f, column)": "float[N,1] y",
    "y = Gather(f, rows)": "float[N,3] y",
    "y = Gather <axis = 1> (table, rows)": "float[6,N] y",
    "y = GatherND(x, r)": "float[N] y",
    "y = Transpose <perm = [1, 0]> (f)": "float[3,N] y",
    "s = Shape(f) y = Cast <to = 1> (s)": "float[2] y",
    "s = Shape <start = 1> (f) y = Identity(s)": "int64[1] y",
}


@pytest.mark.parametrize("body", PASSES)
@pytest.mark.filterwarnings("ignore")
def test_what_is_real_is_what_onnxruntime_makes(body: str) -> None:
    model = model_of(body, PASSES[body])
    graph = simplified(model)
    rng = np.random.default_rng(1)
    for share in (0.4, 0.0, 1.0):
        x = (rng.uniform(0, 1, (6, 4)) < share) * np.float32(2)
        feeds = {"x": x.astype(np.float32), "t": rng.standard_normal((9, 3)).astype(np.float32)}
        wanted, found = run_onnxruntime(model, feeds), evaluate(graph, feeds)
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-6)
            assert found[name].shape == array.shape


def simplified(model: onnx.ModelProto) -> Graph:
    return run_passes(to_graph(load_onnx(model)))


REFUSED = {
    "y = ReduceSum <keepdims = 0> (f, none)": ("float[3] y", "it works along that dimension"),
    "y = ReduceMax <keepdims = 0> (f)": ("float y", "it works along that dimension"),
    "y = Softmax <axis = 0> (f)": ("float[N,3] y", "it works along that dimension"),
    "y, z = TopK <axis = 0> (f, k)": ("float[2,3] y, int64[2,3] z", "it works along that dimension"),
    "y = Add(f, bias)": ("float[N,3] y", "combined with 'bias', whose size is fixed"),
    "y = Concat <axis = 0> (f, f)": ("float[N,3] y", "it joins others to its end"),
    "y = Concat <axis = 0> (f, t)": ("float[N,3] y", "whose size is fixed"),
    "y = Slice(f, one, many, none)": ("float[N,3] y", "other elements than the first"),
    "y = Gather(f, column)": ("float[1,3] y", "fixed indices may point at padding"),
    "y = Reshape(f, minus)": ("float[N] y", "does not keep that dimension"),
    "y = Reshape(f, fixed)": ("float[24,3] y", "does not keep that dimension"),
    "y = Pad(f, longer)": ("float[N,3] y", "padded further"),
    "y = MatMul(square, f)": ("float[24,3] y", "only its first input may be bounded"),
    "y = CumSum(f, none)": ("float[N,3] y", "no rule says what it makes of elements that are only padding"),
    "y = Div(r, r)": ("int64[N,2] y", "an integer would be divided by padding"),
    "s = Size(f) y = Identity(s)": ("int64 y", "depends on the data"),
    "s = Shape(f) y = ConstantOfShape(s)": ("float[N,3] y", "no shape that is known before the model runs"),
    "y = NonZero(f)": ("int64[2,N] y", "no rule says"),
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_would_mix_padding_into_the_rest_is_refused_by_name(body: str) -> None:
    output, reason = REFUSED[body]
    with pytest.raises(UnsupportedError, match=reason) as caught:
        simplified(model_of(body, output))
    assert caught.value.node
    assert caught.value.op in body


def test_counts_are_outputs_behind_the_models_own() -> None:
    graph = imported(
        "g (float[1,5,4] b, float[1,2,5] s) => (int64[N,3] y) { y = NonMaxSuppression(b, s, k) }",
        constants={"k": np.array([3], np.int64)},
    )
    assert graph.outputs == ("y", "y.count")
    assert graph.results == ("y",)
    assert graph.bounds == {"y": Bound(0, "y.count")}
    assert graph.types["y"].shape == (6, 3)
    assert graph.types["y.count"].shape == ()


def test_limits_of_what_may_be_found() -> None:
    with pytest.raises(UnsupportedError, match="may find 80,000 elements; up to 65,536 are supported"):
        imported(
            "g (float[1,1000,4] b, float[1,80,1000] s) => (int64[N,3] y) { y = NonMaxSuppression(b, s, k) }",
            constants={"k": np.array([1000], np.int64)},
        )
    with pytest.raises(UnsupportedError, match="max_output_boxes_per_class depends on the data"):
        imported(
            "g (float[1,5,4] b, float[1,2,5] s, int64[1] k) => (int64[N,3] y)"
            "{ y = NonMaxSuppression(b, s, k) }"
        )
    with pytest.raises(UnsupportedError, match="a scalar has no indices"):
        imported("g (float x) => (int64[N,M] y) { y = NonZero(x) }")


def test_boxes_and_scores_that_do_not_belong_together_are_an_error_of_the_model() -> None:
    with pytest.raises(ModelError, match=r"not \[1, 5, 4\] and \[1, 2, 6\]"):
        imported(
            "g (float[1,5,4] b, float[1,2,6] s) => (int64[N,3] y) { y = NonMaxSuppression(b, s) }",
        )


def yolo() -> onnx.ModelProto:
    """The end that exporters put behind a one-stage detector: suppression, then what it selects."""
    return parse(
        """g (float[1,70,9] raw) => (float[N,7] detections, int64[N,3] selected, int64 number) {
            xywh = Slice(raw, c0, c4, axis2)
            object = Slice(raw, c4, c5, axis2)
            classes = Slice(raw, c5, c9, axis2)
            boxes = MatMul(xywh, corners)
            joint = Mul(object, classes)
            scores = Transpose <perm = [0, 2, 1]> (joint)
            selected = NonMaxSuppression(boxes, scores, most, iou, least)
            image = Gather <axis = 1> (selected, i0)
            label = Gather <axis = 1> (selected, i1)
            which = Gather <axis = 1> (selected, i2)
            place = Unsqueeze(which, axis1)
            first = Unsqueeze(image, axis1)
            at = Concat <axis = 1> (first, place)
            chosen = GatherND(boxes, at)
            second = Unsqueeze(label, axis1)
            cell = Concat <axis = 1> (first, second, place)
            best = GatherND(scores, cell)
            score = Unsqueeze(best, axis1)
            f0 = Cast <to = 1> (first)
            f1 = Cast <to = 1> (second)
            detections = Concat <axis = 1> (f0, chosen, f1, score)
            shape = Shape(detections)
            number = Gather(shape, i0)
        }""",
        17,
        {
            **{f"c{n}": np.array([n], np.int64) for n in (0, 4, 5, 9)},
            **{f"axis{n}": np.array([n], np.int64) for n in (1, 2)},
            **{f"i{n}": np.array(n, np.int64) for n in (0, 1, 2)},
            "corners": np.array(
                [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32
            ),
            "most": np.array([10], np.int64),
            "iou": np.array([0.45], np.float32),
            "least": np.array([0.25], np.float32),
        },
    )


def ssd() -> onnx.ModelProto:
    """As PyTorch exports `torchvision.ops.nms` and the lines after it: indices, cut to the best few."""
    return parse(
        """g (float[40,4] boxes, float[40] scores) => (float[N,4] found, float[N] score, int64[N] kept) {
            b = Unsqueeze(boxes, axis0)
            s0 = Unsqueeze(scores, axis0)
            s = Unsqueeze(s0, axis0)
            all = NonMaxSuppression(b, s, most, iou)
            column = Gather <axis = 1> (all, two)
            keep = Squeeze(column, axis1)
            kept = Slice(keep, axis0, twelve)
            found = Gather(boxes, kept)
            score = Gather(scores, kept)
        }""",
        17,
        {
            "axis0": np.array([0], np.int64),
            "axis1": np.array([1], np.int64),
            "two": np.array([2], np.int64),
            "twelve": np.array([12], np.int64),
            "most": np.array([2**62], np.int64),
            "iou": np.array([0.5], np.float32),
        },
    )


def detector_feeds(name: str, seed: int, scale: float = 1.0) -> dict[str, Array]:
    """Scores in steps, so that many are equal; `scale` 0: nothing is found."""
    rng = np.random.default_rng(seed)
    count = 70 if name == "yolo" else 40
    # The larger the boxes, the fewer are kept.
    centers, sizes = rng.uniform(0, 30, (count, 2)), rng.uniform(2, 12, (count, 2)) + 20 * (seed % 4)
    if name == "yolo":
        steps = rng.integers(0, 9, (count, 5)) / 8 * scale
        return {"raw": np.concatenate([centers, sizes, steps], 1).astype(np.float32)[np.newaxis]}
    boxes = np.concatenate([centers, centers + sizes], 1).astype(np.float32)
    return {"boxes": boxes, "scores": (rng.integers(0, 9, count) / 8).astype(np.float32)}


@pytest.fixture(scope="module", params=["yolo", "ssd"])
def detector(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, onnx.ModelProto, Path]:
    """A compiled detector: its name, model and package."""
    model = {"yolo": yolo, "ssd": ssd}[request.param]()
    path = tmp_path_factory.mktemp("detector") / f"{request.param}.sand"
    report = compile_model(model, output=path, tune="none", verify=False)
    assert report.unsupported == ()
    assert all(target.native for target in report.targets.values())
    return request.param, model, path


@pytest.mark.parametrize("backend", ["native", "onnxruntime"])
@pytest.mark.parametrize("threads", [1, 2])
def test_detectors_give_the_boxes_that_onnxruntime_gives(
    detector: tuple[str, onnx.ModelProto, Path], backend: Any, threads: int
) -> None:
    name, model, path = detector
    counts = set()
    with sanderling.load(path, backend=backend, threads=threads) as loaded:
        bounded = [spec.bounded for spec in loaded.outputs]
        assert bounded == ([0, 0, None] if name == "yolo" else [0, 0, 0])
        whole = [np.empty(spec.shape, spec.dtype) for spec in loaded.outputs]
        for seed in range(10):
            feeds = detector_feeds(name, seed, 0.0 if seed == 3 else 1.0)
            wanted = list(run_onnxruntime(model, feeds).values())
            for found in (loaded.run(feeds), loaded.run(feeds, out=whole)):
                for one, other in zip(found, wanted, strict=True):
                    np.testing.assert_array_equal(one, other)
            assert np.shares_memory(found[-1], whole[-1]) or not found[-1].size
            counts.add(len(wanted[0]))
    assert len(counts) > 1
    assert (0 in counts) == (name == "yolo")


def test_plan_and_manifest_say_which_sizes_depend_on_the_data(
    detector: tuple[str, onnx.ModelProto, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, path = detector
    with Package(path) as package:
        package.verify()
        (variant,) = package.variants
        plan = decode_plan(package.read(f"variants/{variant}/plan.bin"))
        outputs = [tensor for tensor in plan.tensors if tensor.role == "output"]
        assert [spec.bounded for spec in package.manifest.outputs] == [
            tensor.bound.axis if tensor.bound else None for tensor in outputs
        ]
    for tensor in outputs:
        if tensor.bound is not None:
            assert plan.buffers[tensor.bound.buffer].last == len(plan.calls) - 1
    assert cli(["inspect", str(path)]) == 0
    assert f"≤{40 if name == 'yolo' else 12}" in capsys.readouterr().out
    assert cli(["verify", str(path)]) == 0


def test_the_tool_writes_and_says_what_is_real(
    detector: tuple[str, onnx.ModelProto, Path], tmp_path: Path
) -> None:
    name, model, path = detector
    for scale in (1.0, 0.0):
        feeds = detector_feeds(name, 5, scale)
        inputs = []
        for number, array in enumerate(feeds.values()):
            file = tmp_path / f"{number}.bin"
            file.write_bytes(array.tobytes())
            inputs += ["--input", str(file)]
        out = tmp_path / f"out{scale}"
        done = subprocess.run(
            [str(find_runner()), str(path), "--runs", "2", "--json", "--output", f"{out}/", *inputs],
            check=True,
            capture_output=True,
        )
        shapes = [tuple(output["shape"]) for output in json.loads(done.stdout)["outputs"]]
        wanted = list(run_onnxruntime(model, feeds).values())
        assert shapes == [array.shape for array in wanted]
        for number, array in enumerate(wanted):
            assert (out / f"output{number}.bin").read_bytes() == array.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("model", [yolo, ssd])
def test_detectors_are_accepted_on_inputs_of_the_compilers_own(model: Any, tmp_path: Path) -> None:
    report = compile_model(model(), output=tmp_path / "detector.sand", tune="none", verify=True)
    assert all(max(target.errors.values()) <= 1e-6 for target in report.targets.values())


def test_bounded_packages_serve(detector: tuple[str, onnx.ModelProto, Path]) -> None:
    _, _, path = detector
    with Server(threads=2) as server:
        server.put("package", path.read_bytes())
        loaded = server.load("package")
        assert server.run(3).runs == 3
        assert len(server.profile(2)) == loaded.calls


def test_no_pipeline_decodes_what_is_bounded(tmp_path: Path) -> None:
    model = parse(
        """g (float[1,3,8,8] image) => (float[1,N,2] s, float[1,N,4] b) {
            i = NonZero(image)
            row = Gather(i, c)
            rows = Gather(t, row)
            all = Unsqueeze(rows, zero)
            s = Slice(all, zero, two, axis2)
            b = Slice(all, two, six, axis2)
        }""",
        17,
        {
            "c": np.array(1, np.int64),
            "t": np.ones((8, 6), np.float32),
            "zero": np.array([0], np.int64),
            "two": np.array([2], np.int64),
            "six": np.array([6], np.int64),
            "axis2": np.array([2], np.int64),
        },
    )
    pipeline = {
        "task": "detect",
        "input": {"name": "image", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "output": {"decode": "boxes_scores", "levels": [{"cls": "s", "box": "b"}]},
    }
    with pytest.raises(CompileError, match="depends on the data: no pipeline decodes it"):
        compile_model(model, output=tmp_path / "p.sand", tune="none", pipeline=pipeline)
    assert not (tmp_path / "p.sand").exists()

"""Good model files load; every bad one is refused with its cause and without asking for much memory."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sanderling.compiler.errors import ModelError
from sanderling.compiler.evaluate import run_onnxruntime
from sanderling.compiler.frontends import InputSpec, load_onnx, portable
from tests.support.graphs import parse

RELU = "g (float[1,3] x) => (float[1,3] y) { y = Relu(x) }"
OPEN = "g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu(x) }"


def data(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString())


def relu() -> bytes:
    return data(parse(RELU))


def changed(change: Callable[[onnx.ModelProto], Any], body: str = RELU, opset: int = 17) -> bytes:
    model = parse(body, opset)
    change(model)
    return data(model)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def with_tensor(**fields: Any) -> bytes:
    """The model y = x + w, its constant w as given."""
    model = parse("g (float[1,3] x) => (float[1,3] y) { y = Add(x, w) }")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], raw_data=bytes(12))
    for name, value in fields.items():
        if name in ("raw_data", "data_type"):
            setattr(tensor, name, value)
        else:
            tensor.ClearField(name)
            getattr(tensor, name).extend(value)
    model.graph.initializer.append(tensor)
    return data(model)


def sparse() -> bytes:
    model = parse("g (float[1,3] x) => (float[1,3] y) { y = Add(x, w) }")
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("w_indices", TensorProto.INT64, [1], [1])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    return data(model)


def typed(what: onnx.TypeProto) -> bytes:
    """A model that hands an input of this type to a custom operator."""
    model = parse(RELU)
    model.graph.input[0].type.CopyFrom(what)
    model.opset_import.append(helper.make_opsetid("custom", 1))
    model.graph.node[0].domain = "custom"
    return data(model)


STRINGS = 'g (float[1,3] x) => (float[1,3] y) { s = Constant <value_string = "a"> () y = Relu(x) }'
EXPLODING = {"f": "c = local.f1(a) b = local.f1(c)"}
EXPLODING |= {f"f{i}": f"c = local.f{i + 1}(a) b = local.f{i + 1}(c)" for i in range(1, 24)}
EXPLODING |= {"f24": "b = Relu(a)"}
DEEP = {"f": "b = local.f0(a)"} | {f"f{i}": f"b = local.f{i + 1}(a)" for i in range(5000)}
TEXT = b"A list of labels, not a model at all:\n" * 4

BAD: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty", lambda: b"", "is empty"),
    ("cut in half", lambda: data(parse(RELU))[: len(relu()) // 2], "cut short"),
    ("one byte short", lambda: relu()[:-1], "cut short"),
    ("random bytes", lambda: np.random.default_rng(0).bytes(4096), "not an ONNX model"),
    ("zeros", lambda: bytes(4096), "not an ONNX model"),
    ("text", lambda: TEXT, "text file"),
    ("HTML page", lambda: b"<!DOCTYPE html><html><body>404</body></html>", "download"),
    ("JSON", lambda: b'{"model": "resnet"}', "JSON"),
    (
        "Git LFS pointer",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "git lfs pull",
    ),
    ("PyTorch archive", lambda: zipped("model/data.pkl", "model/version"), "torch.onnx.export"),
    ("pickle", lambda: pickle.dumps({"weights": [1, 2]}, protocol=4), "torch.onnx.export"),
    ("Keras archive", lambda: zipped("config.json", "model.weights.h5"), "tf2onnx"),
    ("HDF5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(64), "tf2onnx"),
    ("TensorFlow Lite", lambda: b"\x1c\0\0\0TFL3" + bytes(64), "tf2onnx"),
    ("package of ours", lambda: zipped("manifest.json", "model.onnx"), "compiled Sanderling package"),
    ("zipped model", lambda: zipped("folder/model.onnx"), "unpack"),
    ("some archive", lambda: zipped("photo.jpg"), "unpack"),
    ("broken archive", lambda: zipped("a")[:20], "damaged ZIP"),
    ("gzip", lambda: b"\x1f\x8b\x08" + bytes(32), "unpack"),
    ("safetensors", lambda: (64).to_bytes(8, "little") + b'{"weight":{}}' + bytes(51), "without a network"),
    ("JPEG", lambda: b"\xff\xd8\xff\xe0" + bytes(32), "JPEG"),
    ("shared library", lambda: b"\x7fELF" + bytes(60), "shared library"),
    ("no graph", lambda: data(onnx.ModelProto(ir_version=8)), "no graph"),
    ("no operator set", lambda: changed(lambda model: model.ClearField("opset_import")), "which version"),
    ("old operator set", lambda: data(parse(RELU, 10)), "versions 11 to 22"),
    ("new operator set", lambda: data(parse(RELU, 23)), "versions 11 to 22"),
    (
        "unknown operator",
        lambda: changed(lambda model: setattr(model.graph.node[0], "op_type", "Rleu")),
        "no operator 'Rleu'",
    ),
    (
        "operator of later version",
        lambda: changed(lambda model: setattr(model.graph.node[0], "op_type", "Gelu")),
        "version 17 of ONNX has no operator 'Gelu'",
    ),
    (
        "deprecated operator",
        lambda: data(parse("g (float[1,3] x) => (float[1,3] y) { y = Upsample(x, x) }")),
        "has withdrawn 'Upsample'",
    ),
    (
        "domain not imported",
        lambda: changed(lambda model: setattr(model.graph.node[0], "domain", "custom")),
        "does not import its domain 'custom'",
    ),
    ("wrong attribute", lambda: data(parse(RELU.replace("Relu(", "Relu <size = 3> ("))), "inconsistent"),
    ("unknown value", lambda: data(parse(RELU.replace("Relu(x)", "Relu(z)"))), "inconsistent"),
    (
        "cycle",
        lambda: data(parse("g (float[1] x) => (float[1] y) { a = Add(x, b) b = Relu(a) y = Relu(b) }")),
        "inconsistent",
    ),
    (
        "endless equation",
        lambda: data(
            parse('g (float[1,3] x) => (float[1,3] y) { y = Einsum <equation = "ij....->ij"> (x) }')
        ),
        "equation",
    ),
    ("sparse weights", sparse, "is sparse"),
    ("function that calls itself", lambda: data(functions({"f": "b = local.f(a)"})), "calls itself"),
    ("functions too deep", lambda: data(functions(DEEP)), "more than 64 deep"),
    ("functions that explode", lambda: data(functions(EXPLODING)), "become 16777216 nodes"),
    ("string weights", lambda: with_tensor(data_type=TensorProto.STRING), "strings"),
    ("string input", lambda: typed(helper.make_tensor_type_proto(TensorProto.STRING, [1])), "strings"),
    (
        "sequence input",
        lambda: typed(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1]))),
        "sequence",
    ),
    ("input of unknown type", lambda: typed(helper.make_tensor_type_proto(99, [1])), "element type"),
    ("weights of unknown type", lambda: with_tensor(data_type=99), "element type"),
    ("too few weights", lambda: with_tensor(raw_data=bytes(11)), "has 11 bytes of data, its shape needs 12"),
    ("too many weights", lambda: with_tensor(raw_data=bytes(16)), "has 16 bytes"),
    ("no weights", lambda: with_tensor(raw_data=b""), "has 0 bytes"),
    ("negative size", lambda: with_tensor(dims=[-3]), "negative"),
    ("huge size", lambda: with_tensor(dims=[1 << 31, 1 << 31]), "impossible"),
    ("overflowing size", lambda: with_tensor(dims=[1 << 62, 1 << 62, 4]), "impossible"),
    ("external, without folder", lambda: data(external("w.bin")), "without a folder"),
]


def functions(bodies: Mapping[str, str]) -> onnx.ModelProto:
    """y = f(x), with functions from a to b of these names and bodies."""
    domain = '<domain: "local", opset_import: ["" : 17, "local" : 1]>'
    return onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "local" : 1]>'
        "g (float[3] x) => (float[3] y) { y = local.f(x) }"
        + "".join(f" {domain} {name} (a) => (b) {{ {body} }}" for name, body in bodies.items())
    )


def external(location: str | None, body: str = "y = Add(x, w)", **fields: object) -> onnx.ModelProto:
    """y = x + w, where w's three numbers are said to be in another file."""
    model = parse(f"g (float[1,3] x) => (float[1,3] y) {{ {body} }}")
    tensor = TensorProto(name="w", data_type=1, dims=[3], data_location=TensorProto.EXTERNAL)
    if location is not None:
        fields = {"location": location, **fields}
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=str(value))
    model.graph.initializer.append(tensor)
    return model


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_file_is_refused(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make())
    source: Path | bytes = make() if "without a folder" in message else path
    tracemalloc.start()
    with pytest.raises(ModelError) as caught:
        load_onnx(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(caught.value)
    assert peak < 4 << 20
    if isinstance(source, Path):
        assert "model.onnx" in str(caught.value)


def test_every_truncation_is_refused_or_complete() -> None:
    whole = data(parse("g (float[1,3] x) => (float[1,3] y) <float[3] w = {1, 2, 3}> { y = Add(x, w) }"))
    for length in range(len(whole)):
        with pytest.raises(ModelError):
            load_onnx(whole[:length])


def test_flipped_bytes_never_do_worse_than_an_error() -> None:
    whole = data(parse("g (float[1,3] x) => (float[1,3] y) <float[3] w = {1, 2, 3}> { y = Add(x, w) }"))
    for position in range(len(whole)):
        for mask in (0x01, 0x80, 0xFF):
            flipped = bytearray(whole)
            flipped[position] ^= mask
            try:
                load_onnx(bytes(flipped))
            except ModelError:
                continue


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing.onnx", "No such file"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: Path("/dev/zero"), "no plain file"),
        (lambda folder: folder / "a\0b.onnx", "cannot read"),
    ],
    ids=["missing", "folder", "device", "null in name"],
)
def test_bad_path_is_refused(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_onnx(make(tmp_path))


def test_folder_with_a_model_is_refused_with_the_models_name(tmp_path: Path) -> None:
    (tmp_path / "detector.onnx").write_bytes(relu())
    with pytest.raises(ModelError, match=r"for example .*detector\.onnx"):
        load_onnx(tmp_path)


def test_saved_model_folder_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(ModelError, match="tf2onnx"):
        load_onnx(tmp_path)


def test_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file of a terabyte
    with pytest.raises(ModelError, match="at most"):
        load_onnx(path)


# External weights: (what the model says, files beside it, part of the message; None: it loads)

WEIGHTS = np.array([1, 2, 3], np.float32).tobytes()

EXTERNAL: list[tuple[str, dict[str, Any], str | None]] = [
    ("whole file", {"location": "w.bin"}, None),
    ("range", {"location": "w.bin", "offset": 0, "length": 12}, None),
    ("in a sub-folder", {"location": "deep/w.bin"}, None),
    ("link inside", {"location": "inner-link"}, None),
    ("no location", {"location": None}, "does not name"),
    ("empty location", {"location": ""}, "does not name"),
    ("missing", {"location": "gone.bin"}, "missing beside the model"),
    ("parent", {"location": "../secret"}, "own folder"),
    ("parent in the middle", {"location": "deep/../../secret"}, "own folder"),
    ("parent with backslash", {"location": "..\\secret"}, "own folder"),
    ("absolute", {"location": "/etc/passwd"}, "own folder"),
    ("drive", {"location": "C:\\secret"}, "own folder"),
    ("null", {"location": "w.bin\0"}, "does not name"),
    ("link to a file outside", {"location": "outer-link"}, "leaves the model's folder"),
    ("link to a folder outside", {"location": "outer-folder/secret"}, "leaves the model's folder"),
    ("link in a circle", {"location": "circle"}, "circle"),
    ("folder", {"location": "deep"}, "no plain file"),
    ("pipe", {"location": "pipe"}, "no plain file"),
    ("negative offset", {"location": "w.bin", "offset": -1}, "no sensible number"),
    ("negative length", {"location": "w.bin", "length": -12}, "no sensible number"),
    ("not a number", {"location": "w.bin", "offset": "0x0"}, "no sensible number"),
    ("digits of another script", {"location": "w.bin", "offset": "٣"}, "no sensible number"),
    ("offset of 2^63", {"location": "w.bin", "offset": 1 << 63}, "which has 12"),
    ("offset of 2^64 - 1", {"location": "w.bin", "offset": (1 << 64) - 1}, "no sensible number"),
    ("offset of a thousand digits", {"location": "w.bin", "offset": "9" * 1000}, "no sensible number"),
    ("offset at the end", {"location": "w.bin", "offset": 12}, "which has 12"),
    ("beyond the end", {"location": "w.bin", "offset": 4}, "which has 12"),
    ("huge length", {"location": "w.bin", "length": 1 << 40}, "its shape needs 12"),
    ("short length", {"location": "w.bin", "length": 8}, "its shape needs 12"),
    ("short file", {"location": "short.bin"}, "which has 11"),
]


@pytest.mark.parametrize(
    ("fields", "message"), [row[1:] for row in EXTERNAL], ids=[row[0] for row in EXTERNAL]
)
def test_external_weights(fields: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(WEIGHTS)
    (folder / "w.bin").write_bytes(WEIGHTS)
    (folder / "short.bin").write_bytes(WEIGHTS[:-1])
    (folder / "deep" / "w.bin").write_bytes(WEIGHTS)
    (folder / "inner-link").symlink_to("deep/w.bin")
    (folder / "outer-link").symlink_to("../secret")
    (folder / "outer-folder").symlink_to("..")
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    (folder / "model.onnx").write_bytes(data(external(**fields)))
    if message is None:
        (tensor,) = load_onnx(folder / "model.onnx").proto.graph.initializer
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), [1, 2, 3])
        return
    with pytest.raises(ModelError) as caught:
        load_onnx(folder / "model.onnx")
    assert message in str(caught.value)
    assert "'w'" in str(caught.value)


def test_many_tensors_cannot_multiply_one_external_file(tmp_path: Path) -> None:
    model = external("w.bin")
    for index in range(100):
        copy = model.graph.initializer.add()
        copy.CopyFrom(model.graph.initializer[0])
        copy.name = f"w{index}"
    (tmp_path / "w.bin").write_bytes(WEIGHTS)
    (tmp_path / "model.onnx").write_bytes(data(model))
    with pytest.raises(ModelError, match="overlap"):
        load_onnx(tmp_path / "model.onnx")


def test_external_weights_have_a_limit(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHTS)
    path = tmp_path / "model.onnx"
    path.write_bytes(data(external("w.bin")))
    limit = path.stat().st_size
    assert load_onnx(path, max_bytes=limit).proto.graph.initializer
    model = external("w.bin")
    model.graph.initializer[0].dims[:] = [limit]
    path.write_bytes(data(model))
    with pytest.raises(ModelError, match="limit"):
        load_onnx(path, max_bytes=limit + 100)


def test_external_weights_in_constants_and_branches_are_checked_too(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=external("../secret").graph.initializer[0])],
        "branch",
        [],
        [helper.make_tensor_value_info("c", 1, [3])],
    )
    model = parse("g (bool x) => (float[3] y) { y = Relu(x) }")
    model.graph.node[0].CopyFrom(helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    (tmp_path / "model.onnx").write_bytes(data(model))
    with pytest.raises(ModelError, match="own folder"):
        load_onnx(tmp_path / "model.onnx")


# Inputs


@pytest.mark.parametrize(
    ("inputs", "messages"),
    [
        ({}, ["'x'", "dimension 0 ('N'), 2 ('H'), 3 ('W')", "--input x:1x3x320x320:float32"]),
        ({"z": InputSpec((1, 3, 8, 8))}, ["no input 'z'", "'x'"]),
        ({"x": InputSpec((1, 3, 8))}, ["4 dimensions", "not 3"]),
        ({"x": InputSpec((1, 3, 0, 8))}, ["at least 1"]),
        ({"x": InputSpec((1, 3, 8, 8), "uint8")}, ["float32", "not uint8"]),
    ],
)
def test_bad_input_shapes_are_refused(inputs: dict[str, InputSpec], messages: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        load_onnx(parse(OPEN), inputs=inputs)
    for message in messages:
        assert message in str(caught.value)


def test_input_without_any_shape_names_the_flag() -> None:
    model = parse(RELU)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelError, match="--input x:1x3x320x320:float32"):
        load_onnx(model)


def test_given_shape_fixes_open_and_changes_fixed_dimensions() -> None:
    for body in (OPEN, OPEN.replace("N,3,H,W", "4,3,32,32")):
        model = load_onnx(parse(body), inputs={"x": InputSpec((2, 3, 8, 16), "float32")})
        dims = model.proto.graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_value for dim in dims] == [2, 3, 8, 16]


# Good models


def test_source_may_be_a_path_text_bytes_or_message(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(relu())
    models = [load_onnx(source) for source in (path, str(path), relu(), parse(RELU))]
    assert len({portable(model) for model in models}) == 1
    assert models[0].sha256 == models[2].sha256 == hashlib.sha256(relu()).hexdigest()
    assert models[0].name == "small.onnx"
    assert models[0].opset == 17


def test_message_given_is_left_as_it_was() -> None:
    model = parse(OPEN)
    before = data(model)
    load_onnx(model, inputs={"x": InputSpec((1, 3, 8, 8))})
    assert data(model) == before


def test_constants_listed_as_inputs_are_constants() -> None:
    model = parse(
        "g (float[3] x, float[3] w) => (float[3] y) { y = Add(x, w) }", constants={"w": np.ones(3, "f")}
    )
    model.ir_version = 3
    loaded = load_onnx(model)
    assert [value.name for value in loaded.proto.graph.input] == ["x"]


def test_local_functions_are_inlined() -> None:
    loaded = load_onnx(functions({"f": "b = Add(a, a)"}))
    assert [node.op_type for node in loaded.proto.graph.node] == ["Add"]


def test_portable_form_runs_by_itself_with_fixed_shapes(tmp_path: Path) -> None:
    model = external("w.bin")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "N"
    (tmp_path / "w.bin").write_bytes(WEIGHTS)
    (tmp_path / "model.onnx").write_bytes(data(model))
    loaded = load_onnx(tmp_path / "model.onnx", inputs={"x": InputSpec((2, 3))})
    alone = onnx.load_from_string(portable(loaded))
    found = run_onnxruntime(alone, {"x": np.zeros((2, 3), np.float32)})
    np.testing.assert_array_equal(found["y"], [[1, 2, 3], [1, 2, 3]])
    assert portable(load_onnx(portable(loaded))) == portable(loaded)

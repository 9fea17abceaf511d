"""Model.run and its neighbours: what goes in, what comes out, who may call when."""

from __future__ import annotations

import gc
import hashlib
import os
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import InputError, Model, SanderlingError, load
from tests.support.tiny_package import write_affine

SHAPE = (1, 3, 8, 8)
X = np.arange(192, dtype=np.float32).reshape(SHAPE)
BACKENDS = ("native", "onnxruntime")


class Tensor:
    """Any library's tensor: only DLPack, nothing of numpy."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class GpuTensor(Tensor):
    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)  # kDLCUDA

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the tensor is in GPU memory")


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, affine_path: Path) -> Iterator[Model]:
    with load(affine_path, backend=request.param, threads=1) as model:
        yield model


@pytest.mark.parametrize(
    ("feeds", "outputs", "expected"),
    [
        ({"x": X}, None, [2 * X + 1, 3 * X + 1]),
        (X, None, [2 * X + 1, 3 * X + 1]),
        (Tensor(X), None, [2 * X + 1, 3 * X + 1]),
        ({"x": Tensor(X)}, ["thrice"], [3 * X + 1]),
        (X, ["thrice", "twice"], [3 * X + 1, 2 * X + 1]),
        (X, ["twice", "twice"], [2 * X + 1, 2 * X + 1]),
        (X, [], []),
    ],
)
def test_outputs_come_in_the_order_asked_for(
    either: Model, feeds: object, outputs: list[str] | None, expected: list[Any]
) -> None:
    results = either.run(feeds, outputs)
    assert len(results) == len(expected)
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, value)


def test_results_are_new_arrays_each_time(either: Model) -> None:
    first, _ = either.run(X)
    kept = first.copy()
    either.run(X + 1)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, ["'x'", "missing"]),
        ({"y": X}, ["'x'", "missing"]),
        ({"x": X, "z": X}, ["unknown", "'z'", "x: float32"]),
        (X[0], ["'x'", "4 dimensions", "3"]),
        (X[:, :, :4], ["'x'", "(1, 3, 8, 8)", "(1, 3, 4, 8)"]),
        (X.astype(np.float64), ["'x'", "float64", ".astype(np.float32)"]),
        (X.astype(np.int32), ["'x'", "int32", ".astype(np.float32)"]),
        (X.astype(">f4"), ["'x'", ">f4", ".astype(np.float32)"]),
        (np.empty(0, np.float32), ["'x'", "dimensions"]),
        (X.astype(object), ["'x'", "object"]),
        (np.array(["bird"]), ["'x'", "<U4"]),
        (np.ma.masked_equal(X, 3), ["'x'", "masked"]),
        (X.tolist(), ["'x'", "numpy array", "list"]),
        (None, ["'x'", "NoneType"]),
        ("sanderling", ["'x'", "str"]),
        (b"sanderling", ["'x'", "bytes"]),
        (1.0, ["'x'", "float"]),
        (Tensor(X.astype(np.float64)), ["'x'", "float64"]),
        (GpuTensor(X), ["'x'", "DLPack", "GPU"]),
    ],
)
def test_wrong_feeds_are_named(either: Model, feeds: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        either.run(feeds)
    assert [word for word in words if word not in str(caught.value)] == []
    np.testing.assert_array_equal(either.run(X)[0], 2 * X + 1)  # the model still serves


@pytest.mark.parametrize(
    ("outputs", "out", "words"),
    [
        (["nothing"], None, ["unknown", "'nothing'", "thrice"]),
        ("twice", None, ["list of names"]),
        (None, [np.empty_like(X)], ["2 returned outputs"]),
        (None, np.empty((2, *SHAPE), np.float32), ["2 returned outputs"]),
        (["twice", "twice"], [np.empty_like(X), np.empty_like(X)], ["out needs"]),
        (["twice"], [X.astype(np.float64)], ["'twice'", "float64"]),
        (["twice"], [np.empty(192, np.float32)], ["'twice'", "dimensions"]),
        (["twice"], [np.empty((1, 3, 8, 16), np.float32)[..., ::2]], ["'twice'", "C-contiguous"]),
        (["twice"], [np.broadcast_to(np.float32(0), SHAPE)], ["'twice'"]),
        (["twice"], [[1.0]], ["'twice'", "list"]),
        (["twice"], [GpuTensor(X)], ["'twice'", "DLPack", "GPU"]),
        (["twice"], [Tensor(X.astype(np.float64))], ["'twice'", "float64"]),
        (["twice"], [X], ["'twice'", "overlaps an input"]),
    ],
)
def test_wrong_outputs_are_named(either: Model, outputs: Any, out: Any, words: list[str]) -> None:
    before = X.copy()
    with pytest.raises(InputError) as caught:
        either.run(X, outputs, out=out)
    assert [word for word in words if word not in str(caught.value)] == []
    np.testing.assert_array_equal(X, before)


def test_a_read_only_output_is_refused(either: Model) -> None:
    target = np.zeros_like(X)
    target.flags.writeable = False
    with pytest.raises(InputError, match="read-only"):
        either.run(X, ["twice"], out=[target])
    assert not target.any()


def test_outputs_that_share_memory_are_refused(either: Model) -> None:
    memory = np.empty(200, np.float32)
    with pytest.raises(InputError, match="overlaps"):
        either.run(X, out=[memory[:192].reshape(SHAPE), memory[8:].reshape(SHAPE)])


def test_given_arrays_receive_the_results(either: Model) -> None:
    twice, thrice = np.empty_like(X), np.empty_like(X)
    results = either.run(X, ["thrice", "twice"], out=[thrice, twice])
    assert results[0] is thrice
    assert results[1] is twice
    np.testing.assert_array_equal(twice, 2 * X + 1)
    np.testing.assert_array_equal(thrice, 3 * X + 1)


def test_nan_and_infinity_pass_through(either: Model) -> None:
    x = X.copy()
    x.flat[:3] = np.nan, np.inf, -np.inf
    for result in either.run(x):
        np.testing.assert_array_equal(result.flat[:3], [np.nan, np.inf, -np.inf])
        assert np.isfinite(result.flat[3:]).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda: np.repeat(X, 2, axis=-1)[..., ::2],
        lambda: np.asfortranarray(X),
        lambda: X[..., ::-1].copy()[..., ::-1],
        lambda: np.broadcast_to(X[:, :1], SHAPE),
        lambda: X.view(type("Sub", (np.ndarray,), {})),
    ],
    ids=["stepped", "fortran", "negative", "broadcast", "subclass"],
)
def test_any_layout_is_read_rightly(either: Model, view: Callable[[], Any]) -> None:
    x = view()
    expected = 2 * np.ascontiguousarray(x) + 1
    np.testing.assert_array_equal(either.run(x)[0], expected)


@pytest.mark.parametrize("offset", range(64))
def test_inputs_and_outputs_may_lie_at_any_address(affine: Model, offset: int) -> None:
    def at(offset: int) -> Any:
        memory = np.zeros(X.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        return memory, memory[start : start + X.nbytes].view(np.float32).reshape(SHAPE)

    (_, x), (around, twice), (_, thrice) = at(offset), at(63 - offset), at(offset)
    x[...] = X
    affine.run(x, out=[twice, thrice])
    np.testing.assert_array_equal(twice, 2 * X + 1)
    np.testing.assert_array_equal(thrice, 3 * X + 1)
    assert np.count_nonzero(around) <= X.nbytes  # nothing beside the array was touched
    start = twice.ctypes.data - around.ctypes.data
    assert not around[:start].any()
    assert not around[start + X.nbytes :].any()


@pytest.mark.parametrize("wrap", [np.asarray, Tensor], ids=["numpy", "DLPack"])
def test_contiguous_arrays_are_not_copied(tmp_path: Path, wrap: Callable[[Any], object]) -> None:
    path = write_affine(tmp_path / "large.sand", shape=(256, 1024))
    x, twice, thrice = (np.ones((256, 1024), np.float32) for _ in range(3))
    with load(path, backend="native", threads=1) as model:
        tracemalloc.start()  # numpy reports the memory of its arrays
        try:
            model.run(wrap(x), out=[twice, thrice])
            peak = tracemalloc.get_traced_memory()[1]
            model.run(x[:, ::-1])
            copied = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < x.nbytes / 10
    assert copied > x.nbytes  # so the measure sees a copy where there must be one
    np.testing.assert_array_equal(twice, 2 * x + 1)


def test_dlpack_tensors_receive_the_results(either: Model) -> None:
    twice = np.zeros_like(X)
    (result,) = either.run(X, ["twice"], out=[Tensor(twice)])
    assert np.shares_memory(result, twice)
    np.testing.assert_array_equal(twice, 2 * X + 1)


def test_results_are_given_away_through_dlpack(either: Model) -> None:
    twice, _ = either.run(X)
    view = np.from_dlpack(Tensor(twice))
    assert np.shares_memory(view, twice)
    np.testing.assert_array_equal(view, 2 * X + 1)


@given(seed=st.integers(0, 2**32 - 1))
def test_every_dtype_arrives_bit_for_bit(copies_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    feeds = {
        "a": random.integers(-(2**63), 2**63 - 1, (3, 5)),
        "b": random.integers(0, 2, 7).astype(bool),
        "scalar": np.float32(random.standard_normal()),
    }
    with load(copies_path, threads=1) as model:
        for result, value in zip(model.run(feeds), feeds.values(), strict=True):
            assert result.dtype == value.dtype
            assert result.shape == np.shape(value)
            np.testing.assert_array_equal(result, value)


def test_a_model_with_many_inputs_needs_names(copies: Model) -> None:
    with pytest.raises(InputError, match="3 inputs needs a dict"):
        copies.run(np.zeros((3, 5), np.int64))


def test_tensors_are_described(copies: Model) -> None:
    assert [str(spec) for spec in copies.inputs] == ["a: int64 [3, 5]", "b: bool [7]", "scalar: float32 []"]
    assert [(s.name, s.shape, s.dtype) for s in copies.outputs] == [
        ("a_out", (3, 5), np.dtype("int64")),
        ("b_out", (7,), np.dtype("bool")),
        ("scalar_out", (), np.dtype("float32")),
    ]


def test_torch_tensors_are_read_and_results_given_back(affine: Model) -> None:
    torch = pytest.importorskip("torch")
    twice, _ = affine.run(torch.from_numpy(X))
    assert torch.equal(torch.from_dlpack(twice), 2 * torch.from_numpy(X) + 1)
    with pytest.raises(InputError, match="DLPack"):
        affine.run(torch.zeros(SHAPE, dtype=torch.bfloat16))
    with pytest.raises(InputError, match="grad"):
        affine.run(torch.zeros(SHAPE, requires_grad=True))


def test_any_number_of_threads_gives_the_same_bits(affine_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    results = []
    for threads in (1, 2, 5):
        with load(affine_path, backend="native", threads=threads) as model:
            assert model.threads == threads
            results.append([array.tobytes() for array in model.run(x)])
    assert results[0] == results[1] == results[2]


def test_threads_may_share_a_model(either: Model) -> None:
    def work(seed: int) -> bool:
        x = np.full(SHAPE, seed, np.float32)
        return all((either.run(x)[1] == 3 * x + 1).all() for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_other_threads_run_python_meanwhile(tmp_path: Path) -> None:
    path = write_affine(tmp_path / "large.sand", shape=(1024, 4096))
    x = np.zeros((1024, 4096), np.float32)
    interval = sys.getswitchinterval()
    with load(path, backend="native", threads=1) as model:
        model.run(x)
        worker = threading.Thread(target=lambda: [model.run(x) for _ in range(5)])
        sys.setswitchinterval(60)  # so nobody is made to hand the GIL over
        try:
            worker.start()
            turns = 0
            while worker.is_alive():
                time.sleep(0)  # hands it over, and comes back as soon as it is free
                turns += 1
        finally:
            sys.setswitchinterval(interval)
    assert turns > 100  # were the GIL held while kernels run, there would be a few turns per run


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.run(X),
        lambda model: model.profile(),
        lambda model: model.placement,
        lambda model: model.__enter__().run(X),
    ],
)
def test_a_closed_model_says_so(either: Model, use: Callable[[Model], object]) -> None:
    either.close()
    either.close()
    with pytest.raises(SanderlingError, match="closed"):
        use(either)
    assert either.inputs[0].name == "x"  # what it was can still be asked


def test_closing_waits_for_the_run_in_progress(affine_path: Path) -> None:
    model = load(affine_path, backend="native", threads=2)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                np.testing.assert_array_equal(model.run(X)[0], 2 * X + 1)
        except SanderlingError:
            pass
        except BaseException as error:  # handed to the test's own thread
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    model.run(X)
    model.close()
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)
    assert errors == []


def test_a_model_outlives_its_file_and_frees_all(tmp_path: Path, affine_path: Path) -> None:
    path = tmp_path / "moved.sand"
    path.write_bytes(affine_path.read_bytes())
    before = len(os.listdir("/proc/self/fd"))
    model = load(path, backend="native", threads=3)
    path.unlink()
    np.testing.assert_array_equal(model.run(X)[0], 2 * X + 1)
    del model
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert "moved.sand" not in Path("/proc/self/maps").read_text()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told_to_load_its_own(affine_path: Path) -> None:
    model = load(affine_path, backend="native", threads=3)
    model.run(X)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            model.run(X)
        except SanderlingError as error:
            model.close()
            status = 0 if "fork" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(model.run(X)[0], 2 * X + 1)
    model.close()


def test_placement_tells_where_each_node_runs(affine_path: Path) -> None:
    with load(affine_path, backend="native") as model:
        assert model.placement == (
            ("double", "native", "affine"),
            ("store", "native", "affine"),
            ("sum", "native", "add"),
        )
        assert model.backend == "native"
        assert model.variant in load(affine_path).manifest.variants
    with load(affine_path, backend="onnxruntime") as model:
        assert {row.backend for row in model.placement} == {"onnxruntime"}
        assert [row.kind for row in model.placement].count("Add") == 2
        assert model.variant is None


def test_profile_measures_every_call_and_prints_the_slowest_first(either: Model) -> None:
    profile = either.profile({"x": X}, runs=3)
    assert profile.runs == 3
    assert [(row.node, row.kind) for row in profile.rows] == [(p.node, p.kind) for p in either.placement]
    assert profile.microseconds == pytest.approx(sum(row.microseconds for row in profile.rows))
    lines = str(profile).splitlines()
    assert len(lines) == len(profile.rows) + 2
    times = [float(line.split()[0]) for line in lines[1:-1]]
    assert times == sorted(times, reverse=True)
    with pytest.raises(InputError, match="runs"):
        either.profile(runs=0)


def test_the_package_is_identified(affine: Model, affine_path: Path) -> None:
    manifest = zipfile.ZipFile(affine_path).read("manifest.json")
    assert affine.digest == hashlib.sha256(manifest).hexdigest()
    assert "affine 1.0.0" in repr(affine)

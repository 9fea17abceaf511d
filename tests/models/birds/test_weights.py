"""The committed weights keep the limits that the compiler and the devices rely on, and they find birds."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sanderling.models.birds import evaluate as evaluation
from sanderling.models.birds.data import TEST_SEEDS
from sanderling.models.birds.species import LABELS

PLAIN = {"Conv", "Relu", "Clip", "Add", "Concat", "MaxPool", "Resize"}
RESULT = Path(__file__).parents[3] / "benchmarks" / "results" / "birds-accuracy.json"


@functools.cache
def model() -> onnx.ModelProto:
    return onnx.load(evaluation.WEIGHTS)


def test_file_is_at_most_6_megabytes() -> None:
    assert evaluation.WEIGHTS.stat().st_size <= 6_000_000


def test_parameters_are_at_most_one_and_a_half_million_and_stored_inline() -> None:
    tensors = model().graph.initializer
    assert sum(int(np.prod(t.dims)) for t in tensors) <= 1_500_000
    assert all(t.data_location == onnx.TensorProto.DEFAULT for t in tensors)
    assert all(t.data_type == onnx.TensorProto.FLOAT for t in tensors)
    assert all(np.isfinite(numpy_helper.to_array(t)).all() for t in tensors)


def test_only_plain_operators_with_batch_norm_folded() -> None:
    assert {node.op_type for node in model().graph.node} <= PLAIN
    assert [(o.domain, o.version) for o in model().opset_import] == [("", 17)]
    onnx.checker.check_model(model(), full_check=True)


def test_model_and_pipeline_agree() -> None:
    pipeline = json.loads((evaluation.FOLDER / "pipeline.json").read_text())
    values = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model().graph.input, *model().graph.output)
    }
    assert values.pop(pipeline["input"]["name"]) == [1, 3, 320, 320]
    expected = {}
    for level in pipeline["output"]["levels"]:
        cells = 320 // level["stride"]
        expected[level["cls"]] = [1, len(pipeline["labels"]), cells, cells]
        expected[level["box"]] = [1, 4, cells, cells]
    assert values == expected
    assert pipeline["labels"] == list(LABELS)


def test_finds_birds_on_unseen_scenes() -> None:
    """60 scenes are too few for the figure of the README; the floor is well below it."""
    accuracy = evaluation.evaluate(evaluation.ReferenceDetector.load(), 60, TEST_SEEDS + 500_000)
    assert accuracy.map50 >= 0.85


def test_committed_result_reaches_the_goal_with_these_labels() -> None:
    document = json.loads(RESULT.read_text())
    assert {"machine", "versions", "date", "command", "rows"} <= set(document)
    overall = {row["metric"]: row["value"] for row in document["rows"] if "class" not in row}
    assert overall["mAP@0.5"] >= 0.80
    assert document["scenes"] == {"rendered": 500, "first_seed": TEST_SEEDS}
    assert [row["class"] for row in document["rows"] if "class" in row] == list(LABELS)


def test_command_writes_its_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "accuracy.json"
    assert evaluation.main(["--scenes", "4", "--seed", "11", "--json", str(target)]) == 0
    document = json.loads(target.read_text())
    assert document["command"].endswith(f"evaluate --scenes 4 --seed 11 --json {target}")
    assert "mAP@0.5" in capsys.readouterr().out


def test_missing_weights_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.onnx"
    assert evaluation.main(["--weights", str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err

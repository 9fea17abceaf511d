"""Writes the trained network as ONNX with its batch norms folded into the convolutions, and its pipeline.

The network is traced by torch.fx and written node by node: seven kinds of operator need no general exporter,
and the file holds just what a compiler has to run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from sanderling.models.birds.letterbox import PAD_VALUE
from sanderling.models.birds.model import MEAN, SIDE, STD, STRIDES, Detector
from sanderling.models.birds.species import LABELS

OPSET = 17


def to_onnx(network: Detector) -> onnx.ModelProto:
    """Return a checked model: input `image` [1,3,320,320], outputs `cls_<stride>`, `box_<stride>`."""
    writer = _Writer(network.eval())
    outputs = writer.run()
    graph = helper.make_graph(
        writer.nodes,
        "birds",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        writer.weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="sanderling.models.birds",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def pipeline() -> dict[str, object]:
    """How an image becomes the network's input and its outputs become detections."""
    levels = [{"stride": s, "cls": f"cls_{s}", "box": f"box_{s}"} for s in STRIDES]
    return {
        "task": "detect",
        "input": {
            "name": "image",
            "color": "rgb",
            "resize": "letterbox",
            "pad_value": PAD_VALUE,
            "mean": list(MEAN),
            "std": list(STD),
        },
        "output": {
            "decode": "grid_ltrb_exp",
            "levels": levels,
            "score": "sigmoid",
            "score_threshold": 0.35,
            "nms_iou": 0.5,
            "max_detections": 100,
        },
        "labels": list(LABELS),
    }


def save(network: Detector, folder: Path) -> None:
    """Write `birds.onnx` and `pipeline.json` into `folder`, each whole or not at all."""
    _replace(folder / "birds.onnx", to_onnx(network).SerializeToString())
    _replace(folder / "pipeline.json", (json.dumps(pipeline(), indent=2) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


class _Writer:
    """Walks the traced network once; `nodes` and `weights` are the result."""

    def __init__(self, network: Detector) -> None:
        self._traced = fx.symbolic_trace(network)
        self._modules = dict(self._traced.named_modules())
        self._names: dict[fx.Node, str] = {}  # the ONNX value that holds a traced value
        self._shapes: dict[fx.Node, list[int]] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def run(self) -> dict[str, list[int]]:
        """Fill `nodes` and `weights`; returns name → shape of the outputs."""
        ShapeProp(self._traced).propagate(torch.zeros(1, 3, SIDE, SIDE))
        outputs: dict[str, list[int]] = {}
        for node in self._traced.graph.nodes:
            if node.op == "placeholder":
                self._names[node] = "image"
            elif node.op == "output":
                outputs = self._outputs(node)
            else:
                self._write(node)
        return outputs

    def _write(self, node: fx.Node) -> None:
        module = self._modules.get(str(node.target)) if node.op == "call_module" else None
        inputs = [self._names[n] for n in node.all_input_nodes]
        if isinstance(module, nn.Conv2d):
            norm = self._norm_after(node)
            self._conv(node, module, norm, inputs[0])
        elif isinstance(module, nn.BatchNorm2d):
            self._names[node] = inputs[0]  # folded into the convolution before it
        elif isinstance(module, nn.ReLU):
            self._add(node, "Relu", inputs)
        elif isinstance(module, nn.Upsample):
            scales = self._weight(f"{node.name}.scales", np.array([1, 1, 2, 2], np.float32))
            self._add(
                node, "Resize", [inputs[0], "", scales], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            )  # fmt: skip
        elif node.op == "call_function" and getattr(node.target, "__name__", "") == "add":
            self._add(node, "Add", inputs)
        else:
            raise NotImplementedError(f"{node.op} {node.target} has no ONNX form here; add it to {__name__}")

    def _norm_after(self, node: fx.Node) -> nn.BatchNorm2d | None:
        user = next(iter(node.users))
        module = self._modules.get(str(user.target)) if user.op == "call_module" else None
        return module if isinstance(module, nn.BatchNorm2d) else None

    def _conv(self, node: fx.Node, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, source: str) -> None:
        weight = conv.weight.detach().double().numpy()
        bias = np.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().double().numpy()
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.detach().double().numpy() / np.sqrt(
                norm.running_var.double().numpy() + norm.eps
            )
            weight = weight * scale[:, None, None, None]
            bias = norm.bias.detach().double().numpy() + (bias - norm.running_mean.double().numpy()) * scale
        inputs = [
            source,
            self._weight(f"{node.name}.weight", weight.astype(np.float32)),
            self._weight(f"{node.name}.bias", bias.astype(np.float32)),
        ]
        (kernel, stride, pad) = (conv.kernel_size, conv.stride, conv.padding)
        assert not isinstance(pad, str)
        self._add(
            node, "Conv", inputs, kernel_shape=list(kernel), strides=list(stride), pads=[*pad, *pad],
            dilations=[1, 1], group=conv.groups,
        )  # fmt: skip

    def _weight(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def _add(self, node: fx.Node, operator: str, inputs: list[str], **attributes: Any) -> None:
        self._names[node] = node.name
        self.nodes.append(helper.make_node(operator, inputs, [node.name], node.name, **attributes))

    def _outputs(self, node: fx.Node) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        levels: Any = node.args[0]
        for stride, level in zip(STRIDES, levels, strict=True):
            for kind, value in zip(("cls", "box"), level, strict=True):
                producer = next(n for n in self.nodes if n.output[0] == self._names[value])
                producer.output[0] = f"{kind}_{stride}"
                found[f"{kind}_{stride}"] = list(value.meta["tensor_meta"].shape)
        return found

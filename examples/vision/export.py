"""Writes the trained network as an ONNX graph with a YOLOv8-shaped output."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from network import (
    ANCHOR_SIZE, CLASSES, LAYERS, OUTPUTS, SIZE_RANGE, STRIDE, Params, cell_centres, network,
    padding,
)

SIDE = 640
OPSET = 17
IR_VERSION = 8


class GraphOps:
    """Writes each operation down as a node; values are the names of tensors."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        if all(known.name != name for known in self.constants):
            self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def linear(self, name: str, x: str) -> str:
        kernel, stride, _, _ = LAYERS[name]
        before, after = padding(kernel, stride)
        weights = np.ascontiguousarray(self.params[name]["kernel"].transpose(3, 2, 0, 1))
        inputs = [
            x,
            self.constant(f"{name}.weight", weights.astype(np.float32)),
            self.constant(f"{name}.bias", self.params[name]["bias"].astype(np.float32)),
        ]
        return self.node(
            "Conv", inputs, name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[before, before, after, after],
        )

    def block(self, name: str, x: str) -> str:
        return self.node("Relu", [self.linear(name, x)])

    def add(self, x: str, y: str) -> str:
        return self.node("Add", [x, y])

    def double(self, x: str) -> str:
        scales = self.constant("twice", np.array([1, 1, 2, 2], np.float32))
        return self.node(
            "Resize", [x, "", scales], mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )


def decode(ops: GraphOps, raw: str) -> None:
    """Turns the head's cells into centre, size and scores: `[batch, 4 + classes, anchors]`."""
    shape = ops.constant("anchor_shape", np.array([0, OUTPUTS, -1], np.int64))
    flat = ops.node("Reshape", [raw, shape])
    parts = ["offset", "size", "logits"]
    widths = ops.constant("parts", np.array([2, 2, CLASSES], np.int64))
    ops.nodes.append(helper.make_node("Split", [flat, widths], parts, "split", axis=1))
    stride = ops.constant("stride", np.array(STRIDE, np.float32))
    centres = ops.constant("centres", np.ascontiguousarray(cell_centres(SIDE).T[None]))
    centre = ops.add(ops.node("Mul", ["offset", stride]), centres)
    low = ops.constant("size_low", np.array(SIZE_RANGE[0], np.float32))
    high = ops.constant("size_high", np.array(SIZE_RANGE[1], np.float32))
    anchor = ops.constant("anchor_size", np.array(ANCHOR_SIZE, np.float32))
    size = ops.node("Mul", [ops.node("Exp", [ops.node("Clip", ["size", low, high])]), anchor])
    scores = ops.node("Sigmoid", ["logits"])
    ops.node("Concat", [centre, size, scores], "detections", axis=1)


def export(params: Params, path: Path) -> None:
    """Saves the folded network; the old IR version keeps older onnxruntimes able to load it."""
    ops = GraphOps(params)
    decode(ops, network(ops, "images"))
    images = helper.make_tensor_value_info(
        "images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE]
    )
    detections = helper.make_tensor_value_info(
        "detections", TensorProto.FLOAT, ["batch", OUTPUTS, (SIDE // STRIDE) ** 2]
    )
    graph = helper.make_graph(ops.nodes, "digits", [images], [detections], ops.constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="sagebrush-vision-example",
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)

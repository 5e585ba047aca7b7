"""The detector's shape, written once and read by both the trainer and the ONNX exporter."""

from typing import Protocol, TypeVar

import numpy as np

STRIDE = 8
CLASSES = 10
OUTPUTS = 4 + CLASSES
ANCHOR_SIZE = 32.0
SIZE_RANGE = (-4.0, 3.5)
NORM_EPSILON = 1e-3

# name: (kernel, stride, input channels, output channels)
LAYERS: dict[str, tuple[int, int, int, int]] = {
    "stem": (4, 4, 3, 32),
    "down8": (3, 2, 32, 32),
    "body8": (3, 1, 32, 32),
    "down16": (3, 2, 32, 48),
    "body16": (3, 1, 48, 48),
    "down32": (3, 2, 48, 96),
    "body32a": (3, 1, 96, 96),
    "body32b": (3, 1, 96, 96),
    "lift32": (1, 1, 96, 48),
    "fuse16": (3, 1, 48, 48),
    "lift16": (1, 1, 48, 32),
    "fuse8": (3, 1, 32, 32),
    "mix8": (1, 1, 32, 64),
    "head": (1, 1, 64, OUTPUTS),
}

Value = TypeVar("Value")
Params = dict[str, dict[str, np.ndarray]]


class Operations(Protocol[Value]):
    """What a back end must offer to run, or to write down, the network."""

    def block(self, name: str, x: Value) -> Value:
        """Convolution, normalisation, ReLU."""
        ...

    def linear(self, name: str, x: Value) -> Value:
        """Convolution with a bias and nothing after it."""
        ...

    def add(self, x: Value, y: Value) -> Value: ...

    def double(self, x: Value) -> Value:
        """Each cell becomes two by two equal cells."""
        ...


def network(ops: Operations[Value], images: Value) -> Value:
    """Features down to stride 32 for the large digits, carried back up to one stride-8 head."""
    fine = ops.block("down8", ops.block("stem", images))
    fine = ops.add(fine, ops.block("body8", fine))
    middle = ops.block("down16", fine)
    middle = ops.add(middle, ops.block("body16", middle))
    coarse = ops.block("down32", middle)
    coarse = ops.add(coarse, ops.block("body32a", coarse))
    coarse = ops.add(coarse, ops.block("body32b", coarse))
    middle = ops.add(middle, ops.double(ops.block("lift32", coarse)))
    middle = ops.block("fuse16", middle)
    fine = ops.add(fine, ops.double(ops.block("lift16", middle)))
    return ops.linear("head", ops.block("mix8", ops.block("fuse8", fine)))


def padding(kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after each axis, so that every layer divides the side by its stride."""
    total = kernel - stride
    return total // 2, total - total // 2


def initial_params(rng: np.random.Generator) -> Params:
    """He initialisation; the head starts out believing that digits are rare."""
    params: Params = {}
    for name, (kernel, _, inputs, outputs) in LAYERS.items():
        shape = (kernel, kernel, inputs, outputs)
        deviation = np.sqrt(2.0 / (kernel * kernel * inputs))
        layer = {"kernel": rng.normal(0.0, deviation, shape).astype(np.float32)}
        if name == "head":
            layer["kernel"] *= 0.1
            layer["bias"] = np.array([0.0] * 4 + [-4.5] * CLASSES, np.float32)
        else:
            layer["gain"] = np.ones(outputs, np.float32)
            layer["bias"] = np.zeros(outputs, np.float32)
        params[name] = layer
    return params


def cell_centres(side: int) -> np.ndarray:
    """The pixel (x, y) at the middle of each cell, row by row: what box offsets start from."""
    axis = (np.arange(side // STRIDE, dtype=np.float32) + 0.5) * STRIDE
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel()], 1)

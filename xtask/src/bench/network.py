"""A MobileNetV2 in ONNX, its batch norms folded away, with weights that nobody trained."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

# Expansion, channels, repeats, stride of the first: the table of the paper.
BLOCKS = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
]
CLASSES = 1000


class Graph:
    def __init__(self, random):
        self.random, self.nodes, self.weights, self.made = random, [], [], 0

    def weight(self, values):
        self.made += 1
        name = f"w{self.made}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def node(self, kind, inputs, **attributes):
        self.made += 1
        name = f"t{self.made}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(self, x, channels, to, size=1, stride=1, group=1, clipped=True):
        fan_in = channels // group * size * size
        gain = 2.0 if clipped else 1.0
        shape = (to, channels // group, size, size)
        weights = self.weight(self.random.normal(0, (gain / fan_in) ** 0.5, shape))
        bias = self.weight(self.random.normal(0, 0.1, to))
        pad = size // 2
        x = self.node(
            "Conv", [x, weights, bias], kernel_shape=[size, size], strides=[stride, stride],
            pads=[pad, pad, pad, pad], group=group,
        )
        return self.node("Clip", [x, self.zero, self.six]) if clipped else x


def mobilenet_v2(random):
    graph = Graph(random)
    graph.zero, graph.six = graph.weight(0.0), graph.weight(6.0)
    x, channels = graph.conv("input", 3, 32, size=3, stride=2), 32
    for expansion, to, repeats, first_stride in BLOCKS:
        for number in range(repeats):
            stride = first_stride if number == 0 else 1
            x, channels = block(graph, x, channels, to, expansion, stride), to
    x = graph.conv(x, channels, 1280)
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])])
    weights = graph.weight(random.normal(0, 0.05, (1280, CLASSES)))
    graph.nodes.append(
        helper.make_node("Gemm", [x, weights, graph.weight(np.zeros(CLASSES))], ["logits"])
    )
    takes = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 224, 224])
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
    made = helper.make_graph(graph.nodes, "mobilenet_v2", [takes], [gives], graph.weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(made, opset_imports=[opset], ir_version=8)


def block(graph, x, channels, to, expansion, stride):
    wide, y = channels * expansion, x
    if expansion != 1:
        y = graph.conv(y, channels, wide)
    y = graph.conv(y, wide, wide, size=3, stride=stride, group=wide)
    y = graph.conv(y, wide, to, clipped=False)
    return graph.node("Add", [x, y]) if stride == 1 and channels == to else y

"""Writes the small models beside this file, which the tests of this crate load.

    pip install onnx==1.23.2 skl2onnx==1.20.0 scikit-learn==1.9.1
    python make.py
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

HERE = Path(__file__).parent
OPSET = 17
IR_VERSION = 9


def tensor(name, dtype, dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def save(name, nodes, inputs, outputs, initializers=(), opset=OPSET, ir_version=IR_VERSION):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def save_sklearn(name, estimator, **options):
    model = to_onnx(
        estimator,
        initial_types=[("float_input", FloatTensorType([None, 4]))],
        target_opset={"": OPSET, "ai.onnx.ml": 3},
        options={id(estimator): options} if options else None,
    )
    model.ir_version = IR_VERSION
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def sklearn_models():
    features, labels = load_iris(return_X_y=True)
    logistic = LogisticRegression(max_iter=1000).fit(features, labels)
    save_sklearn("iris_logistic", logistic, zipmap=False)
    save_sklearn("iris_zipmap", logistic)
    names = load_iris().target_names[labels]
    save_sklearn("iris_names", LogisticRegression(max_iter=1000).fit(features, names), zipmap=False)
    forest = RandomForestClassifier(8, max_depth=4, random_state=0).fit(features, labels)
    save_sklearn("iris_forest", forest, zipmap=False)
    save_sklearn("iris_regression", LinearRegression().fit(features, labels.astype(np.float32)))


def plain_models():
    identity = [helper.make_node("Identity", ["x"], ["y"])]
    types = {
        "identity_float": TensorProto.FLOAT,
        "identity_double": TensorProto.DOUBLE,
        "identity_half": TensorProto.FLOAT16,
        "identity_int64": TensorProto.INT64,
        "identity_uint8": TensorProto.UINT8,
        "identity_bool": TensorProto.BOOL,
        "identity_string": TensorProto.STRING,
    }
    for name, dtype in types.items():
        dims = ["batch", "width"]
        save(name, identity, [tensor("x", dtype, dims)], [tensor("y", dtype, dims)])
    image = [1, 3, 8, 8]
    floats = TensorProto.FLOAT
    save("identity_image", identity, [tensor("x", floats, image)], [tensor("y", floats, image)])
    save("scalar", identity, [tensor("x", floats, [])], [tensor("y", floats, [])])

    column = ["batch", 1]
    save(
        "two_inputs",
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        [tensor("a", floats, column), tensor("b", floats, column)],
        [tensor("sum", floats, column), tensor("difference", floats, column)],
    )
    save(
        "reshape_to_four",  # Fails within the run unless each row has four numbers.
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [tensor("x", floats, ["batch", "width"])],
        [tensor("y", floats, ["batch", 4])],
        [numpy_helper.from_array(np.array([1, 4], np.int64), "shape")],
    )
    save(
        "square_root",  # Answers NaN for what is below zero, infinity for infinity.
        [helper.make_node("Sqrt", ["x"], ["y"])],
        [tensor("x", floats, ["batch"])],
        [tensor("y", floats, ["batch"])],
    )


def models_of_rows():
    """Models whose first dimension may be of any size; what it is differs."""
    floats = TensorProto.FLOAT
    pair = tensor("x", floats, ["batch", 2])
    table = numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(10, 2), "table")
    save(
        "table",  # Fails within the run on what is not from -10 to 9.
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [tensor("x", TensorProto.INT64, ["batch"])],
        [tensor("y", floats, ["batch", 2])],
        [table],
    )
    zero = numpy_helper.from_array(np.array(0, np.int64), "zero")
    save(
        "running_sum",  # The rows are steps: each answer holds those before it.
        [helper.make_node("CumSum", ["x", "zero"], ["y"])],
        [pair],
        [tensor("y", floats, ["batch", 2])],
        [zero],
    )
    pairs = tensor("y", floats, ["n", 2])
    save(
        "unique_rows",  # A row that was there before does not come out again.
        [helper.make_node("Unique", ["x"], ["y"], axis=0, sorted=0)],
        [pair],
        [pairs],
    )
    first = numpy_helper.from_array(np.array(0, np.int64), "first")
    save(
        "positive_rows",  # Rows that begin with a number below zero do not come out.
        [
            helper.make_node("Gather", ["x", "first"], ["numbers"], axis=1),
            helper.make_node("Cast", ["first"], ["below"], to=floats),
            helper.make_node("GreaterOrEqual", ["numbers", "below"], ["are_positive"]),
            helper.make_node("Compress", ["x", "are_positive"], ["y"], axis=0),
        ],
        [pair],
        [pairs],
        [first],
    )
    one_pair = numpy_helper.from_array(np.array([1, 2], np.float32), "one_pair")
    save(
        "one_pair_at_most",  # Fails within the run on more rows, which nobody can tell before.
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Sub", ["sum", "sum"], ["nothing"]),
            helper.make_node("Add", ["one_pair", "nothing"], ["sizes"]),
            helper.make_node("Cast", ["sizes"], ["shape"], to=TensorProto.INT64),
            helper.make_node("Reshape", ["x", "shape"], ["y"]),
        ],
        [pair],
        [pairs],
        [one_pair],
    )
    save(
        "identity_images",
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", floats, ["batch", 3, 8, 8])],
        [tensor("y", floats, ["batch", 3, 8, 8])],
    )
    save(
        "one_pair",  # The batch is always of one.
        [helper.make_node("Identity", ["x"], ["y"])],
        [tensor("x", floats, [1, 2])],
        [tensor("y", floats, [1, 2])],
    )


def bad_models():
    identity = [helper.make_node("Identity", ["x"], ["y"])]
    floats = TensorProto.FLOAT
    ends = [tensor("x", floats, ["batch"])], [tensor("y", floats, ["batch"])]
    save("opset_too_new", identity, *ends, opset=99)
    save("ir_too_new", identity, *ends, ir_version=99)
    save("unknown_operator", [helper.make_node("NoSuchOperator", ["x"], ["y"])], *ends)
    for name, location in {"external_outside": "../../x", "external_missing": "weights.bin"}.items():
        weights = TensorProto(name="w", data_type=floats, dims=[2])
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
        add = [helper.make_node("Add", ["x", "w"], ["y"])]
        ends = [tensor("x", floats, ["batch", 2])], [tensor("y", floats, ["batch", 2])]
        save(name, add, *ends, initializers=[weights])


if __name__ == "__main__":
    sklearn_models()
    plain_models()
    models_of_rows()
    bad_models()
    total = sum(path.stat().st_size for path in HERE.glob("*.onnx"))
    print(f"{total} bytes in all")

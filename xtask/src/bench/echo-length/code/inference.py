"""The workload "python echo length": what FastAPI's and multi-model-server's scripts do too."""


def model_fn(model_dir):
    return None


def input_fn(data, content_type):
    return data


def predict_fn(data, model):
    return len(data)

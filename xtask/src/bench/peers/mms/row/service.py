"""multi-model-server's side of the row."""

import json

import work

MODEL = work.Row()


def handle(data, context):
    if data is None:
        return None  # It is being loaded.
    bodies = (bytes(next(iter(row.values()))) for row in data)
    return [json.dumps(MODEL.of_csv(body.decode())) for body in bodies]

"""multi-model-server's side of the picture."""

import json

import work

MODEL = work.Picture()


def handle(data, context):
    if data is None:
        return None  # It is being loaded.
    return [json.dumps(MODEL.of_bytes(bytes(next(iter(row.values()))))) for row in data]

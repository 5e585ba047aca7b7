"""multi-model-server's side of the row."""

import json

import work

MODEL = work.Row()


def handle(data, context):
    if data is None:
        return None  # It is being loaded.
    # text/csv comes as a str.
    return [json.dumps(MODEL.of_csv(next(iter(row.values())))) for row in data]

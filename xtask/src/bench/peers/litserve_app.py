"""LitServe's side: JSON in and out, pictures and bytes in base64 as in its documentation."""

import base64
import os
import sys

import litserve
import work

WORKLOAD = os.environ["BENCH_WORKLOAD"]


class Api(litserve.LitAPI):
    def setup(self, device):
        self.row = work.Row() if WORKLOAD == "row" else None
        self.picture = work.Picture() if WORKLOAD == "image" else None

    def decode_request(self, request):
        return request["input"]

    def predict(self, value):
        if self.row:
            return self.row.of_values(value)
        if self.picture:
            return self.picture.of_bytes(base64.b64decode(value))
        return value

    def encode_response(self, output):
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(
        Api(), accelerator="cpu", workers_per_device=int(sys.argv[2]), timeout=60, fast_queue=True,
        max_payload_size=20_000_000,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning",
    )

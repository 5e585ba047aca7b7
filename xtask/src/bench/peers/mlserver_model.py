"""MLServer's side: the Open Inference Protocol in JSON."""

import os

import work
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

WORKLOAD = os.environ["BENCH_WORKLOAD"]


class Bench(MLModel):
    async def load(self):
        self.row = work.Row() if WORKLOAD == "row" else None
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        if self.row:
            values = list(given.data)
            answer = self.row.of_values([values])
            outputs = [
                ResponseOutput(name="label", shape=[1], datatype="INT64", data=answer["label"]),
                ResponseOutput(
                    name="probabilities", shape=[1, 3], datatype="FP32",
                    data=answer["probabilities"][0],
                ),
            ]
        else:
            outputs = [
                ResponseOutput(
                    name="body", shape=given.shape, datatype="BYTES", data=list(given.data)
                )
            ]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)

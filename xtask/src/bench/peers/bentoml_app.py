"""BentoML's side: JSON in and out, a picture as the body itself."""

import os
import typing
from pathlib import Path

import bentoml
import work

WORKLOAD = os.environ["BENCH_WORKLOAD"]
WORKERS = int(os.environ["BENCH_WORKERS"])


@bentoml.service(
    workers=WORKERS, traffic={"timeout": 60}, metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Bench:
    def __init__(self):
        self.row = work.Row() if WORKLOAD == "row" else None
        self.picture = work.Picture() if WORKLOAD == "image" else None

    if WORKLOAD == "row":

        @bentoml.api(route="/invocations")
        async def invocations(self, rows: list[list[float]]) -> dict:
            return self.row.of_values(rows)

    elif WORKLOAD == "image":

        @bentoml.api(route="/invocations")
        def invocations(
            self, body: typing.Annotated[Path, bentoml.validators.ContentType("image/jpeg")], /
        ) -> list:
            return self.picture.of_bytes(body.read_bytes())

    else:

        @bentoml.api(route="/invocations")
        async def invocations(self, body: str) -> str:
            return body

"""FastAPI's side. Models run in its thread pool, as in any handler that is no coroutine."""

import os

import work
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

app = FastAPI()
WORKLOAD = os.environ["BENCH_WORKLOAD"]


async def body(request: Request):
    return await request.body()


if WORKLOAD == "row":
    row = work.Row()

    # A row takes microseconds: a hand-over to a thread would cost more.
    @app.post("/invocations")
    async def invocations(body: bytes = Depends(body)):
        return JSONResponse(row.of_csv(body.decode()))

elif WORKLOAD == "image":
    picture = work.Picture()

    @app.post("/invocations")
    def invocations(body: bytes = Depends(body)):
        return JSONResponse(picture.of_bytes(body))

else:

    @app.post("/invocations")
    async def invocations(request: Request):
        return Response(await request.body(), media_type="application/octet-stream")

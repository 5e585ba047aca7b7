"""FastAPI's side of "python echo length"."""

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/invocations")
async def invocations(request: Request):
    body = await request.body()
    return Response(str(len(body)), media_type="application/json")

"""A FastAPI app as people have it already: it knows nothing of SageMaker."""

import os

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI()


class Row(BaseModel):
    values: list[float]


@app.get("/health")
def health():
    return {"status": "ok"}


@app.post("/predict")
def predict(row: Row):
    if not row.values:
        raise HTTPException(422, "no values")
    if row.values == [0.0]:
        raise RuntimeError("zero is not expected")
    if row.values == [-1.0]:
        os._exit(7)
    return {"sum": sum(row.values), "greeting": os.environ.get("GREETING")}

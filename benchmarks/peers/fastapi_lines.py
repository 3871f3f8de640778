"""FastAPI and JSON lines, an example a chunk: ``python fastapi_lines.py FILE...`` serves them and prints its port."""

import json
import socket
import sys

import datasets
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
data = datasets.concatenate_datasets([datasets.Dataset.from_file(file) for file in sys.argv[1:]])


@app.get("/iter")
def lines():
    made = (json.dumps(example, default=str) + "\n" for example in data)
    return StreamingResponse(made, media_type="application/x-ndjson")


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])

"""A program that keeps sessions in its memory, by the standard library alone."""

import os
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SESSIONS = {}
# What a call says, and what its answer has a header of.
ID, NEW, CLOSED = (f"X-Amzn-SageMaker-{name}Session-Id" for name in ("", "New-", "Closed-"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(b"", {})

    def do_POST(self):
        said = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        session, headers = self.headers.get(ID), {}
        if session == "NEW_SESSION":
            session = str(uuid.uuid4())
            SESSIONS[session] = []
            headers[NEW] = f"{session}; Expires=2100-01-01T00:00:00Z"
        words = SESSIONS.get(session, ["no session"])
        words.append(said)
        if said == "close":
            del SESSIONS[session]
            headers[CLOSED] = session
        self._answer(" ".join(words).encode(), headers)

    def _answer(self, body, headers):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()

"""The container contract by the standard library alone, with answers in chunks."""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.gate = body.get("gate")
        try:
            self._answer(body["steps"])
        finally:
            if body.get("finally"):
                tell(self.gate, "note " + body["finally"])

    def _answer(self, steps):
        first, value = steps[0]
        if first == "status":
            self.send_response(value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200)
        self.send_header("Content-Type", "text/x-chunks")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for step, value in steps:
            if step == "say":
                self._chunk(value.encode())
            elif step == "wait":
                tell(self.gate, "wait " + value)
            elif step == "endless":
                while True:
                    self._chunk(b"x" * value)
            elif step == "cut":
                self.close_connection = True
                return
            elif step == "exit":
                os._exit(value)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, part):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def log_message(self, *_):
        pass


def tell(address, words):
    """Returns when the test allows it."""
    with socket.create_connection(address, 30) as gate:
        gate.sendall(words.encode())
        gate.shutdown(socket.SHUT_WR)
        gate.recv(1)


if __name__ == "__main__":
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()

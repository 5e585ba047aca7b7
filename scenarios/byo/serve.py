"""The container contract by the standard library alone: /ping and /invocations, or as told."""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(200 if self.path in ("/ping", "/health") else 404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path not in ("/invocations", "/predict"):
            return self._answer(404, b"")
        if body == b"busy":
            return self._answer(429, b"come back later", "text/plain")
        if body == b"broken":
            return self._answer(503, b"\xff not text", "application/octet-stream")
        if body == b"slow":
            print("slow began", flush=True)
            time.sleep(1)
        if body == b"about":
            headers = {name.lower(): value for name, value in self.headers.items()}
            about = {
                "arguments": sys.argv[1:], "headers": headers, "environment": dict(os.environ),
                "path": self.path,
            }
            return self._answer(200, json.dumps(about).encode(), "application/json")
        self._answer(200, body[::-1], self.headers.get("Content-Type"))

    def _answer(self, status, body, content_type=None):
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", f"status={status}")
        self.send_header("X-Of-Its-Own", "stays inside")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def end(*_):
        print("SIGTERM was seen", flush=True)
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["fail"]:
        print("there is no licence")
        sys.exit(4)
    main()

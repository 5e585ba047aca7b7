"""The multi-model container contract by the standard library alone, with room for two models."""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOM = 2
LOCK = threading.Lock()
WORDS = {}
URLS = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self._name()
        if self.path == "/ping":
            self._answer(200)
        elif self.path.split("?")[0] == "/models":
            self._answer(200, {"models": [self._describe(name) for name in list(WORDS)]})
        elif name in WORDS:
            self._answer(200, self._describe(name))
        else:
            self._answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/models":
            self._answer(*self._load(json.loads(body)))
        elif self.path.endswith("/invoke") and self._name() in WORDS:
            target = self.headers["X-Amzn-SageMaker-Target-Model"]
            word = WORDS[self._name()]
            self._answer(200, {"word": word, "target": target, "asked": json.loads(body)})
        else:
            self._answer(404)

    def do_DELETE(self):
        with LOCK:
            known = WORDS.pop(self._name(), None) is not None
        print("unloaded", flush=True)
        self._answer(200 if known else 404)

    def _load(self, model):
        name, url = model["model_name"], model["url"]
        with LOCK:
            if name in WORDS:
                return 409, {}
            if len(WORDS) >= ROOM:
                print("no room", flush=True)
                return 507, {}
            WORDS[name] = Path(url, "word.txt").read_text()
            URLS[name] = url
        print("loaded", WORDS[name], flush=True)
        return 200, {}

    def _describe(self, name):
        return {"modelName": name, "modelUrl": URLS[name]}

    def _name(self):
        parts = self.path.split("/")
        return parts[2] if len(parts) > 2 else None

    def _answer(self, status, body=None):
        body = json.dumps(body or {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()

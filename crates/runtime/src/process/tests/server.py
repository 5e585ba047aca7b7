"""A model server of the standard library alone, which does what the body of a call says."""

import json
import os
import signal
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PING = os.environ.get("PING", "/ping")
MODELS = {}
DEAF = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, text, **headers):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == PING and not DEAF:
            return self.reply(200, "")
        self.reply(404, "no such page")

    def do_DELETE(self):
        known = MODELS.pop(self.path.rsplit("/", 1)[1], None)
        self.reply(200 if known else 404, "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/models":
            return self.load(json.loads(body))
        if self.path.startswith("/models/"):
            return self.ask(self.path.split("/")[2], body)
        verb, _, rest = body.partition(" ")
        return getattr(self, verb)(rest)

    def load(self, request):
        name, url = request["model_name"], request["url"]
        if name in MODELS:
            return self.reply(409, "loaded already")
        weights = open(os.path.join(url, "weights")).read()
        if weights == "slow":
            time.sleep(600)
        if weights == "deadly":
            os._exit(4)
        if weights == "huge":
            return self.reply(507, "no memory")
        if weights == "bad":
            return self.reply(400, "bad weights")
        MODELS[name] = weights
        self.reply(200, "")

    def ask(self, name, body):
        if body == "forget":
            MODELS.pop(name)
        if name not in MODELS:
            return self.reply(404, "unknown model")
        if body == "overflow":
            return self.reply(507, "no memory")
        self.reply(200, MODELS[name] + " " + self.headers["X-Amzn-SageMaker-Target-Model"])

    def echo(self, text):
        self.reply(200, text)

    def attributes(self, _):
        attributes = self.headers["X-Amzn-SageMaker-Custom-Attributes"]
        self.reply(200, "", X_Amzn_SageMaker_Custom_Attributes=attributes + ";seen")

    def status(self, text):
        self.reply(int(text), "it is a " + text)

    def sleep(self, seconds):
        time.sleep(float(seconds))
        self.reply(200, "slept")

    def die(self, code):
        os._exit(int(code))

    def env(self, name):
        self.reply(200, os.environ.get(name, "none"))

    def read(self, path):
        self.reply(200, open(os.path.expandvars(path)).read())

    def spawn(self, _):
        os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ)
        self.reply(200, "")

    def say(self, text):
        print(text, flush=True)
        print("error: " + text, file=sys.stderr, flush=True)
        self.reply(200, "")

    def deaf(self, _):
        global DEAF
        DEAF = True
        self.reply(200, "")


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
at = sys.argv[1] if len(sys.argv) > 1 else os.environ["SAGEMAKER_BIND_TO_PORT"]
if at == "crash":
    print("Traceback: no module named torch", file=sys.stderr)
    sys.exit(7)
if at == "mute":
    time.sleep(600)
if at.startswith("/"):
    UnixServer(at, Handler).serve_forever()
try:
    server = ThreadingHTTPServer(("127.0.0.1", int(at)), Handler)
except OSError:
    if os.environ.get("LINGER"):
        time.sleep(600)
    raise
server.serve_forever()

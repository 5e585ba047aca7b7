"""A collector of traces and metrics, as OpenTelemetry's OTLP over HTTP has them in JSON."""

import http.server
import json
import threading

import support


class Span:
    """One span that was told, with its attributes as a dictionary."""

    def __init__(self, told, service):
        self.service = service
        self.name, self.kind, self.trace = told["name"], told["kind"], told["traceId"]
        self.id, self.parent = told["spanId"], told.get("parentSpanId")
        self.state = told.get("traceState")
        self.began, self.ended = int(told["startTimeUnixNano"]), int(told["endTimeUnixNano"])
        self.attributes = {one["key"]: _value(one["value"]) for one in told["attributes"]}
        self.links = [link["spanId"] for link in told.get("links", [])]
        self.failed = told["status"].get("code") == 2

    def __repr__(self):
        return f"{self.name} {self.id} of {self.parent}"


class Collector:
    """Listens on 127.0.0.1 until the end of its `with`."""

    def __init__(self):
        self.spans = []
        self.metrics = {}
        self.refusals = []

    def __enter__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def of(self, trace, *names):
        """The spans of a trace, once they are those `names`, in the order of their beginnings."""

        def look():
            found = [span for span in list(self.spans) if span.trace == trace]
            return found if sorted(span.name for span in found) == sorted(names) else None

        found = support.wait_for(look, f"{names} in {self.spans}", 30)
        return sorted(found, key=lambda span: names.index(span.name))

    def whole(self, root, *names):
        """The spans of the only trace whose root has that name."""

        def look():
            return [span.trace for span in list(self.spans) if span.name == root]

        (trace,) = support.wait_for(look, root)
        return self.of(trace, root, *names)

    def named(self, trace, name):
        """The spans of a trace with that name, so far."""
        return [span for span in list(self.spans) if (span.trace, span.name) == (trace, name)]

    def _handler(collector):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = 200
                if self.path == "/v1/metrics":
                    collector.metrics |= _metrics(json.loads(body))
                elif self.path != "/v1/traces":
                    status = 404
                elif collector.refusals:
                    status = collector.refusals.pop()
                else:
                    collector.spans += _spans(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        return Handler


def _spans(request):
    for one in request["resourceSpans"]:
        named = {it["key"]: _value(it["value"]) for it in one["resource"]["attributes"]}
        for scope in one["scopeSpans"]:
            yield from (Span(told, named["service.name"]) for told in scope["spans"])


def _metrics(request):
    """The newest points by the names of their metrics."""
    (one,) = request["resourceMetrics"]
    (scope,) = one["scopeMetrics"]
    return {metric["name"]: metric for metric in scope["metrics"]}


def _value(value):
    (kind, told), = value.items()
    return int(told) if kind == "intValue" else told

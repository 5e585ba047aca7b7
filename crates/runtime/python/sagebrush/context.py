"""What a function of `inference.py` may know of its call, and say of its answer.

The methods are those of the model servers in SageMaker's images; they take an index of the call
in its batch, which is always 0 here.
"""

CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
NEW_SESSION = "x-amzn-sagemaker-new-session-id"
CLOSED_SESSION = "x-amzn-sagemaker-closed-session-id"


class Context:
    """One call. Made for each, so it parses nothing until it is asked."""

    __slots__ = ("_system", "request_id", "content_type", "accept", "_raw", "_headers", "_answer")

    def __init__(self, system, request_id, content_type, accept, headers):
        self._system = system
        self.request_id = request_id
        self.content_type = content_type
        self.accept = accept
        self._raw = headers
        self._headers = None
        self._answer = None

    @property
    def headers(self):
        """The call's headers, found by names in any case."""
        if self._headers is None:
            raw = self._raw
            headers = Headers(zip(raw[::2], raw[1::2]))
            if self.content_type is not None:
                headers["content-type"] = self.content_type
            if self.accept is not None:
                headers["accept"] = self.accept
            self._headers = headers
        return self._headers

    @property
    def custom_attributes(self):
        """`CustomAttributes` of the call; set it to give the answer its own."""
        return self._header(CUSTOM_ATTRIBUTES)

    @custom_attributes.setter
    def custom_attributes(self, value):
        self.set_response_header(0, CUSTOM_ATTRIBUTES, value)

    @property
    def inference_id(self):
        return self._header("x-amzn-sagemaker-inference-id")

    @property
    def session_id(self):
        return self._header("x-amzn-sagemaker-session-id")

    @property
    def target_model(self):
        return self._header("x-amzn-sagemaker-target-model")

    @property
    def target_variant(self):
        return self._header("x-amzn-sagemaker-target-variant")

    @property
    def system_properties(self):
        return self._system

    @property
    def manifest(self):
        return self._system.get("manifest", {})

    @property
    def model_name(self):
        return self._system.get("model_name")

    @property
    def metrics(self):
        return Metrics(self.request_id)

    @property
    def request_processor(self):
        return [RequestProcessor(self)]

    def get_request_id(self, idx=0):
        return self.request_id

    def get_request_header(self, idx, key):
        return self._header(key.lower())

    def get_all_request_header(self, idx):
        return self.headers

    def get_response_headers(self, idx):
        return {} if self._answer is None else self._answer.headers

    def set_response_header(self, idx, key, value):
        self._answering().headers[key] = value

    def get_response_content_type(self, idx):
        return self.response_content_type

    def set_response_content_type(self, idx, value):
        self._answering().headers["content-type"] = value

    def get_response_status(self, idx):
        if self._answer is None:
            return 200, ""
        return self._answer.status, self._answer.phrase

    def set_response_status(self, code=200, phrase="", idx=0):
        answer = self._answering()
        answer.status = int(code)
        answer.phrase = phrase

    # The names that the older of the two model servers has for them.
    get_http_response_status = get_response_status
    set_http_response_status = set_response_status

    @property
    def has_answer(self):
        """True if the author set anything of the answer."""
        return self._answer is not None

    @property
    def response_content_type(self):
        """The type that the author set; None when they set none."""
        return None if self._answer is None else self._answer.headers.get("content-type")

    @property
    def response_status(self):
        return 200 if self._answer is None else self._answer.status

    @property
    def response_custom_attributes(self):
        return None if self._answer is None else self._answer.headers.get(CUSTOM_ATTRIBUTES)

    @property
    def response_sessions(self):
        """The session that the answer begins, and the one that it closes."""
        headers = {} if self._answer is None else self._answer.headers
        return headers.get(NEW_SESSION), headers.get(CLOSED_SESSION)

    def _header(self, name):
        """One header, without making a dict of all of them."""
        if self._headers is None:
            if name == "content-type":
                return self.content_type
            if name == "accept":
                return self.accept
            raw = self._raw
            for at in range(0, len(raw), 2):
                if raw[at] == name:
                    return raw[at + 1]
            return None
        return self._headers.get(name)

    def _answering(self):
        if self._answer is None:
            self._answer = _Answer()
        return self._answer


class Headers(dict):
    """A dict with names in lower case that is asked with names in any case."""

    def __init__(self, pairs=()):
        super().__init__((name.lower(), value) for name, value in pairs)

    def __setitem__(self, name, value):
        super().__setitem__(name.lower(), value if value is None else str(value))

    def __getitem__(self, name):
        return super().__getitem__(name.lower())

    def __contains__(self, name):
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name, default=None):
        return super().get(name.lower(), default)


class RequestProcessor:
    """The same call as the model servers show it beneath their context."""

    __slots__ = ("_context",)

    def __init__(self, context):
        self._context = context

    def get_request_properties(self):
        return self._context.headers

    def get_request_property(self, key):
        return self._context.get_request_header(0, key)

    def report_status(self, code, reason_phrase=None):
        self._context.set_response_status(code, reason_phrase or "")

    def get_response_status_code(self):
        return self._context.response_status

    def get_response_status_phrase(self):
        return self._context.get_response_status(0)[1]

    def add_response_property(self, key, value):
        self._context.set_response_header(0, key, value)

    def get_response_headers(self):
        return self._context.get_response_headers(0)

    get_response_header = get_response_headers


class Metrics:
    """Prints each metric, so that the endpoint's log has it."""

    __slots__ = ("_request_id",)

    def __init__(self, request_id):
        self._request_id = request_id

    def add_counter(self, name, value, idx=None, dimensions=None):
        self._print(name, value, "count")

    def add_time(self, name, value, idx=None, unit="ms", dimensions=None):
        self._print(name, value, unit)

    def add_size(self, name, value, idx=None, unit="MB", dimensions=None):
        self._print(name, value, unit)

    def add_percent(self, name, value, idx=None, dimensions=None):
        self._print(name, value, "percent")

    def add_error(self, name, value, dimensions=None):
        self._print(name, value, "error")

    def add_metric(self, name, value, idx=None, unit=None, dimensions=None, **more):
        self._print(name, value, unit or "")

    def _print(self, name, value, unit):
        print("[METRICS]%s.%s:%s|#RequestId:%s" % (name, unit, value, self._request_id), flush=True)


class _Answer:
    __slots__ = ("status", "phrase", "headers")

    def __init__(self):
        self.status = 200
        self.phrase = ""
        self.headers = Headers()

"""Threads that call an endpoint, without a pause or so many times a second."""

import http.client
import threading
import time

import raw
import support


class Load:
    """Calls from threads of its own; keeps the answers, how long they took, and what went wrong."""

    def __init__(self, client, endpoint, body, read, *, threads=8, content_type="text/csv"):
        # Each thread has a client of its own: their connections are not shared.
        self.clients = [
            client("sagemaker-runtime", config={"user_agent_extra": f"load-{i}"})
            for i in range(threads)
        ]
        self.call = {
            "EndpointName": endpoint, "Body": body, "ContentType": content_type,
            "Accept": content_type,
        }
        self.read = read
        self.over = threading.Event()
        self.answers = [[] for _ in range(threads)]
        self.seconds = []
        self.errors = []
        self.threads = [
            threading.Thread(target=self._call, args=(i,), daemon=True) for i in range(threads)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def _call(self, i):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                answer = self.clients[i].invoke_endpoint(**self.call)
                self.answers[i].append(self.read(answer["Body"].read()))
            except Exception as error:  # noqa: BLE001, any error is what the test looks for.
                self.errors.append(error)
            self.seconds.append(time.monotonic() - began)

    def at_least(self, n):
        """Waits until every thread has `n` more answers than now."""
        start = [len(answers) for answers in self.answers]

        def got_there():
            return self.errors or all(
                len(answers) >= before + n
                for answers, before in zip(self.answers, start, strict=True)
            )

        support.wait_for(got_there, f"{n} answers a thread", 60)

    def slowest(self):
        return max(self.seconds)


class Stream:
    """So many calls a second from threads of its own, by bare HTTP: few clients can do as many.

    A thread that is behind calls without a pause, so all of them together have at most as many
    calls under way as there are threads.
    """

    def __init__(self, url, endpoint, body, *, rate, threads=16, content_type="application/json"):
        self.url, self.body = url, body
        self.path = f"/endpoints/{endpoint}/invocations"
        self.headers = raw.signed_headers(
            url, "sagemaker", "POST", self.path, body, {"Content-Type": content_type}
        )
        self.every = threads / rate
        self.answers, self.errors = [], []  # `append` is atomic.
        self.slowest, self.seconds, self.over = 0.0, 0.0, threading.Event()
        self.threads = [
            threading.Thread(target=self._call, args=(i / rate,), daemon=True)
            for i in range(threads)
        ]

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        self.seconds = time.monotonic() - self.began

    @property
    def rate(self):
        """The calls a second that were answered, on average."""
        return len(self.answers) / self.seconds

    def more(self, n):
        """Waits for `n` more answers."""
        wanted = len(self.answers) + n
        support.wait_for(
            lambda: self.errors or len(self.answers) >= wanted, f"{n} more answers", 60
        )

    def _call(self, offset):
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=90)
        due = self.began + offset
        while not self.over.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            due = max(due + self.every, began)
            try:
                connection.request("POST", self.path, body=self.body, headers=self.headers)
                answer = connection.getresponse()
                told = answer.read()
                (self.answers if answer.status == 200 else self.errors).append(told)
            except Exception as error:  # noqa: BLE001, any error is what the test looks for.
                self.errors.append(error)
                connection.close()
            self.slowest = max(self.slowest, time.monotonic() - began)
        connection.close()

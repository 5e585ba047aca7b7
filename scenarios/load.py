"""Threads that call an endpoint without a pause."""

import threading
import time

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

"""The server's /metrics, as Prometheus would read it."""

import re
import urllib.request

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def value(url, metric, **labels):
    """The sum of the metric's series that have these labels; 0 if there is none."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    total = 0.0
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or found[1] != metric:
            continue
        seen = dict(_LABEL.findall(found[2] or ""))
        if labels.items() <= seen.items():
            total += float(found[3])
    return total

"""Requests that no client library would send, signed by botocore or not at all."""

import http.client
import urllib.parse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import support


def signed(url, service, method, path, body=b"", headers=None, key=support.KEY,
           secret=support.SECRET, region=support.REGION, date=None):
    """Signs and sends; `date` signs as if it were then. Returns status, headers and body."""
    headers = signed_headers(url, service, method, path, body, headers, key, secret, region, date)
    return send(url, method, path, body, headers)


def signed_headers(url, service, method, path, body=b"", headers=None, key=support.KEY,
                   secret=support.SECRET, region=support.REGION, date=None):
    """The headers of a signed request, without those that a client adds when it sends."""
    request = AWSRequest(method, url + path, headers=dict(headers or {}), data=body)
    auth = SigV4Auth(Credentials(key, secret), service, region)
    if date is None:
        auth.add_auth(request)
    else:
        _sign_at(auth, request, date)
    return dict(request.headers.items())


def _sign_at(auth, request, date):
    """`add_auth` with a clock of our own."""
    request.context["timestamp"] = date.strftime("%Y%m%dT%H%M%SZ")
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    to_sign = auth.string_to_sign(request, canonical)
    auth._inject_signature_to_request(request, auth.signature(to_sign, request))


def send(url, method, path, body=b"", headers=None):
    """Sends as it is. Returns status, headers (lower case) and body."""
    host = urllib.parse.urlsplit(url).netloc
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        try:
            connection.request(method, path, body=body, headers=headers or {})
        except (BrokenPipeError, ConnectionResetError):
            pass  # Refused before all was sent: the answer is there to be read.
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def target(operation):
    return {
        "X-Amz-Target": f"SageMaker.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
    }

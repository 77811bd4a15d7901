"""HTTP for tool sources: allowed hosts only, no redirects, bounded time and size, retries of what is safe to repeat.

A host that was not named by a person must have a public address; see `alpha_umi.tools.http.addresses`.

Whatever the server does wrong becomes a `ToolException` in words for the model. Credentials are put in below httpx, so
that neither its log lines nor its exceptions ever hold one, and what comes back is searched for them.
"""

from __future__ import annotations

import random
import re
import time
import weakref
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from threading import Lock
from typing import TypeAlias
from urllib.request import getproxies, proxy_bypass

import httpx
from langchain_core.tools import ToolException

from alpha_umi.errors import ConfigError
from alpha_umi.tools.deadline import CutOff, DeadlinePassed, time_left, within
from alpha_umi.tools.forks import renew_after_fork
from alpha_umi.tools.http.addresses import PrivateAddress, names_private_address, resolve_public
from alpha_umi.tools.http.breaker import DEFAULT_REMOTE, BreakerOpen, RemoteSettings, get_breaker
from alpha_umi.tools.http.credentials import Credential, is_loopback
from alpha_umi.tools.http.network import keep_deadlines
from alpha_umi.tools.http.redaction import hiding, redact, redact_bytes
from alpha_umi.tools.observation import cut

Credentials: TypeAlias = Sequence[Credential]

_PASSING_STATUSES = frozenset({429, 502, 503})
_FAULT_STATUSES = _PASSING_STATUSES | {504}
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MAX_FAULT_CHARS = 1000
_PIECE_BYTES = 65_536
_NO_ENCODINGS = ("", "identity")
_ENCODINGS = ("gzip", "x-gzip", "deflate")
_NO_CHARSETS = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem")  # Python's own
_BINARY = re.compile(r"(image|audio|video|font)/|application/(pdf|zip|gzip|octet-stream)")
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{0,300})</title>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered with a status of success, 200 to 299; credentials are already hidden.

    The media type is in lower case, without parameters; instead of binary data the text is a short note.
    """

    status: int
    media_type: str
    text: str
    is_cut: bool


class _FailedAttempt(ToolException):
    """`wait_s` is None where trying again makes no sense; `is_server_fault` counts against the server.

    `cut_off` says how an answer failed to come to a request that the server may have read.
    """

    def __init__(
        self, message: str, wait_s: float | None = None, *, is_server_fault: bool = False, cut_off: str = ""
    ) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.is_server_fault = is_server_fault
        self.cut_off = cut_off


class HttpClient:
    """Sends requests of one tool source; safe to use from several threads."""

    def __init__(
        self,
        *,
        allowed_hosts: Collection[str],
        timeout_s: float,
        max_response_bytes: int,
        private_hosts: Collection[str] = (),
        remote: RemoteSettings = DEFAULT_REMOTE,
    ) -> None:
        """Open no connection yet.

        Args:
            allowed_hosts: ``host`` (any port) or ``host:port``.
            timeout_s: Seconds for a call with all its retries.
            max_response_bytes: Longer bodies are cut while they arrive.
            private_hosts: Those of the allowed hosts, written the same way, that may be on this machine or network.
            remote: How often a request is tried, and when a server is left alone.
        """
        if not timeout_s > 0 or max_response_bytes < 1:
            raise ConfigError(
                f"timeout_s is {timeout_s} and max_response_bytes is {max_response_bytes}; both must be above 0."
            )
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._timeout_s = timeout_s
        self._max_bytes = max_response_bytes
        self._remote = remote
        self._client = httpx.Client(transport=_SigningTransport(), follow_redirects=False)
        # Tools are handed around and nobody closes them; the connections end when the last tool is gone.
        weakref.finalize(self, self._client.close)

    def allows(self, url: str) -> bool:
        """Say whether requests to an address may be sent."""
        try:
            parts = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError):
            return False
        if parts.scheme not in ("http", "https") or self._allowed_hosts.isdisjoint(_list_names(parts)):
            return False
        return self._may_be_private(parts) or not names_private_address(parts.host)

    def _may_be_private(self, url: httpx.URL) -> bool:
        return not self._private_hosts.isdisjoint(_list_names(url))

    def send(
        self, request: httpx.Request, *, is_idempotent: bool, credentials: Credentials = (), behind: str = ""
    ) -> Reply:
        """Send a request without credentials, which are added on the wire, and return the server's answer.

        Only what is idempotent is tried again. Of several services behind a server, the one that `behind` names is left
        alone by itself when it fails.

        Raises:
            ToolException: If there is no answer, its status is not one of success, or the server is left alone;
                `CutOff` if a request that is not idempotent may have taken effect.
        """
        if not self.allows(str(request.url)):
            raise ToolException(f"the host {request.url.host} is not allowed. Use another tool.")
        # The body must say how long it is, and a compressed one does not.
        request.headers["Accept-Encoding"] = "identity"
        request.extensions["credentials"] = tuple(credentials)
        request.extensions["may_be_private"] = self._may_be_private(request.url)
        over_s = time_left()
        with within(self._timeout_s):
            try:
                with hiding(_list_secrets(credentials)):
                    return self._send(request, is_idempotent, credentials, behind)
            except _FailedAttempt as fault:
                if over_s <= self._timeout_s and not time_left():  # the caller's time, and not only ours
                    raise DeadlinePassed(str(fault)) from None
                if fault.cut_off and not is_idempotent:
                    raise CutOff(fault.cut_off) from None
                raise

    def _send(self, request: httpx.Request, is_idempotent: bool, credentials: Credentials, behind: str) -> Reply:
        breaker = get_breaker(f"{request.url.netloc.decode()} {behind}".strip(), self._remote)
        n_retries = self._remote.retries if is_idempotent else 0
        last: _FailedAttempt | None = None
        for n in count():
            try:
                with breaker.guard(lambda error: isinstance(error, _FailedAttempt) and error.is_server_fault):
                    return self._attempt(request, credentials)
            except BreakerOpen as closed:
                raise last or closed from None
            except _FailedAttempt as fault:
                last = fault
                if fault.wait_s is None or n == n_retries:
                    raise
                wait_s = max(fault.wait_s, self._remote.backoff_s * 2**n * random.uniform(0.5, 1.5))
                if wait_s >= time_left():
                    raise
            time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _attempt(self, request: httpx.Request, credentials: Credentials) -> Reply:
        # What httpx says of a failure may quote a header, so none of it is passed on.
        host = request.url.host
        request.extensions["timeout"] = httpx.Timeout(max(time_left(), 0.01)).as_dict()
        try:
            response = self._client.send(request, stream=True)
            try:
                body, is_cut = self._read_body(response, credentials)
            finally:
                response.close()
        except httpx.TimeoutException as error:
            what = f"{host} did not answer within {self._timeout_s:g} s"
            cut_off = "" if isinstance(error, _NOT_SENT) else what
            raise _FailedAttempt(f"{what}. Try again later.", is_server_fault=True, cut_off=cut_off) from None
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            message = f"{host} cannot be reached ({type(error).__name__}). Try another tool."
            cut_off = "" if isinstance(error, _NOT_SENT) else f"{host} gave no answer ({type(error).__name__})"
            raise _FailedAttempt(message, wait_s=0.0, is_server_fault=True, cut_off=cut_off) from None
        except PrivateAddress:
            raise _FailedAttempt(f"{host} is in a private network, which is not allowed. Use another tool.") from None
        except zlib.error:
            what = f"{host} sent a body that cannot be decompressed"
            raise _FailedAttempt(f"{what}. Try another tool.", cut_off=what) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise _FailedAttempt(f"the request cannot be sent ({type(error).__name__}). Try other arguments.") from None
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not response.is_success:
            raise _describe_failure(response, media_type, body)
        return Reply(response.status_code, media_type, body, is_cut)

    def _read_body(self, response: httpx.Response, credentials: Credentials) -> tuple[str, bool]:
        """Return the text of the body and whether it was cut."""
        media_type = response.headers.get("Content-Type", "")
        if _BINARY.match(media_type.lower()):
            size = response.headers.get("Content-Length", "unknown")
            return f"({media_type}, {size} bytes, not shown)", False
        secrets = _list_secrets(credentials)
        # A secret at the cut must be there as a whole to be hidden; encoded twice, a character takes some thirty bytes.
        n_wanted = self._max_bytes + 32 * max(map(len, secrets), default=0)
        body = bytearray()
        for chunk in _iter_decompressed(response):
            body += chunk
            if not time_left():
                raise httpx.ReadTimeout("the deadline for the whole call has passed")
            if len(body) > n_wanted:
                break
        encoding = response.charset_encoding or "utf-8"
        text = redact(_decode(redact_bytes(bytes(body), secrets), encoding), secrets)
        if len(body) <= self._max_bytes:
            return text, False
        return text.encode()[: self._max_bytes].decode(errors="ignore"), True


def _list_names(url: httpx.URL) -> set[str]:
    """Return the names by which the host of an address can be allowed."""
    host = f"[{url.host}]" if ":" in url.host else url.host.lower()
    return {host, f"{host}:{url.port or (443 if url.scheme == 'https' else 80)}"}


def _iter_decompressed(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body in small pieces; httpx would blow up one compressed piece of 64 kB to any size."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in _NO_ENCODINGS:
        yield from response.iter_raw()
        return
    if encoding not in _ENCODINGS:  # some servers compress although they were asked not to
        raise zlib.error("unknown encoding")
    decoder = zlib.decompressobj(wbits=47)
    for chunk in response.iter_raw():
        while chunk and not decoder.eof:
            yield decoder.decompress(chunk, _PIECE_BYTES)
            chunk = decoder.unconsumed_tail
        if decoder.eof:  # a server that keeps sending would be read for ever
            return


class _SigningTransport(httpx.BaseTransport):
    """Puts credentials into requests, connects to checked addresses, and uses the proxies of the environment."""

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        self._routes: dict[str | None, httpx.HTTPTransport] = {}
        self._lock = Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url, headers = request.url, request.headers.copy()
        for credential in request.extensions.get("credentials", ()):
            if credential.place == "header":
                headers[credential.name] = credential.read()
            elif credential.place == "query":
                url = url.copy_set_param(credential.name, credential.read())
            else:
                pair = f"{credential.name}={credential.read()}"
                headers["Cookie"] = f"{headers['Cookie']}; {pair}" if "Cookie" in headers else pair
        signed = httpx.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
        )
        proxy = _find_proxy(url)
        if proxy or request.extensions.get("may_be_private"):
            response = self._route(proxy).handle_request(signed)  # a proxy looks up names by itself
        else:
            response = self._connect(signed)
        return _hide_head(response, _list_secrets(request.extensions.get("credentials", ())))

    def _connect(self, request: httpx.Request) -> httpx.Response:
        """Send a request to one of the addresses that were checked, under the name of its host."""
        url = request.url
        try:
            addresses = resolve_public(url.host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError("no such host") from error
        if url.host not in addresses:
            request.extensions = {**request.extensions, "sni_hostname": url.host}
        for address in addresses[:-1]:
            request.url = url.copy_with(host=address)
            try:
                return self._route(None).handle_request(request)
            except httpx.ConnectError:
                continue
        request.url = url.copy_with(host=addresses[-1])
        return self._route(None).handle_request(request)

    def close(self) -> None:
        for transport in self._routes.values():
            transport.close()

    def _route(self, proxy: str | None) -> httpx.HTTPTransport:
        with self._lock:
            if proxy not in self._routes:
                route = httpx.HTTPTransport(proxy=proxy)
                keep_deadlines(route)
                self._routes[proxy] = route
            return self._routes[proxy]


def _list_secrets(credentials: Credentials) -> list[str]:
    return [secret for credential in credentials for secret in credential.secrets()]


def _hide_head(response: httpx.Response, secrets: Sequence[str]) -> httpx.Response:
    """Return the response without what its server says of the status, and with no secret in a header."""
    hidden = [
        (redact(name.decode("latin-1"), secrets), redact(value.decode("latin-1"), secrets))
        for name, value in response.headers.raw
    ]
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in hidden]
    kept = {name: value for name, value in response.extensions.items() if name != "reason_phrase"}
    return httpx.Response(response.status_code, headers=headers, stream=response.stream, extensions=kept)


def _find_proxy(url: httpx.URL) -> str | None:
    is_direct = is_loopback(url.host) or proxy_bypass(url.host)
    return None if is_direct else getproxies().get(url.scheme)


def _decode(body: bytes, encoding: str) -> str:
    try:
        return body.decode("utf-8" if encoding.lower() in _NO_CHARSETS else encoding, "replace")
    except LookupError:  # the server made the name up
        return body.decode("utf-8", "replace")


def _describe_failure(response: httpx.Response, media_type: str, body: str) -> _FailedAttempt:
    """Say what a status other than success means for the model."""
    status = response.status_code
    try:
        message = f"the server answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        message = f"the server answered with status {status}"
    if 300 <= status < 400:
        return _FailedAttempt(f"{message}: it sends on to another address, which is not followed. Use another tool.")
    if media_type == "text/html" or body.lstrip().lower().startswith(("<!doctype html", "<html")):
        title = _TITLE.search(body)
        body = f"a web page titled {' '.join(title[1].split())!r}" if title else "a web page"
    message += f": {cut(body.strip(), _MAX_FAULT_CHARS)}" if body.strip() else " and nothing else."
    wait_s = _read_retry_after(response) if status in _PASSING_STATUSES else None
    return _FailedAttempt(message, wait_s, is_server_fault=status in _FAULT_STATUSES)


def _read_retry_after(response: httpx.Response) -> float:
    """Return the seconds the server asks to wait; its other form, a date, is rare and read as 0."""
    seconds = response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else 0.0

"""Which addresses a tool may connect to: the internet's, and this network's own only where a person named them.

A document from elsewhere must not make the agent call ``http://169.254.169.254`` or a database on the office network,
under whatever name or spelling.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from concurrent.futures import Future
from threading import Thread
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from alpha_umi.errors import REDACTED, ConfigError
from alpha_umi.tools.deadline import time_left

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOK_UP_TIMEOUT_S = 60.0
_CUT_LOGIN = re.compile(r"[^/]*//[^/]*[?#].*@", re.DOTALL)
"""A login whose password ends the host too early; it would be sent and logged as a part of the rest."""
_NUMERIC = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.%\w]*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_INTERNET = ipaddress.ip_network("2000::/3")
"""All IPv6 addresses that are given out; others carry IPv4 in old forms, or belong to one site. Source: IANA."""


def split_login(url: str, name: str) -> tuple[str, tuple[str, str] | None]:
    """Return an http(s) address that may be shown and logged, and the user and password that it held.

    Raises:
        ConfigError: If it is no complete address.
    """
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_complete &= not (parts.netloc.endswith(":") or _CUT_LOGIN.match(url))
    except ValueError:  # brackets that hold no IPv6 address, a port that is no number
        is_complete = False
    if not is_complete:
        shown = re.sub(r"(/|^).*@", rf"\1{REDACTED}@", url, flags=re.DOTALL)
        raise ConfigError(
            f"{shown!r} is no address of {name}; write it as https://host/path, "
            "and '/', '?' and '#' of a password as '%2F', '%3F' and '%23'."
        )
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return parts._replace(netloc=host).geturl() if at else url, (unquote(user), unquote(password)) if at else None


def check_address(url: str, name: str, instead: str) -> str:
    """Return an address of http or https that holds no user name or password.

    Raises:
        ConfigError: If it is no complete address or holds one; the message says where to give it `instead`.
    """
    bare, login = split_login(url, name)
    if login or "${" in url:
        host = urlsplit(bare).hostname
        raise ConfigError(f"The address of {host} holds a credential; addresses are logged, so give it in {instead}.")
    return url


class PrivateAddress(Exception):
    """A host with an address of this machine or this network."""


def resolve_public(host: str, port: int) -> list[str]:
    """Return the addresses of a host, all of them public; what is connected to must be one of these.

    A name that is resolved again for the connection could by then have another address.

    Raises:
        PrivateAddress: If any of its addresses is not public.
        OSError: If there is no such host.
    """
    addresses = look_up(host, port)
    for address in addresses:
        if not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise PrivateAddress(host)
    return addresses


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the deadline; a name server that does not answer is left to a thread.

    Raises:
        OSError: If there is no such host, or no answer in time.
    """
    found: Future[list[str]] = Future()

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    if _NUMERIC.fullmatch(host):
        ask()
    else:
        Thread(target=ask, name=f"look-up-{host}", daemon=True).start()
    return found.result(min(time_left(), _LOOK_UP_TIMEOUT_S))


def is_public(address: Address) -> bool:
    """Say whether an address belongs to the internet, also inside the forms that carry IPv4 in IPv6.

    Example:
        >>> [is_public(ipaddress.ip_address(text)) for text in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1")]
        [True, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _INTERNET:
            return False
    return address.is_global and not address.is_multicast


def names_private_address(host: str) -> bool:
    """Say, without asking a name server, whether a host is plainly this machine or this network.

    Example:
        >>> [names_private_address(host) for host in ("localhost", "2130706433", "api.example")]
        [True, True, False]
    """
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not is_public(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        pass
    try:
        return not is_public(ipaddress.IPv4Address(socket.inet_aton(name)))  # 127.1, 0x7f000001 and the like
    except OSError:
        return False

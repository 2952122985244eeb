"""A URL that answers with a status that is asked for.

One GET on a connection of its own, HTTP/1.1; the answer is read as far as its status line and no further, so a body of
any size or pace costs nothing. Answers before the final one (1xx) are skipped. A redirect is an answer like any other:
it is not followed.
"""

import asyncio
import functools
import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from virtualip_agent.control.trackers.base import Report
from virtualip_agent.control.trackers.connect import NotConnected, connect, why
from virtualip_agent.control.trackers.periodic import Periodic, within
from virtualip_agent.control.trackers.rise_fall import Outcome, RiseFall
from virtualip_agent.control.trackers.rooted import NotUsable, read_start
from virtualip_api.trackers import HttpTracker

LONGEST_STATUS_LINE: Final = 4096
MOST_INTERIM: Final = 8
"""Answers before the final one (RFC 9110 section 15.2), and `MOST_FIELDS` lines in each: a server that gives more has
no end in sight."""
MOST_FIELDS: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
"""The last answer in HTTP, which nobody asked for."""
_LARGEST_CA_FILE: Final = 1 << 20
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9]{2})(?: |\r|\n)")


@functools.lru_cache(maxsize=64)
def _context(authorities: bytes | None, verify: bool) -> ssl.SSLContext:
    """By what it is made of, as making one takes milliseconds."""
    if authorities is None:
        context = ssl.create_default_context()
    else:
        context = ssl.create_default_context(cadata=authorities.decode("ascii"))
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def request(check: HttpTracker) -> bytes:
    """What is sent. The schema leaves no room for a line break in any part."""
    parts = urlsplit(check.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {check.host or parts.netloc}",
        "User-Agent: virtualip-agent",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


class HttpProbe:
    """The tries of one tracker."""

    def __init__(self, check: HttpTracker, root: Path) -> None:
        self._check = check
        self._root = root
        parts = urlsplit(check.url)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._request = request(check)

    async def __call__(self) -> Outcome:
        return await within(self._check.timeout, self._try())

    async def _try(self) -> Outcome:
        try:
            status = await self._ask()
        except NotConnected as error:
            return Outcome(False, str(error))
        except NotUsable as error:
            return Outcome(False, f"{self._check.ca_file} {error}")
        except ssl.SSLCertVerificationError as error:
            return Outcome(False, f"certificate: {error.verify_message}")
        except ssl.SSLError as error:
            return Outcome(False, f"TLS: {error.reason or error.strerror}")
        except OSError as error:
            return Outcome(False, why(error))
        except (ValueError, EOFError):
            return Outcome(False, "the answer is not HTTP")
        wanted = any(low <= status <= high for low, high in self._check.status)
        return Outcome(wanted, f"status {status}")

    async def _ask(self) -> int:
        context = self._tls_context() if self._tls else None
        name = (self._check.server_name or self._host) if self._tls else None
        connected = await connect(self._host, self._port, self._check.timeout)
        try:
            reader, writer = await asyncio.open_connection(
                sock=connected, ssl=context, server_hostname=name, limit=LONGEST_STATUS_LINE
            )
        except BaseException:
            connected.close()
            raise
        try:
            writer.write(self._request)
            return await _final_status(reader)
        except asyncio.LimitOverrunError:
            raise ValueError from None
        finally:
            # hung up at once: a server that goes on sending is told so, and nothing is waited for
            writer.transport.abort()

    def _tls_context(self) -> ssl.SSLContext:
        check = self._check
        authorities = read_start(self._root, check.ca_file, _LARGEST_CA_FILE) if check.ca_file else None
        try:
            return _context(authorities, not check.insecure_skip_verify)
        except (ssl.SSLError, ValueError):
            raise NotUsable("holds no certificate") from None


async def _final_status(reader: asyncio.StreamReader) -> int:
    """ValueError where it is not HTTP."""
    for _ in range(MOST_INTERIM + 1):
        match = _STATUS_LINE.match(await reader.readuntil(b"\n"))
        if match is None:
            raise ValueError
        status = int(match[1])
        if status >= 200 or status == _SWITCHING_PROTOCOLS:
            return status
        for _ in range(MOST_FIELDS + 1):
            if not (await reader.readuntil(b"\n")).rstrip(b"\r\n"):
                break
        else:
            raise ValueError
    raise ValueError


def start_http(check: HttpTracker, report: Report, root: Path, *, resumed: bool = False) -> Periodic:
    """Tries from now on."""
    counted = RiseFall.start(check.rise, check.fall, resumed=resumed)
    return Periodic(HttpProbe(check, root), check.interval, counted, report)

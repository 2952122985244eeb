"""The node's interfaces, for all interface trackers together, as the kernel tells of them. Needs no privilege."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from virtualip_agent import rtnetlink as rt

log = logging.getLogger(__name__)

_BUFFER: Final = 1 << 20
RETRY: Final = 1.0
"""Seconds after which the kernel is asked again."""
_ANSWER_TIMEOUT: Final = 0.2
"""The kernel answers within the call; this is only there so that a surprise cannot hang the process."""


class LinkWatch:
    """Keeps the table of links, and calls listeners when it has changed. Without listeners there is no socket."""

    def __init__(self) -> None:
        self.links: dict[int, rt.Link] = {}
        self._listeners: list[Callable[[], None]] = []
        self._socket: socket.socket | None = None

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each change. OSError where the kernel cannot be asked."""
        if self._socket is None:
            opened = _open(rt.RTMGRP_LINK)
            try:
                self._ask_for_all()
            except OSError:
                opened.close()
                raise
            self._socket = opened
            opened.setblocking(False)
            asyncio.get_running_loop().add_reader(opened, self._read, opened)
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """It is called no more."""
        self._listeners.remove(listener)
        if not self._listeners:
            self.close()

    def close(self) -> None:
        """Stops listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self.links = {}

    def _read(self, opened: socket.socket) -> None:
        before = dict(self.links)
        try:
            while True:
                for message in rt.messages(opened.recv(rt.DATAGRAM)):
                    self._take_in(message)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                log.error("netlink: %s", error)
            with suppress(OSError):
                rt.drain(opened)
            self._catch_up()
        self._tell(before)

    def _take_in(self, message: rt.Message) -> None:
        if message.type not in (rt.RTM_NEWLINK, rt.RTM_DELLINK):
            return
        link = rt.parse_link(message.payload)
        if link is None:
            return
        if message.type == rt.RTM_NEWLINK:
            self.links[link.index] = link
        else:
            self.links.pop(link.index, None)

    def _catch_up_and_tell(self) -> None:
        before = dict(self.links)
        if self._socket is not None:
            self._catch_up()
        self._tell(before)

    def _tell(self, before: dict[int, rt.Link]) -> None:
        if self.links != before:
            for listener in tuple(self._listeners):
                listener()

    def _catch_up(self) -> None:
        """Notifications were lost."""
        try:
            self._ask_for_all()
        except OSError as error:
            log.error("netlink: %s; what is known of interfaces may be old; asked again", error)
            asyncio.get_running_loop().call_later(RETRY, self._catch_up_and_tell)

    def _ask_for_all(self) -> None:
        links: dict[int, rt.Link] = {}
        with _open(0) as requests:
            requests.settimeout(_ANSWER_TIMEOUT)
            requests.send(rt.dump_links(1))
            done = False
            while not done:
                for message in rt.messages(requests.recv(rt.DATAGRAM)):
                    if message.type == rt.NLMSG_ERROR:
                        raise OSError(rt.error_code(message.payload), "links cannot be listed")
                    done |= message.type == rt.NLMSG_DONE
                    link = rt.parse_link(message.payload) if message.type == rt.RTM_NEWLINK else None
                    if link is not None:
                        links[link.index] = link
        self.links = links


def _open(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened

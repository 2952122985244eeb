"""The kernel's links and addresses: changes in batches, notifications as they come."""

import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from virtualip_agent import rtnetlink as rt
from virtualip_agent.realtime.interfaces import Interfaces

log = logging.getLogger(__name__)

_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 4 << 20
_DATAGRAM: Final = 1 << 17
_ANSWER_TIMEOUT: Final = 0.2
"""The kernel answers within the send call; this is only there so that a surprise cannot hang the process."""


class Change(NamedTuple):
    """One change of a batch."""

    address: rt.Address
    add: bool
    exclusive: bool = False
    lifetime: int = 0
    """Seconds; of an added one."""


class RouteSocket:
    """Two rtnetlink sockets (requests, notifications) and the tables they keep true. Needs NET_ADMIN to change."""

    def __init__(self) -> None:
        self.interfaces = Interfaces()
        self._sequence = 0
        self._requests = _open(0)
        self._requests.settimeout(_ANSWER_TIMEOUT)
        self._port: int = self._requests.getsockname()[0]
        self._notifications = _open(rt.RTMGRP_LINK | rt.RTMGRP_IPV4_IFADDR)
        self._notifications.setblocking(False)
        self.resynchronise()

    def fileno(self) -> int:
        """Readable when notifications wait."""
        return self._notifications.fileno()

    def close(self) -> None:
        """Closes both sockets."""
        self._requests.close()
        self._notifications.close()

    def resynchronise(self) -> None:
        """Asks the kernel for everything anew."""
        interfaces = Interfaces(ours=self.interfaces.ours)
        for message in self._dump(rt.dump_links):
            link = rt.parse_link(message.payload)
            if link is not None:
                interfaces.links[link.index] = link
        for message in self._dump(rt.dump_addresses):
            address = rt.parse_address(message.payload)
            if address is not None:
                interfaces.addresses[address.index, address.ip] = address
        interfaces.ours &= interfaces.addresses.keys()
        self.interfaces = interfaces

    def read_notifications(self) -> bool:
        """Takes in what was notified; True where links or addresses are different now. Our own doing is known."""
        changed = False
        while True:
            try:
                data = self._notifications.recv(_DATAGRAM)
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                log.warning("netlink notifications were lost; asking the kernel for everything")
                self.resynchronise()
                changed = True
                continue
            for message in rt.messages(data):
                # a refresh of our own lifetimes comes back to us, 250 at a time: not worth a look
                if message.port != self._port:
                    changed |= self._take_in(message)

    def _take_in(self, message: rt.Message) -> bool:
        interfaces = self.interfaces
        if message.type in (rt.RTM_NEWADDR, rt.RTM_DELADDR):
            address = rt.parse_address(message.payload)
            if address is None:
                return False
            key = (address.index, address.ip)
            if message.type == rt.RTM_NEWADDR:
                known = interfaces.addresses.get(key)
                interfaces.addresses[key] = address
                return known != address
            interfaces.ours.discard(key)
            return interfaces.addresses.pop(key, None) is not None
        if message.type in (rt.RTM_NEWLINK, rt.RTM_DELLINK):
            link = rt.parse_link(message.payload)
            return link is not None and self._take_in_link(link, message.type == rt.RTM_NEWLINK)
        return False

    def _take_in_link(self, link: rt.Link, there: bool) -> bool:
        interfaces = self.interfaces
        if there:
            known = interfaces.links.get(link.index)
            interfaces.links[link.index] = link
            return known != link
        for key in [key for key in interfaces.addresses if key[0] == link.index]:
            del interfaces.addresses[key]
            interfaces.ours.discard(key)
        return interfaces.links.pop(link.index, None) is not None

    def change(self, changes: Sequence[Change]) -> list[int]:
        """Carries out all changes in one send; an errno for each, 0 where it was done. Never raises for one of them."""
        if not changes:
            return []
        first = self._sequence + 1
        self._sequence += len(changes)
        batch = b"".join(
            rt.new_address(change.address, change.lifetime, first + index, exclusive=change.exclusive)
            if change.add
            else rt.delete_address(change.address, first + index)
            for index, change in enumerate(changes)
        )
        results = [errno.EIO] * len(changes)
        answers = 0
        try:
            self._requests.send(batch)
            while answers < len(changes):
                for message in rt.messages(self._requests.recv(_DATAGRAM)):
                    index = message.sequence - first
                    if message.type == rt.NLMSG_ERROR and 0 <= index < len(changes):
                        results[index] = rt.error_code(message.payload)
                        answers += 1
        except OSError as error:
            log.error("netlink: %s; asking the kernel what is there", error)
            self.resynchronise()
            return [0 if self._is_done(change) else error.errno or errno.EIO for change in changes]
        for change, result in zip(changes, results, strict=True):
            self._note(change, result)
        return results

    def _is_done(self, change: Change) -> bool:
        known = self.interfaces.addresses.get((change.address.index, change.address.ip))
        return (known is not None and known.tag == rt.TAG) if change.add else known is None

    def _note(self, change: Change, result: int) -> None:
        key = (change.address.index, change.address.ip)
        if change.add and result == 0:
            self.interfaces.addresses.setdefault(key, replace(change.address, tag=rt.TAG))
            self.interfaces.ours.add(key)
        elif not change.add and result in (0, errno.EADDRNOTAVAIL, errno.ENODEV):
            self.interfaces.addresses.pop(key, None)
            self.interfaces.ours.discard(key)

    def _dump(self, request: Callable[[int], bytes]) -> list[rt.Message]:
        self._sequence += 1
        sequence = self._sequence
        self._requests.send(request(sequence))
        found: list[rt.Message] = []
        while True:
            for message in rt.messages(self._requests.recv(_DATAGRAM)):
                if message.sequence != sequence:
                    continue
                if message.type == rt.NLMSG_DONE:
                    return found
                if message.type == rt.NLMSG_ERROR:
                    code = rt.error_code(message.payload)
                    raise OSError(code, os.strerror(code))
                found.append(message)


def _open(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    opened.bind((0, groups))
    return opened

"""The kernel's links and addresses: changes in batches, notifications as they come."""

import errno
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from virtualip_agent import rtnetlink as rt
from virtualip_agent.realtime.interfaces import Interfaces, key_of

log = logging.getLogger(__name__)

_SO_RCVBUFFORCE: Final = 33
_BUFFER: Final = 4 << 20
_BATCH: Final = 1000
"""Changes in one send: about 3,100 fit a datagram."""
_LAST_SEQUENCE: Final = 1 << 31
_ANSWER_TIMEOUT: Final = 0.2
"""The kernel answers within the send call; this is only there so that a surprise cannot hang the process."""
_KEEPS_TAGS: Final = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 18)
"""IFA_PROTO; a kernel of a distribution may know it before."""
_LONGEST_READ: Final = 4_000_000
"""Nanoseconds: what is left is read in the next wake-up, after the packets that have come meanwhile."""
ASK_AGAIN: Final = 100_000_000
"""Nanoseconds until the kernel is asked again for what it could not say."""


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
        self.behind = False
        """Whether the tables may lack something, as the kernel could not be asked: `resynchronise` is due."""
        self._sequence = 0
        self._deleted_links: dict[int, int] = {}
        self._requests = _open(0)
        self._requests.settimeout(_ANSWER_TIMEOUT)
        self._port: int = self._requests.getsockname()[0]
        self._notifications = _open(
            rt.RTMGRP_LINK | rt.RTMGRP_IPV4_IFADDR | rt.RTMGRP_IPV6_IFADDR | rt.RTMGRP_IPV6_NETCONF
        )
        self._notifications.setblocking(False)
        self._ask_for_everything()

    def fileno(self) -> int:
        """Readable when notifications wait."""
        return self._notifications.fileno()

    def close(self) -> None:
        """Closes both sockets."""
        self._requests.close()
        self._notifications.close()

    def resynchronise(self) -> None:
        """Asks the kernel for everything anew. Where it cannot be asked now (it has no memory, and no more than that is
        wrong) the tables stay as they are, and `behind` says so."""
        try:
            self._ask_for_everything()
        except OSError as error:
            log.error("netlink: %s; the kernel is asked again soon", error)
            self.behind = True
        else:
            self.behind = False

    def _ask_for_everything(self) -> None:
        interfaces = Interfaces(ours=self.interfaces.ours)
        for message in self._dump(rt.dump_links):
            link = rt.parse_link(message.payload)
            if link is not None:
                interfaces.links[link.index] = self._incarnate(link)
        ending = set()
        for message in self._dump(rt.dump_addresses):
            address = rt.parse_address(message.payload)
            if address is not None:
                interfaces.put(address)
                if rt.ends_by_itself(message.payload):
                    ending.add(key_of(address))
        if not _KEEPS_TAGS and not any(address.tag for address in interfaces.addresses.values()):
            # what a process before this one has put there is known by its lifetime
            interfaces.ours |= ending
        for message in self._dump(rt.dump_forwarding, without=(errno.EOPNOTSUPP, errno.EAFNOSUPPORT)):
            _take_in_forwarding(interfaces, message)
        interfaces.ours &= interfaces.addresses.keys()
        self.interfaces = interfaces

    def read_notifications(self) -> set[int]:
        """Takes in what was notified, as far as there is time; the indices of the interfaces where something is
        different now, those that are gone included. Our own doing is known."""
        changed: set[int] = set()
        until = time.monotonic_ns() + _LONGEST_READ
        while not changed or time.monotonic_ns() < until:
            try:
                data = self._notifications.recv(rt.DATAGRAM)
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.warning("netlink notifications were lost; asking the kernel for everything")
                rt.drain(self._notifications)
                before = self.interfaces.links.keys()
                for index in before:  # one may have been away, and its memberships are gone
                    self._note_deleted(index)
                self.resynchronise()
                changed |= before | self.interfaces.links.keys()
                continue
            for message in rt.messages(data):
                # A refresh of our own lifetimes comes back to us, 250 at a time: not worth a look. But after older news
                # it is: the kernel let an address expire while we slept, and the refresh brought it back.
                if message.port != self._port or changed:
                    changed |= self._take_in(message)
        return changed

    def _take_in(self, message: rt.Message) -> set[int]:
        """The index of the interface that it is about, where it is news."""
        interfaces = self.interfaces
        if message.type in (rt.RTM_NEWADDR, rt.RTM_DELADDR):
            address = rt.parse_address(message.payload)
            if address is None:
                return set()
            news = interfaces.put(address) if message.type == rt.RTM_NEWADDR else interfaces.drop(address)
            return {address.index} if news else set()
        if message.type == rt.RTM_NEWNETCONF:
            return _take_in_forwarding(interfaces, message)
        if message.type in (rt.RTM_NEWLINK, rt.RTM_DELLINK):
            link = rt.parse_link(message.payload)
            if link is not None and self._take_in_link(link, message.type == rt.RTM_NEWLINK):
                return {link.index}
        return set()

    def _take_in_link(self, link: rt.Link, there: bool) -> bool:
        interfaces = self.interfaces
        if there:
            known = interfaces.links.get(link.index)
            interfaces.links[link.index] = self._incarnate(link)
            return known != interfaces.links[link.index]
        # what comes back with the same index (from another namespace, say) has none of the memberships of before
        self._note_deleted(link.index)
        for address in interfaces.on_interface(link.index):
            interfaces.drop(address)
        interfaces.forwarding.discard(link.index)
        return interfaces.links.pop(link.index, None) is not None

    def _note_deleted(self, index: int) -> None:
        self._deleted_links[index] = self._deleted_links.get(index, 0) + 1

    def _incarnate(self, link: rt.Link) -> rt.Link:
        return replace(link, incarnation=self._deleted_links.get(link.index, 0))

    def change(self, changes: Sequence[Change]) -> list[int]:
        """Carries out all changes in as few sends as possible; an errno for each, 0 where it was done. Never raises
        for one of them."""
        results: list[int] = []
        for begin in range(0, len(changes), _BATCH):
            results += self._change_batch(changes[begin : begin + _BATCH])
        return results

    def _change_batch(self, changes: Sequence[Change]) -> list[int]:
        first = self._take_sequence(len(changes))
        last = first + len(changes) - 1
        batch = b"".join(
            rt.new_address(
                change.address, change.lifetime, sequence, exclusive=change.exclusive, answered=sequence == last
            )
            if change.add
            else rt.delete_address(change.address, sequence, answered=sequence == last)
            for sequence, change in enumerate(changes, first)
        )
        results = [0] * len(changes)
        answered = 0
        try:
            self._requests.send(batch)
            while answered != last:  # in the order of the batch: what fails, and the last in any case
                for message in rt.messages(self._requests.recv(rt.DATAGRAM)):
                    if message.type == rt.NLMSG_ERROR and first <= message.sequence <= last:
                        answered = message.sequence
                        results[answered - first] = rt.error_code(message.payload)
        except OSError as error:
            log.error("netlink: %s; asking the kernel what is there", error)
            self.resynchronise()
            if self.behind:
                return [error.errno or errno.EIO] * len(changes)
            return [0 if self._is_done(change) else error.errno or errno.EIO for change in changes]
        for change, result in zip(changes, results, strict=True):
            self._note(change, result)
        return results

    def _is_done(self, change: Change) -> bool:
        known = self.interfaces.addresses.get(key_of(change.address))
        return (known is not None and self.interfaces.is_ours(known)) if change.add else known is None

    def _note(self, change: Change, result: int) -> None:
        key = key_of(change.address)
        if change.add and result == 0:
            if key not in self.interfaces.addresses:
                self.interfaces.put(replace(change.address, tag=rt.TAG))
            self.interfaces.ours.add(key)
        elif not change.add and result in (0, errno.EADDRNOTAVAIL, errno.ENODEV):
            self.interfaces.drop(change.address)

    def _take_sequence(self, count: int) -> int:
        """The first of so many sequence numbers; they begin anew long before they leave their 32 bits."""
        if self._sequence > _LAST_SEQUENCE:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def _dump(self, request: Callable[[int], bytes], without: Collection[int] = ()) -> list[rt.Message]:
        """The answers; none where the kernel refuses with one of the errors `without`."""
        sequence = self._take_sequence(1)
        self._requests.send(request(sequence))
        found: list[rt.Message] = []
        while True:
            for message in rt.messages(self._requests.recv(rt.DATAGRAM)):
                if message.sequence != sequence:
                    continue
                if message.type == rt.NLMSG_DONE:
                    return found
                if message.type == rt.NLMSG_ERROR:
                    code = rt.error_code(message.payload)
                    if code in without:
                        return []
                    raise OSError(code, os.strerror(code))
                found.append(message)


def _take_in_forwarding(interfaces: Interfaces, message: rt.Message) -> set[int]:
    """The interface's index, where it is news."""
    found = rt.parse_forwarding(message.payload)
    if found is None:
        return set()
    index, forwarding = found
    if forwarding == (index in interfaces.forwarding):
        return set()
    (interfaces.forwarding.add if forwarding else interfaces.forwarding.discard)(index)
    return {index}


def _open(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    opened.bind((0, groups))
    return opened

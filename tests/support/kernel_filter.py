"""Whether the kernel lets a packet through a socket filter: on a pair of datagram sockets, without a network."""

import socket
from collections.abc import Callable


def lets_through(attach: Callable[[socket.socket], None], packet: bytes) -> bool:
    """Whether a packet that begins with its IP header reaches a socket once `attach` has put the filter on it."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver)
        receiver.setblocking(False)
        try:
            sender.send(packet)
            receiver.recv(2048)
        except (BlockingIOError, PermissionError):
            return False
        return True

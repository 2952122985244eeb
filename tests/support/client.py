"""A client on the segment that asks the VIP every millisecond, through the kernel's own ARP cache, and an observer that
asks by ARP who answers for it.

    with Prober(client, "192.168.122.200") as prober:
        prober.wait_for_answer()
        ... move the VIP ...
    assert prober.result.longest_gap_ms < 5

The asking is done by a process of its own in the client's namespace (this file, run as a program), with real-time
priority where that is allowed, so that a busy test does not measure itself. Times are time.monotonic(): the same clock
for all processes of a machine.
"""

import array
import itertools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from segment import Host

_TIMESTAMPNS = 35  # SO_TIMESTAMPNS: the kernel's own time of receipt
_ETH_P_ARP = 0x0806
_ARP = struct.Struct("!HHBBH6s4s6s4s")


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without an answer, between two answers (or the end of asking)."""

    begin: float
    end: float

    @property
    def ms(self) -> float:
        """Its length."""
        return (self.end - self.begin) * 1000


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a Prober saw, from the first answer on."""

    answers: tuple[float, ...]
    """When each came."""
    sent: int
    ended: float
    noise_ms: float
    """The longest time between two questions: a gap cannot be told from less."""

    def gaps(self, longer_than_ms: float = 10.0, since: float = 0.0, until: float = float("inf")) -> list[Gap]:
        """Gaps that were open within since..until, in order."""
        ends = [*self.answers, self.ended]
        found = [Gap(begin, end) for begin, end in itertools.pairwise(ends) if end >= since and begin <= until]
        return [gap for gap in found if gap.ms > longer_than_ms]

    def longest_gap(self, since: float = 0.0, until: float = float("inf")) -> Gap:
        """The longest time without an answer."""
        if not self.answers:
            raise AssertionError("the address never answered")
        return max(self.gaps(-1.0, since, until), key=lambda gap: gap.ms)

    @property
    def longest_gap_ms(self) -> float:
        """Of the whole time."""
        return self.longest_gap().ms


class Machine(Protocol):
    """Where a Prober runs: a Host of a segment, or the cluster's machine that is no node."""

    def popen(self, command: list[str], *, stdout: int, stderr: int) -> "subprocess.Popen[str]":
        """A process in its network namespace."""


class Prober:
    """Asks by ICMP echo from a host's namespace, or as another program does (web_asker.py)."""

    def __init__(self, host: Machine, address: str, interval: float = 0.001, program: str = __file__) -> None:
        self._process = host.popen(
            [sys.executable, program, address, str(interval)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._result: ProbeResult | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for_answer(self, timeout: float = 15.0) -> float:
        """Waits for the first answer; when it came."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise AssertionError(f"the address does not answer: {self._error()}")
        return float(line)

    def stop(self) -> ProbeResult:
        """Ends the asking."""
        if self._result is None:
            self._process.send_signal(signal.SIGTERM)
            out, error = self._process.communicate(timeout=30)
            assert self._process.returncode == 0, error
            found = json.loads(out.splitlines()[-1])
            self._result = ProbeResult(tuple(found["answers"]), found["sent"], found["ended"], found["noise_ms"])
        return self._result

    @property
    def result(self) -> ProbeResult:
        """After `stop` or the end of `with`."""
        assert self._result is not None, "still asking"
        return self._result

    def _error(self) -> str:
        if self._process.poll() is None:
            return "no answer yet"
        assert self._process.stderr is not None
        return self._process.stderr.read()


@contextmanager
def asked(host: Machine, address: str, what: str, timeout: float = 15.0) -> Iterator[Prober]:
    """A client asks the address every millisecond meanwhile, and never waits longer than 50 ms for an answer.

    timeout: seconds until the first one."""
    with Prober(host, address) as prober:
        began = prober.wait_for_answer(timeout)
        yield prober
    gap = prober.result.longest_gap(since=began)
    print(f"{what}: longest gap {gap.ms:.1f} ms (noise {prober.result.noise_ms:.1f} ms)")
    assert gap.ms < max(50, prober.result.noise_ms * 1.5)


class ArpObserver:
    """Asks by ARP, with no address of its own so that no cache is touched, and keeps who answered and when."""

    def __init__(self, host: "Host", address: str, interface: str = "eth0") -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP))
        self._socket.bind((interface, _ETH_P_ARP))
        self._mac = self._socket.getsockname()[4]
        self._target = socket.inet_aton(address)
        self.answers: list[tuple[float, str]] = []
        """(when, MAC)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, wait: float = 0.1) -> set[str]:
        """One question; every MAC that answers it within `wait` seconds."""
        question = _ARP.pack(1, 0x0800, 6, 4, 1, self._mac, bytes(4), bytes(6), self._target)
        self._drain()
        self._socket.send(b"\xff" * 6 + self._mac + _ETH_P_ARP.to_bytes(2, "big") + question)
        found: set[str] = set()
        deadline = time.monotonic() + wait
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self._socket], [], [], left)
            if readable and (mac := self._read()):
                found.add(mac)
                self.answers.append((time.monotonic(), mac))
        return found

    def watch(self, seconds: float, interval: float = 0.01) -> list[tuple[float, frozenset[str]]]:
        """Asks again and again: (when, who answered)."""
        seen = []
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            seen.append((now, frozenset(self.ask(interval))))
        return seen

    def _drain(self) -> None:
        while select.select([self._socket], [], [], 0)[0]:
            self._read()

    def _read(self) -> str:
        frame = self._socket.recv(2048)
        if len(frame) < 14 + _ARP.size:
            return ""
        *_, operation, sender, sender_ip, target, _ = _ARP.unpack_from(frame, 14)
        if operation != 2 or sender_ip != self._target or target != self._mac:
            return ""
        return ":".join(f"{byte:02x}" for byte in sender)


# ---- the process that asks


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def be_punctual() -> None:
    """Real-time priority where that is allowed: who asks must not measure how busy its own machine is."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _ask(address: str, interval: float) -> None:
    be_punctual()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    v6 = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    request, reply = (128, 129) if v6 else (8, 0)
    asking = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    asking.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
    asking.connect((address, 0))
    identifier = os.getpid() & 0xFFFF
    to_monotonic = time.monotonic_ns() - time.time_ns()
    answers, noise, sent = array.array("q"), 0, 0
    before = 0
    due = time.monotonic_ns()
    step = round(interval * 1e9)
    while not stopping:
        now = time.monotonic_ns()
        if now < due:
            time.sleep((due - now) / 1e9)
            now = time.monotonic_ns()
        due = max(due + step, now)
        noise = max(noise, now - before) if before else 0
        before = now
        head = struct.pack("!BBHHH", request, 0, 0, identifier, sent & 0xFFFF)
        if not v6:  # there the kernel does it
            head = struct.pack("!BBHHH", request, 0, _checksum(head), identifier, sent & 0xFFFF)
        sent += 1
        with suppress(OSError):  # host or network unreachable: no answer, which is what we measure
            asking.send(head)
        while True:
            try:
                packet, ancillary, _, _ = asking.recvmsg(256, 64)
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    break
                continue
            icmp = packet if v6 else packet[(packet[0] & 0x0F) * 4 :]
            if len(icmp) < 8 or icmp[0] != reply or icmp[4:6] != identifier.to_bytes(2, "big"):
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
            answers.append(seconds * 1_000_000_000 + nanoseconds + to_monotonic)
            if len(answers) == 1:
                print(answers[0] / 1e9, flush=True)
    seen = [answer / 1e9 for answer in answers]
    print(json.dumps({"answers": seen, "sent": sent, "ended": time.monotonic(), "noise_ms": noise / 1e6}))


if __name__ == "__main__":
    _ask(sys.argv[1], float(sys.argv[2]))

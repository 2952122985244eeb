"""Our advertisements as others read them: byte by byte, by tshark, by tcpdump; and theirs as we read them."""

import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from segment import Segment, unavailable
from virtualip_agent.control.frames import advertisement_payload, gratuitous_arp
from virtualip_agent.control.instance import Instance, Source
from virtualip_agent.vrrp.packet import Advertisement, checksum, parse, stamp
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND
from virtualip_api.virtual_ip import parse_spec

SOURCE = socket.inet_aton("192.168.122.101")
GROUP = socket.inet_aton("224.0.0.18")
VIP = socket.inet_aton("192.168.122.200")
SOURCE6 = socket.inet_pton(socket.AF_INET6, "fe80::101")
GROUP6 = socket.inet_pton(socket.AF_INET6, "ff02::12")
VIP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::200")
ETHERNET = bytes.fromhex("01005e000012 02005e000101 0800")
ETHERNET6 = bytes.fromhex("333300000012 02005e000101 86dd")

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="not installed: tshark")
needs_keepalived = pytest.mark.skipif(shutil.which("keepalived") is None, reason="not installed: keepalived")
in_namespaces = [pytest.mark.netns, pytest.mark.skipif(bool(unavailable()), reason=unavailable())]


def advertisement(priority: int, password: bytes = b"", **spec: Any) -> bytes:
    """As control builds it and vrrp stamps it."""
    whole = {"addresses": ["192.168.122.200/24"], "vrid": 51} | spec
    template = advertisement_payload(Instance("web", Source.MANIFEST, parse_spec(whole), 244, password))
    return stamp(template, priority, SOURCE, GROUP)


def advertisement6(priority: int, **spec: Any) -> bytes:
    """The same over IPv6; the link-local address comes first (RFC 9568, section 5.2.9)."""
    whole = {"addresses": ["2001:db8::200/64"], "vrid": 51, "version": 3} | spec
    template = advertisement_payload(Instance("web", Source.MANIFEST, parse_spec(whole), 244))
    return stamp(template, priority, SOURCE6, GROUP6)


def without_pseudo_header(payload: bytes) -> bytes:
    bare = payload[:6] + b"\0\0" + payload[8:]
    return bare[:6] + checksum(bare).to_bytes(2, "big") + bare[8:]


S2 = advertisement(249, b"12345", version=2)

VECTORS = {
    "v2 PASS, S2": (S2, "2133f901 01010ff2 c0a87ac8 31323334 35000000"),
    "v2 without authentication": (advertisement(100, version=2), "21336401 00013f59 c0a87ac8 00000000 00000000"),
    "v3, pseudo-header summed": (advertisement(254, version=3), "3133fe01 00647958 c0a87ac8"),
    "v3, as RFC 9568 has it": (
        without_pseudo_header(advertisement(254, version=3)),
        "3133fe01 006494f5 c0a87ac8",
    ),
    "v2 resigns": (advertisement(0, b"12345", version=2), "21330001 010108f3 c0a87ac8 31323334 35000000"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_bytes_are_these(name: str) -> None:
    payload, expected = VECTORS[name]
    assert payload.hex() == expected.replace(" ", "")


@pytest.mark.parametrize("name", VECTORS)
def test_and_we_read_them(name: str) -> None:
    payload, _ = VECTORS[name]
    read = parse(payload, SOURCE, GROUP)
    assert isinstance(read, Advertisement)
    assert (read.vrid, read.interval, read.addresses) == (51, SECOND, frozenset({VIP}))
    assert read.priority == payload[2]


VECTORS6 = {
    "one address": (advertisement6(254), "3133fe01 0064a18e 20010db8 00000000 00000000 00000200"),
    "resigns": (advertisement6(0), "31330001 00649f8f 20010db8 00000000 00000000 00000200"),
    "link-local first": (
        advertisement6(100, addresses=["2001:db8::200/64", "fe80::200/64"], advertInterval="100ms"),
        "31336402 000a3b57 fe800000 00000000 00000000 00000200 20010db8 00000000 00000000 00000200",
    ),
}


@pytest.mark.parametrize("name", VECTORS6)
def test_the_bytes_over_ipv6_are_these_and_we_read_them(name: str) -> None:
    payload, expected = VECTORS6[name]
    assert payload.hex() == expected.replace(" ", "")
    read = parse(payload, SOURCE6, GROUP6)
    assert isinstance(read, Advertisement)
    assert (read.vrid, read.priority) == (51, payload[2])
    assert VIP6 in read.addresses


# ---- tshark


def in_a_frame(payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(payload), 0, 0x4000, 255, 112, 0, SOURCE, GROUP)
    return ETHERNET + head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def in_a_frame6(payload: bytes) -> bytes:
    return ETHERNET6 + struct.pack("!IHBB16s16s", 6 << 28, len(payload), 112, 255, SOURCE6, GROUP6) + payload


def tshark(path: Path, frames: list[bytes], *arguments: str) -> str:
    records = b"".join(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records)
    command = ["tshark", "-n", "-r", str(path), "-o", "ip.check_checksum:TRUE", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ADVERTISEMENTS: dict[str, dict[str, Any]] = {
    "v2": {"version": 2},
    "v2 PASS": {"version": 2, "password": b"12345"},
    "v2 several addresses": {"version": 2, "addresses": ["192.168.122.200/24", "10.0.0.1/32", "10.0.0.2/32"]},
    "v2 255 s": {"version": 2, "advertInterval": "255s"},
    "v3": {"version": 3},
    "v3 10 ms": {"version": 3, "advertInterval": "10ms"},
    "v3 40.95 s": {"version": 3, "advertInterval": "40.95s"},
    "v3 several addresses": {"version": 3, "addresses": [f"10.0.{index}.1/32" for index in range(64)]},
}


@needs_tshark
def test_tshark_has_nothing_to_say_against_them(tmp_path: Path) -> None:
    frames = [
        in_a_frame(advertisement(priority, **settings))
        for settings in ADVERTISEMENTS.values()
        for priority in (0, 1, 100, 254, 255)
    ]
    fields = [word for name in ("vrrp.prio", "vrrp.checksum.status", "_ws.malformed") for word in ("-e", name)]
    lines = tshark(tmp_path / "ours.pcap", frames, "-T", "fields", *fields).splitlines()
    assert [line.split("\t") for line in lines] == [
        [str(priority), "1", ""] for _ in ADVERTISEMENTS for priority in (0, 1, 100, 254, 255)
    ]
    # the expert's remarks: that one of priority 0 resigns is a fact, anything else a mistake of ours
    others = ["-Y", "_ws.expert && !(vrrp.prio == 0)", "-T", "fields", "-e", "_ws.expert.message"]
    remarks = tshark(tmp_path / "ours.pcap", frames, *others)
    assert remarks == ""


@needs_tshark
def test_nor_against_those_over_ipv6(tmp_path: Path) -> None:
    frames = [in_a_frame6(payload) for payload, _ in VECTORS6.values()]
    names = ("vrrp.version", "vrrp.prio", "vrrp.checksum.status", "vrrp.short_adver_int", "vrrp.ipv6_addr",
             "ipv6.hlim", "_ws.malformed")  # fmt: skip
    fields = [word for name in names for word in ("-e", name)]
    lines = tshark(tmp_path / "v6.pcap", frames, "-T", "fields", *fields).splitlines()
    assert [line.split("\t") for line in lines] == [
        ["3", "254", "1", "100", "2001:db8::200", "255", ""],
        ["3", "0", "1", "100", "2001:db8::200", "255", ""],
        ["3", "100", "1", "10", "fe80::200,2001:db8::200", "255", ""],
    ]


@needs_tshark
def test_tshark_reads_s2_as_the_article_has_it(tmp_path: Path) -> None:
    names = ("ip.ttl", "ip.dst", "vrrp.version", "vrrp.virt_rtr_id", "vrrp.prio", "vrrp.auth_type", "vrrp.adver_int",
             "vrrp.ip_addr", "vrrp.auth_string")  # fmt: skip
    fields = [word for name in names for word in ("-e", name)]
    line = tshark(tmp_path / "s2.pcap", [in_a_frame(S2)], "-T", "fields", *fields).rstrip("\n")
    assert line.split("\t") == ["255", "224.0.0.18", "2", "51", "249", "1", "1", "192.168.122.200", "12345"]


@needs_tshark
def test_tshark_knows_our_gratuitous_arp_for_one(tmp_path: Path) -> None:
    frame = bytearray(gratuitous_arp(IPv4Address(VIP)))
    frame[6:12] = frame[22:28] = bytes.fromhex("02005e000101")
    fields = ["-T", "fields", "-e", "arp.isgratuitous", "-e", "_ws.malformed"]
    out = tshark(tmp_path / "garp.pcap", [bytes(frame)], *fields)
    assert out.split() in (["1"], ["True"])


# ---- a real wire


@pytest.fixture
def lan() -> Iterator[Segment]:
    with Segment() as segment:
        yield segment


def vrrp_socket(lan: Segment) -> socket.socket:
    host = lan.host("192.168.122.101")
    raw = host.socket(socket.AF_INET, socket.SOCK_RAW, 112)
    raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, SOURCE)
    return raw


class TestOnTheWire:
    pytestmark = in_namespaces

    def test_s2_tcpdump_prints_the_articles_line_to_the_letter(self, lan: Segment) -> None:
        with vrrp_socket(lan) as raw, lan.capture(expression="ip proto 112") as capture:
            raw.sendto(S2, ("224.0.0.18", 0))
            (line,) = capture.wait_for("VRRP")
        article = "VRRPv2, Advertisement, vrid 51, prio 249, authtype simple, intvl 1s, length 20"
        assert line.split(" > 224.0.0.18: ")[1] == article

    @needs_keepalived
    @pytest.mark.parametrize("version", [2, 3])
    def test_what_keepalived_says_is_byte_for_byte_what_we_would_say(
        self, lan: Segment, version: int, tmp_path: Path
    ) -> None:
        host = lan.host("192.168.122.101")
        password = "authentication {\n auth_type PASS\n auth_pass 12345\n }" if version == 2 else ""
        (tmp_path / "keepalived.conf").write_text(
            f"global_defs {{\n vrrp_version {version}\n}}\n"
            "vrrp_instance VI_1 {\n interface eth0\n virtual_router_id 51\n priority 249\n advert_int 1\n"
            f" {password}\n virtual_ipaddress {{\n 192.168.122.200/24\n }}\n}}\n"
        )
        with lan.capture(expression="ip proto 112") as capture:
            host.popen(
                f"keepalived --vrrp --dont-fork --log-console --use-file {tmp_path}/keepalived.conf"
                f" --pid {tmp_path}/pid --vrrp_pid {tmp_path}/vrrp-pid",
                stdout=subprocess.DEVNULL,
            )
            capture.wait_for("VRRP", timeout=20)
            frame = _first_frame(capture.pcap)
        payload = frame[14 + 20 :]
        ours = advertisement(249, b"12345" if version == 2 else b"", version=version)
        assert payload[: len(ours)].hex() == ours.hex()
        assert isinstance(parse(payload[: len(ours)], SOURCE, GROUP), Advertisement)


def _first_frame(pcap: Path) -> bytes:
    content = pcap.read_bytes()
    (length,) = struct.unpack_from("<I", content, 24 + 8)
    return content[24 + 16 : 24 + 16 + length]


def test_the_longest_interval_is_kept_to_12_bits() -> None:
    read = parse(advertisement(1, version=3, advertInterval="40.95s"), SOURCE, GROUP)
    assert isinstance(read, Advertisement)
    assert read.interval == 40_950 * MILLISECOND

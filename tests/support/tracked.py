"""What trackers look at, and the samples on machines."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from article import sample
from machine import Machine
from segment import Host

# What the article pings with; Debian's ping is not everywhere, Python is. A raw socket: it needs NET_RAW.
PING = """\
import socket, struct, sys
packet = struct.pack("!BBHHH", 8, 0, 0, 0x7a7a, 1)
words = sum(struct.unpack("!4H", packet))
packet = packet[:2] + struct.pack("!H", ~(words + (words >> 16)) & 0xffff) + packet[4:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as raw:
    raw.settimeout(1.0)
    raw.sendto(packet, (sys.argv[1], 0))
    while True:
        data, (sender, _) = raw.recvfrom(1500)
        if sender == sys.argv[1] and data[20] == 0:
            break
"""

# Port, and how it answers: as it should, with a body that never ends, or a letter at a time.
WEB_SERVER = """\
import socket, sys, threading, time
def answer(client):
    head = b"HTTP/1.1 200 OK\\r\\n\\r\\n"
    try:
        client.sendall(head if sys.argv[2] != "trickle" else head[:1])
        while sys.argv[2] == "flood":
            client.sendall(bytes(1 << 16))
        while sys.argv[2] == "trickle":
            time.sleep(0.05)
            client.sendall(b"T")
        client.setblocking(False)
        client.recv(4096)
    except OSError:
        pass
    client.close()
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=128)
print("listening", flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=answer, args=(client,), daemon=True).start() if sys.argv[2] != "well" else answer(client)
"""


def start_web_server(machine: Machine, port: int, how: str = "well") -> None:
    """Listens on every address of the machine's; `how` is well, flood or trickle."""
    server = machine.popen([sys.executable, "-S", "-c", WEB_SERVER, str(port), how], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"


def start_sample(servers: Sequence[Machine], tmp_path: Path, name: str, *options: str, **replace: str) -> None:
    """The sample on these servers. Where they have a file of their own `{}` stands for the server's directory."""
    password = tmp_path / "password"
    password.write_text("12345\n")
    for server in servers:
        texts = {old: new.format(server.directory) for old, new in replace.items()}
        server.manifest("web.yaml", sample(name, str(password), texts))
        if not server.engines:
            server.start_engine(None, *options)


def add_interface(host: Host, name: str) -> None:
    """One with carrier, connected to nothing else."""
    far = f"{name}far"
    host.run("ip -batch -", stdin=f"link add {name} type veth peer name {far}\nlink set {far} up\nlink set {name} up\n")


def write_script(directory: Path, name: str, content: str) -> str:
    """An executable of root's; its path."""
    path = directory / name
    path.write_text(content)
    path.chmod(0o755)
    return str(path)


def write_ping(directory: Path) -> str:
    """The same as deploy/sample/scripts/ping.sh, by Python; its path."""
    return write_script(directory, "ping.py", f"#!/usr/bin/python3\n{PING}")

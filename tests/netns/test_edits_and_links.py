"""What happens to a running VIP when its neighbours in the manifest, or the interface under it, change."""

import socket
import time

from article import VIP, fast
from machine import Machine, cpu_seconds
from segment import Namespace, Segment
from tracked import add_interface
from virtualip_agent import ipc
from virtualip_agent.control.history import read_history
from virtualip_agent.run_directory import history_path, vrrp_socket_path

Servers = tuple[Machine, Machine]


def start(servers: Servers, text: str) -> None:
    for server in servers:
        server.manifest("web.yaml", text)
        server.start_engine()
        servers[0].wait_state("web", "MASTER")
    servers[1].wait("web", lambda entry: entry["reason"] == "LowerPriority")


def transitions(server: Machine) -> list[tuple[str, str]]:
    """(state, reason) of what its history has."""
    records = read_history(history_path(server.run_directory))
    return [(record["to"], record["reason"]) for record in records if "reason" in record]


def wait_until_one_master(servers: Servers) -> None:
    """server1 has the VIP, and it alone."""
    servers[0].wait_state("web", "MASTER")
    servers[1].wait("web", lambda entry: entry["state"] == "BACKUP" and entry["reason"] == "LowerPriority")
    assert [server.host.has(VIP) for server in servers] == [True, False]


def test_a_vip_that_is_renamed_keeps_its_address(servers: Servers) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    one.manifest("web.yaml", fast("renamed"))
    one.wait_state("renamed", "MASTER")
    one.host.wait_for_address(VIP)
    # longer than a lifetime: what is there is there to stay
    time.sleep(3.5)
    assert one.host.has(VIP)


def test_to_name_the_interface_on_which_it_is_or_to_leave_the_name_out_moves_nothing(servers: Servers) -> None:
    start(servers, fast(interface=None))
    before = [len(transitions(server)) for server in servers]
    for interface in ("eth0", None):
        for server in servers:
            # other priorities too, so that it is seen when the edit has arrived; the first is the better one all the
            # while, whichever of the two has it first
            bases = (250, 230) if interface else (245, 235)
            priorities = [{"nodeName": f"server{n}", "priority": base} for n, base in enumerate(bases, 1)]
            server.manifest("web.yaml", fast(interface=interface, nodePriorities=priorities))
        for server, priority in zip(servers, bases, strict=True):
            server.wait("web", lambda entry, it=priority: entry["priority"] == it)  # type: ignore[misc]
    wait_until_one_master(servers)
    assert [transitions(server)[old:] for server, old in zip(servers, before, strict=True)] == [[], []]


def test_the_nodes_own_address_is_put_on_anew_and_it_does_not_speak_from_the_vip(servers: Servers) -> None:
    """As a DHCP client does, with promote_secondaries, which systemd turns on: the VIP becomes the primary."""
    one, _ = servers
    one.host.sysctl("net.ipv4.conf.all.promote_secondaries", "1")
    one.host.run("ip addr add 10.9.0.1/24 dev eth0")  # else it may be without a source for a moment, and hand over
    start(servers, fast())
    before = [len(transitions(server)) for server in servers]
    own, other = (server.host.address for server in servers)
    one.host.run("ip -batch -", stdin=f"addr del {own}/24 dev eth0\naddr add {own}/24 brd + dev eth0\n")
    deadline = time.monotonic() + 10
    while f"{VIP}/32" not in one.host.addresses() or f"src {own}" not in one.host.run(f"ip route get {other}"):
        assert time.monotonic() < deadline, one.host.run("ip addr")
        time.sleep(0.02)
    assert f"{VIP}/24" not in one.host.addresses()
    time.sleep(3.5)  # longer than a lifetime
    assert one.host.has(VIP)
    wait_until_one_master(servers)
    assert [transitions(server)[old:] for server, old in zip(servers, before, strict=True)] == [[], []]


def test_who_has_to_go_to_another_interface_listens_there_first_and_comes_back_with_the_subnet(
    servers: Servers,
) -> None:
    one, _ = servers
    start(servers, fast(interface=None))
    add_interface(one.host, "eth1")
    one.host.run("ip addr add 192.168.122.1/24 dev eth1")
    before = len(transitions(one))
    own = one.host.address
    one.host.run(f"ip addr del {own}/24 dev eth0")
    one.wait("web", lambda entry: entry.get("interface") == "eth1" and entry["state"] == "MASTER")
    assert [state for state, _ in transitions(one)[before:]] == ["BACKUP", "MASTER"]
    one.host.run(f"ip addr add {own}/24 brd + dev eth0")
    one.wait("web", lambda entry: entry.get("interface") == "eth0" and entry["state"] == "MASTER")
    assert [state for state, _ in transitions(one)[before + 2 :]] == ["BACKUP", "MASTER"]
    wait_until_one_master(servers)


def test_two_vips_that_swap_their_addresses_both_keep_one(servers: Servers) -> None:
    one, _ = servers
    first, second = "192.168.122.210", "192.168.122.211"

    def both(a: str, b: str) -> str:
        return fast("a", addresses=[f"{a}/24"], vrid=61) + "---\n" + fast("b", addresses=[f"{b}/24"], vrid=62)

    one.manifest("both.yaml", both(first, second))
    one.start_engine()
    one.wait_state("a", "MASTER")
    one.wait_state("b", "MASTER")
    one.manifest("both.yaml", both(second, first))
    deadline = time.monotonic() + 10
    while [one.detail(name)["addresses"] for name in "ab"] != [[f"{second}/24"], [f"{first}/24"]]:
        assert time.monotonic() < deadline, [one.detail(name) for name in "ab"]
        time.sleep(0.1)
    time.sleep(3.5)
    assert one.host.has(first)
    assert one.host.has(second)


def test_two_vips_that_swap_their_vrids_on_all_nodes_both_keep_their_addresses(servers: Servers) -> None:
    # static manifests only: in the API a VRID is immutable
    first, second = "192.168.122.210", "192.168.122.211"

    def both(a: int, b: int) -> str:
        return fast("a", addresses=[f"{first}/24"], vrid=a) + "---\n" + fast("b", addresses=[f"{second}/24"], vrid=b)

    for server in servers:
        server.manifest("both.yaml", both(61, 62))
        server.start_engine()
        for name in "ab":
            servers[0].wait_state(name, "MASTER")
    for name in "ab":
        servers[1].wait(name, lambda entry: entry["reason"] == "LowerPriority")
    for server in servers:
        server.manifest("both.yaml", both(62, 61))
    time.sleep(3.5)  # longer than a lifetime: what is there is there to stay
    for name in "ab":
        servers[0].wait_state(name, "MASTER")
        servers[1].wait(name, lambda entry: entry["reason"] == "LowerPriority")
    assert [[server.host.has(address) for address in (first, second)] for server in servers] == [
        [True, True],
        [False, False],
    ]


def test_an_address_that_moves_to_another_vip_and_its_vrid_to_a_third_stays(servers: Servers) -> None:
    one, _ = servers
    first, second = "192.168.122.210", "192.168.122.211"

    def vip(name: str, address: str, vrid: int) -> str:
        return fast(name, addresses=[f"{address}/24"], vrid=vrid)

    one.manifest("all.yaml", vip("a", first, 61) + "---\n" + vip("b", second, 62))
    one.start_engine()
    for name in "ab":
        one.wait_state(name, "MASTER")
    # a goes; its address is b's, its VRID c's, and b's address as well
    one.manifest("all.yaml", vip("b", first, 62) + "---\n" + vip("c", second, 61))
    one.wait_state("c", "MASTER")
    time.sleep(3.5)
    assert [one.detail(name)["addresses"] for name in "bc"] == [[f"{first}/24"], [f"{second}/24"]]
    assert [one.host.has(address) for address in (first, second)] == [True, True]


def test_the_same_vrid_twice_on_an_interface_is_fault_for_the_second_and_changes_nothing_for_the_first(
    servers: Servers,
) -> None:
    start(servers, fast())
    for server in servers:
        # without a name: only vrrp knows that it is the same interface
        server.manifest("zz.yaml", fast("zz", interface=None, addresses=["192.168.122.201/24"]))
        entry = server.wait_state("zz", "FAULT")
        assert entry["reason"] == "VRIDInUse"
        assert entry["message"] == "VRID 51 on eth0 is web's"
    wait_until_one_master(servers)
    for server in servers:
        (server.directory / "manifests" / "web.yaml").unlink()
    # its VRID is free now
    servers[0].wait_state("zz", "MASTER")


def test_an_interface_that_leaves_and_returns_with_the_same_index_is_heard_again(
    servers: Servers, lan: Segment
) -> None:
    start(servers, fast())
    backup = servers[1].host
    elsewhere = Namespace("elsewhere")  # nothing in it has the index
    index = backup.ip("link", "show", "dev", "eth0")[0]["ifindex"]
    backup.run(f"ip link set eth0 netns {elsewhere.pid}")
    servers[1].wait_state("web", "FAULT")
    elsewhere.run(f"ip link set eth0 netns {backup.pid}")
    backup.run("ip -batch -", stdin=f"addr add {backup.address}/24 brd + dev eth0\nlink set eth0 up\n")
    assert backup.ip("link", "show", "dev", "eth0")[0]["ifindex"] == index, "another index proves nothing"
    elsewhere.close()
    wait_until_one_master(servers)


def test_leaving_a_bridge_is_not_the_end_of_an_interface(servers: Servers) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    one.host.run("ip -batch -", stdin="link add brx type bridge\nlink set eth0 master brx\nlink set eth0 nomaster\n")
    one.wait_state("web", "MASTER")
    time.sleep(0.5)
    assert one.wait_state("web", "MASTER")["reason"] != "NoInterface"
    assert one.host.has(VIP)


def test_somebody_elses_address_beside_ours_is_never_touched(servers: Servers) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    one.host.run(f"ip addr add {VIP}/32 dev eth0")
    time.sleep(3.5)
    lifetimes = {info["prefixlen"]: info["valid_life_time"] for info in one.host.address_details()
                 if info["local"] == VIP}  # fmt: skip
    assert lifetimes[32] > 1_000_000, "it has our lifetime"
    assert lifetimes[24] <= 3
    assert lifetimes[24] > 0


def test_a_new_hardware_address_is_told_to_the_neighbours(servers: Servers, lan: Segment) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    with lan.capture(expression="arp and ether src 52:54:00:00:00:99") as capture:
        one.host.run("ip link set eth0 address 52:54:00:00:00:99")
        capture.wait_for(f"who-has {VIP} ")


def test_nobody_but_root_commands_vrrp(servers: Servers) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    path = vrrp_socket_path(one.run_directory)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    for directory in (one.run_directory, *one.run_directory.parents):
        if directory.stat().st_mode & 0o001 == 0:
            directory.chmod(directory.stat().st_mode | 0o011)
    program = (
        "import os, socket, sys\n"
        "os.setgroups([64112]); os.setresgid(64112, 64112, 64112); os.setresuid(64112, 64112, 64112)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(5); s.connect(sys.argv[1])\n"
        "print('refused' if s.recv(4096) == b'' else 'greeted')\n"
    )
    assert one.host.run(["python3", "-c", program, str(path)]).strip() == "refused"


def test_more_clients_than_vrrp_takes_do_not_end_it(servers: Servers) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    clients = []
    for _ in range(50):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(vrrp_socket_path(one.run_directory)))  # waits while as many are still to be let in
        client.settimeout(5)
        clients.append(client)
    hello = ipc.decode_from_vrrp(clients[0].recv(ipc.LARGEST_MESSAGE))
    assert isinstance(hello, ipc.Hello)
    assert not hello.active
    assert clients[-1].recv(ipc.LARGEST_MESSAGE) == b""
    for client in clients:
        client.close()
    assert one.wait_state("web", "MASTER")
    assert one.host.has(VIP)


def test_a_node_without_a_cable_and_nothing_to_wait_for_sleeps(lan: Segment, servers: Servers) -> None:
    one, _ = servers
    one.manifest("web.yaml", fast())
    one.start_engine()
    one.wait_state("web", "MASTER")
    lan.unplug(one.host)
    one.wait_state("web", "FAULT")
    vrrp = one.pid_of("vrrp")
    time.sleep(0.5)  # the last timer of the MASTER that it was has passed
    before = cpu_seconds(vrrp)
    time.sleep(1.0)
    assert cpu_seconds(vrrp) - before < 0.05

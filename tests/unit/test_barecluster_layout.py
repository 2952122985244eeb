"""barecluster: names, addresses and paths of a cluster."""

from pathlib import Path

import pytest

from barecluster.errors import ClusterError
from barecluster.layout import HOSTS, NODES, Layout, cache


@pytest.mark.parametrize("prefix", ["", "Vip", "1vip", "vip_a", "../vip", "a" * 17])
def test_a_prefix_that_cannot_be_part_of_names_is_refused(prefix: str) -> None:
    with pytest.raises(ClusterError, match="prefix"):
        Layout(prefix)


def test_two_prefixes_share_no_name_even_when_one_begins_with_the_other() -> None:
    one, other = Layout("vip"), Layout("vip-cp")
    assert not set(one.namespaces) & set(other.namespaces)
    assert one.cgroup != other.cgroup
    assert one.state != other.state
    assert one.lock != other.lock


def test_state_and_cache_go_where_the_xdg_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert Layout("vip").state == Path("/somewhere/state/virtualip/clusters/vip")
    assert cache() == Path.home() / ".cache/virtualip"


def test_every_interface_has_its_own_hardware_address_and_every_host_its_own_address() -> None:
    macs = [host.mac(interface) for host in HOSTS for interface in host.interfaces]
    assert len(set(macs)) == len(macs)
    assert len({host.address for host in HOSTS}) == len(HOSTS)
    assert len({node.pod_subnet for node in NODES}) == len(NODES)

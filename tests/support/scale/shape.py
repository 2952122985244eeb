"""Who takes part in what: every node in as many VirtualIPs, each with other neighbours. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from virtualip_api.names import API_VERSION, VIRTUAL_IP_KIND

_LABEL = "takes-part-in-{}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A cluster's size."""

    nodes: int
    virtual_ips: int
    members: int
    """Of each VirtualIP."""

    @property
    def node_names(self) -> list[str]:
        """In order."""
        return [f"node{number:04}" for number in range(self.nodes)]

    @property
    def virtual_ip_names(self) -> list[str]:
        """In order."""
        return [f"vip{number:03}" for number in range(self.virtual_ips)]

    def members_of(self, virtual_ip: int) -> list[int]:
        """The numbers of its nodes. Each turn round the cluster uses another stride, so that neighbours differ."""
        first = virtual_ip * self.members
        stride = 1 + 2 * (first // self.nodes)
        found = dict.fromkeys((first + stride * place) % self.nodes for place in range(self.members))
        spare = iter(range(self.nodes))
        while len(found) < self.members:
            found.setdefault(next(spare))
        return list(found)

    def node_objects(self) -> Iterator[dict[str, Any]]:
        """As kubelets would register them."""
        labels: list[dict[str, str]] = [{} for _ in range(self.nodes)]
        for number, name in enumerate(self.virtual_ip_names):
            for node in self.members_of(number):
                labels[node][_LABEL.format(name)] = ""
        for number, name in enumerate(self.node_names):
            address = f"10.66.{number // 250}.{number % 250 + 1}"
            yield {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels[number]},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }

    def virtual_ip_objects(self) -> Iterator[dict[str, Any]]:
        """One VRID each, five trackers, and the first three members of another base priority each."""
        names = self.node_names
        for number, name in enumerate(self.virtual_ip_names):
            preferred = zip(self.members_of(number)[:3], (244, 240, 236), strict=False)
            yield {
                "apiVersion": API_VERSION,
                "kind": VIRTUAL_IP_KIND,
                "metadata": {"name": name},
                "spec": {
                    "addresses": [f"10.66.{200 + number // 250}.{number % 250 + 1}/32"],
                    "vrid": number % 255 + 1,
                    "interface": f"vlan{number // 255}",
                    "nodeSelector": {"matchLabels": {_LABEL.format(name): ""}},
                    "nodePriorities": [{"nodeName": names[node], "priority": base} for node, base in preferred],
                    "trackers": [
                        {"name": f"daemon{place}", "process": {"name": f"daemon{place}"}, "weight": 1}
                        for place in range(TRACKERS)
                    ],
                },
            }


TRACKERS = 5

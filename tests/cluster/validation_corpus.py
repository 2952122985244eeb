"""Specs, good and bad, that the API server (by the CRD) and virtualip_api (in the dataclasses) must judge alike."""

import copy
from dataclasses import dataclass
from typing import Any

from virtualip_api.names import API_VERSION, VIRTUAL_IP_KIND

Spec = dict[str, Any]

PROCESS = {"name": "apache", "process": {"name": "httpd"}}
FILE = {"name": "app", "file": {"path": "/var/run/my_app/vrrp_track_file"}}
INTERFACE = {"name": "uplink", "interface": {"name": "ens9"}}
AUTHENTICATION = {"type": "PASS", "secretKeyRef": {"name": "web-vrrp", "key": "password"}}
FULL_IPV4 = [f"192.0.2.{number}/32" for number in range(255)]
FULL_IPV6 = [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{number:x}/128" for number in range(1, 256)]
"""As many as an advertisement has room for, and as long as they get."""


@dataclass(frozen=True)
class Case:
    """A spec; `field` is what the message must name where it is bad."""

    name: str
    spec: Spec
    field: str = ""
    resource_name: str = "web"

    def resource(self) -> dict[str, Any]:
        """The whole VirtualIP."""
        return {
            "apiVersion": API_VERSION,
            "kind": VIRTUAL_IP_KIND,
            "metadata": {"name": self.resource_name},
            "spec": copy.deepcopy(self.spec),
        }


def spec(**fields: Any) -> Spec:
    """A minimal spec with these fields."""
    return {"addresses": ["192.168.122.200/24"], "vrid": 51} | fields


def tracker(**fields: Any) -> Spec:
    """A minimal spec with one tracker, by default of a process."""
    given = fields.keys() & {"process", "file", "interface", "http", "tcp", "script", "podReady"}
    kinds = {} if given else {"process": {"name": "httpd"}}
    return spec(trackers=[{"name": "apache", **kinds, **fields}])


def process(**fields: Any) -> Spec:
    """A minimal spec with a process tracker."""
    return tracker(process={"name": "httpd", **fields})


def http(**fields: Any) -> Spec:
    """A minimal spec with an http tracker."""
    return tracker(http={"url": "http://192.0.2.1/", **fields})


def script(*command: str, **fields: Any) -> Spec:
    """A minimal spec with a script tracker."""
    return tracker(script={"command": list(command) or ["/etc/virtualip/scripts/check.sh"], **fields})


def pod_ready(**fields: Any) -> Spec:
    """A minimal spec with a podReady tracker."""
    return tracker(podReady={"namespace": "ingress", "selector": {"matchLabels": {"app": "nginx"}}, **fields})


def notify(*command: str, **fields: Any) -> Spec:
    """A minimal spec with a notify."""
    return spec(notify=[{"command": list(command) or ["/etc/virtualip/scripts/notify.sh"], **fields}])


def priorities(*entries: dict[str, Any]) -> Spec:
    """A minimal spec with nodePriorities."""
    return spec(nodePriorities=list(entries))


def node_addresses(*nodes: list[str], **fields: Any) -> Spec:
    """A minimal spec with nodeAddresses: of server1, server2 ..."""
    entries = [{"nodeName": f"server{number}", "addresses": node} for number, node in enumerate(nodes, 1)]
    return spec(nodeAddresses=entries, **fields)


def selector(**fields: Any) -> Spec:
    """A minimal spec with one of matchExpressions."""
    return spec(nodeSelector={"matchExpressions": [{"key": "edge", **fields}]})


def _without(name: str) -> Spec:
    return {key: value for key, value in spec().items() if key != name}


GOOD = [
    Case("minimal", spec()),
    Case("name-of-63-characters", spec(), resource_name="v" * 63),
    Case(
        "the-article",
        spec(
            version=2,
            interface="eth0",
            priority=244,
            nodePriorities=[{"nodeName": "server2", "priority": 240}],
            advertInterval="1s",
            authentication=AUTHENTICATION,
            trackers=[PROCESS | {"weight": 10}, FILE | {"weight": 1}],
        ),
    ),
    Case("several-addresses", spec(addresses=["192.0.2.1/32", "192.0.2.2/32", "198.51.100.9/24"])),
    Case("link-local", spec(addresses=["169.254.1.1/32"])),
    Case("255-addresses-of-a-family", spec(addresses=FULL_IPV4 + FULL_IPV6)),
    Case("ipv6", spec(addresses=["2001:db8::10/64", "fe80::10/128", "2001:db8::/127"])),
    Case("both-families", spec(addresses=["192.0.2.1/32", "2001:db8::1/64"], checksum="RFC9568")),
    Case("unicast", spec(addresses=["192.0.2.1/32", "2001:db8::1/64"], transport="Unicast", strictPeers=True)),
    Case("unicast-in-v2", spec(version=2, transport="Unicast")),
    Case(
        "unicast-from-these",
        node_addresses(["192.0.2.1", "2001:db8::101"], ["2001:db8::102"], transport="Unicast"),
    ),
    Case("strict-peers", spec(strictPeers=True)),
    Case(
        "strict-peers-over-ipv6-by-name",
        node_addresses(["fe80::1"], ["fe80::2"], addresses=["2001:db8::1/64"], strictPeers=True),
    ),
    Case("point-to-point", spec(addresses=["192.0.2.0/31", "192.0.2.1/31"])),
    Case("host-that-looks-like-a-broadcast", spec(addresses=["10.0.0.255/23"])),
    Case("host-that-looks-like-a-network", spec(addresses=["10.0.1.0/23"])),
    Case("v3-in-10ms", spec(advertInterval="10ms")),
    Case("v3-in-40.95s", spec(advertInterval="40.95s")),
    Case("v2-in-255s", spec(version=2, advertInterval="255s")),
    Case("v2-in-minutes", spec(version=2, advertInterval="1m30s")),
    Case("delays", spec(preemptDelay="1000s", startupDelay="16m40s", downTimerAdverts=100)),
    Case("no-delays", spec(preemptDelay="0s", startupDelay="0s", downTimerAdverts=1)),
    Case("garp", spec(garp={"repeat": 1, "interval": "1ms", "delay": "0s", "refresh": "24h", "refreshRepeat": 20})),
    Case("garp-by-default", spec(garp={})),
    Case("drain-by-default", spec(drain={})),
    Case("drain-by-label-alone", spec(drain={"onCordon": False, "onExcludeLabel": True})),
    Case("checksum-of-rfc-9568", spec(checksum="RFC9568")),
    Case("sync-group", spec(syncGroup="edge-1")),
    Case("v2-in-milliseconds", spec(version=2, advertInterval="2000ms")),
    Case("owner", priorities({"nodeName": "server1", "priority": 255})),
    Case("priority-by-selector", priorities({"nodeSelector": {"matchLabels": {"a": "b"}}, "priority": 1})),
    Case("selector-in", selector(operator="In", values=["true", "yes"])),
    Case("selector-exists", selector(operator="Exists")),
    Case("weight-254", tracker(weight=254)),
    Case("weight-minus-254", tracker(weight=-254, reverse=True)),
    Case(
        "process-with-everything",
        process(
            fullCommand=True,
            arguments=["-k", "start"],
            argumentsMatch="Initial",
            quorum=2,
            quorumMax=2,
            delay="1s",
            terminateDelay="1h",
        ),
    ),
    Case("file-that-must-be-there", tracker(file={"path": "/a/b..c", "onMissing": "Fail"})),
    Case("http-of-the-local-api", http(url="https://127.0.0.1:6443/readyz?verbose", insecureSkipVerify=True)),
    Case("http-over-ipv6", http(url="http://[2001:db8::1]:80", status=["200", "300-302"])),
    Case("tcp-over-ipv6", tracker(tcp={"host": "2001:db8::1", "port": 22})),
    Case("tcp-by-name", tracker(tcp={"host": "db.example.com", "port": 5432, "timeout": "100ms"})),
    Case("script", script()),
    Case(
        "script-of-the-article",
        script(
            "/etc/virtualip/scripts/check.sh",
            "192.168.122.1",
            timeout="5s",
            rise=3,
            fall=3,
            capabilities=["NET_RAW", "NET_ADMIN"],
            env={"A": "", "_b": "c=d"},
        ),
    ),
    Case("notify", notify()),
    Case(
        "notify-of-the-article",
        notify(when=["MASTER", "BACKUP", "FAULT", "STOP"], user="keepalived_script", timeout="60s", instance="VI_1"),
    ),
    Case("script-by-number", script(user="1000", capabilities=[], env={})),
    Case("pods", pod_ready()),
    Case("pods-by-expression", pod_ready(selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})),
    Case("all-pods", pod_ready(selector={}, quorum=2, holdFor="168h")),
    Case("several-kinds-of-trackers", spec(trackers=[PROCESS, FILE, INTERFACE])),
]

BAD = [
    Case("name-with-a-dot", spec(), "metadata.name", resource_name="a.b"),
    Case("name-of-64-characters", spec(), "metadata.name", resource_name="v" * 64),
    Case("unknown-field", spec(prority=1), "spec.prority"),
    Case("unknown-field-in-a-tracker", tracker(wieght=1), "spec.trackers[0].wieght"),
    Case("no-addresses", _without("addresses"), "spec.addresses"),
    Case("empty-addresses", spec(addresses=[]), "spec.addresses"),
    Case("256-addresses", spec(addresses=[*FULL_IPV4, "192.0.3.1/32"]), "spec.addresses"),
    Case("256-addresses-of-ipv6", spec(addresses=[*FULL_IPV6, "2001:db8:1::1/64"]), "spec.addresses"),
    Case("address-without-a-prefix", spec(addresses=["192.0.2.1"]), "spec.addresses[0]"),
    Case("address-with-a-netmask", spec(addresses=["192.0.2.1/255.255.255.0"]), "spec.addresses[0]"),
    Case("prefix-of-33", spec(addresses=["192.0.2.1/33"]), "spec.addresses[0]"),
    Case("no-address", spec(addresses=["gateway/32"]), "spec.addresses[0]"),
    Case("ipv6-without-a-prefix", spec(addresses=["192.0.2.1/32", "2001:db8::1"]), "spec.addresses[1]"),
    Case("ipv6-of-a-zone", spec(addresses=["fe80::1%eth0/64"]), "spec.addresses[0]"),
    Case("ipv4-in-ipv6", spec(addresses=["::ffff:192.0.2.1/128"]), "spec.addresses[0]"),
    Case("ipv6-multicast", spec(addresses=["ff02::12/128"]), "spec.addresses[0]"),
    Case("ipv6-loopback", spec(addresses=["::1/128"]), "spec.addresses[0]"),
    Case("ipv6-unspecified", spec(addresses=["::/128"]), "spec.addresses[0]"),
    Case("subnet-router-anycast", spec(addresses=["2001:db8::/64"]), "spec.addresses[0]"),
    Case("ipv6-twice", spec(addresses=["2001:db8::1/64", "2001:DB8:0::1/128"]), "spec.addresses"),
    Case("ipv6-in-v2", spec(addresses=["192.0.2.1/32", "2001:db8::1/64"], version=2), "spec.addresses"),
    Case("rfc-9568-checksum-of-ipv6", spec(addresses=["2001:db8::1/64"], checksum="RFC9568"), "spec.checksum"),
    Case("transport-of-another-kind", spec(transport="Broadcast"), "spec.transport"),
    Case("strict-peers-over-ipv6", spec(addresses=["2001:db8::1/64"], strictPeers=True), "spec.strictPeers"),
    Case("node-without-addresses", spec(nodeAddresses=[{"nodeName": "a"}]), "spec.nodeAddresses[0].addresses"),
    Case("node-with-a-subnet", node_addresses(["192.0.2.1/24"]), "spec.nodeAddresses[0].addresses[0]"),
    Case("node-at-a-group", node_addresses(["224.0.0.18"]), "spec.nodeAddresses[0].addresses[0]"),
    Case("node-with-a-zone", node_addresses(["fe80::1%eth0"]), "spec.nodeAddresses[0].addresses[0]"),
    Case("node-with-two-of-a-family", node_addresses(["192.0.2.1", "192.0.2.2"]), "spec.nodeAddresses[0].addresses"),
    Case("two-nodes-at-an-address", node_addresses(["192.0.2.1"], ["192.0.2.1"]), "spec.nodeAddresses"),
    Case(
        "a-node-twice",
        spec(nodeAddresses=[{"nodeName": "a", "addresses": [f"192.0.2.{n}"]} for n in (1, 2)]),
        "spec.nodeAddresses[1]",
    ),
    Case("node-at-a-virtual-address", node_addresses(["192.168.122.200"]), "spec.nodeAddresses"),
    Case("multicast-from-a-global-address", node_addresses(["2001:db8::101"]), "spec.nodeAddresses"),
    Case("multicast", spec(addresses=["224.0.0.18/32"]), "spec.addresses[0]"),
    Case("loopback", spec(addresses=["127.0.0.1/8"]), "spec.addresses[0]"),
    Case("unspecified", spec(addresses=["0.0.0.0/32"]), "spec.addresses[0]"),
    Case("this-network", spec(addresses=["0.1.2.3/32"]), "spec.addresses[0]"),
    Case("limited-broadcast", spec(addresses=["255.255.255.255/32"]), "spec.addresses[0]"),
    Case("network", spec(addresses=["192.0.2.0/24"]), "spec.addresses[0]"),
    Case("broadcast", spec(addresses=["192.0.3.255/23"]), "spec.addresses[0]"),
    Case("address-twice", spec(addresses=["192.0.2.1/32", "192.0.2.1/24"]), "spec.addresses"),
    Case("no-vrid", _without("vrid"), "spec.vrid"),
    Case("vrid-0", spec(vrid=0), "spec.vrid"),
    Case("vrid-256", spec(vrid=256), "spec.vrid"),
    Case("vrid-in-words", spec(vrid="51"), "spec.vrid"),
    Case("version-1", spec(version=1), "spec.version"),
    Case("version-4", spec(version=4), "spec.version"),
    Case("interface-of-16-characters", spec(interface="a" * 16), "spec.interface"),
    Case("interface-with-a-slash", spec(interface="a/b"), "spec.interface"),
    Case("interface-with-a-space", spec(interface="a b"), "spec.interface"),
    Case("interface-dot-dot", spec(interface=".."), "spec.interface"),
    Case("priority-0", spec(priority=0), "spec.priority"),
    Case("priority-255", spec(priority=255), "spec.priority"),
    Case("selector-without-an-operator", selector(), "spec.nodeSelector.matchExpressions[0].operator"),
    Case("selector-of-no-operator", selector(operator="in"), "spec.nodeSelector.matchExpressions[0].operator"),
    Case("selector-in-nothing", selector(operator="In"), "spec.nodeSelector.matchExpressions[0].values"),
    Case(
        "selector-exists-in",
        selector(operator="Exists", values=["x"]),
        "spec.nodeSelector.matchExpressions[0].values",
    ),
    Case("priority-for-nobody", priorities({"priority": 10}), "spec.nodePriorities[0]"),
    Case(
        "priority-for-both", priorities({"priority": 10, "nodeName": "a", "nodeSelector": {}}), "spec.nodePriorities[0]"
    ),
    Case("node-priority-256", priorities({"priority": 256, "nodeName": "a"}), "spec.nodePriorities[0].priority"),
    Case("no-node-priority", priorities({"nodeName": "a"}), "spec.nodePriorities[0].priority"),
    Case("owners-by-selector", priorities({"priority": 255, "nodeSelector": {}}), "spec.nodePriorities[0].priority"),
    Case(
        "two-owners",
        priorities({"priority": 255, "nodeName": "a"}, {"priority": 255, "nodeName": "b"}),
        "spec.nodePriorities",
    ),
    Case("no-duration", spec(advertInterval="1"), "spec.advertInterval"),
    Case("negative-duration", spec(advertInterval="-1s"), "spec.advertInterval"),
    Case("v3-in-9ms", spec(advertInterval="9ms"), "spec.advertInterval"),
    Case("v3-in-15ms", spec(advertInterval="15ms"), "spec.advertInterval"),
    Case("v3-in-10.5ms", spec(advertInterval="10.5ms"), "spec.advertInterval"),
    Case("v3-in-41s", spec(advertInterval="41s"), "spec.advertInterval"),
    Case("v2-in-100ms", spec(version=2, advertInterval="100ms"), "spec.advertInterval"),
    Case("v2-in-1.5s", spec(version=2, advertInterval="1.5s"), "spec.advertInterval"),
    Case("v2-in-256s", spec(version=2, advertInterval="256s"), "spec.advertInterval"),
    Case("preempt-after-1001s", spec(preemptDelay="1001s"), "spec.preemptDelay"),
    Case("preempt-after-a-while", spec(preemptDelay="5"), "spec.preemptDelay"),
    Case("start-after-17m", spec(startupDelay="17m"), "spec.startupDelay"),
    Case("down-after-0-adverts", spec(downTimerAdverts=0), "spec.downTimerAdverts"),
    Case("down-after-101-adverts", spec(downTimerAdverts=101), "spec.downTimerAdverts"),
    Case("garp-not-once", spec(garp={"repeat": 0}), "spec.garp.repeat"),
    Case("garp-21-times", spec(garp={"repeat": 21}), "spec.garp.repeat"),
    Case("garp-all-at-once", spec(garp={"interval": "0s"}), "spec.garp.interval"),
    Case("garp-again-after-1001s", spec(garp={"delay": "1001s"}), "spec.garp.delay"),
    Case("garp-every-100ms", spec(garp={"refresh": "100ms"}), "spec.garp.refresh"),
    Case("garp-every-25h", spec(garp={"refresh": "25h"}), "spec.garp.refresh"),
    Case("drain-sometimes", spec(drain={"onCordon": "sometimes"}), "spec.drain.onCordon"),
    Case("drain-in-other-words", spec(drain={"onDelete": True}), "spec.drain.onDelete"),
    Case("garp-in-other-words", spec(garp={"count": 5}), "spec.garp.count"),
    Case("checksum-of-none", spec(checksum="None"), "spec.checksum"),
    Case("checksum-of-rfc-9568-in-v2", spec(version=2, checksum="RFC9568"), "spec.checksum"),
    Case("sync-group-in-capitals", spec(syncGroup="Edge"), "spec.syncGroup"),
    Case("sync-group-of-a-family", spec(syncGroup="vip:web"), "spec.syncGroup"),
    Case("sync-group-without-a-name", spec(syncGroup=""), "spec.syncGroup"),
    Case("v3-with-a-password", spec(authentication=AUTHENTICATION), "spec.authentication"),
    Case(
        "password-without-a-type",
        spec(version=2, authentication={"secretKeyRef": {"name": "a", "key": "b"}}),
        "spec.authentication.type",
    ),
    Case(
        "password-of-another-type",
        spec(version=2, authentication=AUTHENTICATION | {"type": "AH"}),
        "spec.authentication.type",
    ),
    Case("password-without-a-secret", spec(version=2, authentication={"type": "PASS"}), "spec.authentication"),
    Case(
        "secret-without-a-key",
        spec(version=2, authentication={"type": "PASS", "secretKeyRef": {"name": "a"}}),
        "spec.authentication.secretKeyRef.key",
    ),
    Case("tracker-without-a-name", spec(trackers=[{"process": {"name": "a"}}]), "spec.trackers[0].name"),
    Case("tracker-without-a-kind", spec(trackers=[{"name": "a"}]), "spec.trackers[0]"),
    Case("tracker-of-two-kinds", spec(trackers=[PROCESS | FILE]), "spec.trackers[0]"),
    Case("two-trackers-of-a-name", spec(trackers=[PROCESS, FILE | {"name": "apache"}]), "spec.trackers[1]"),
    Case("33-trackers", spec(trackers=[PROCESS | {"name": f"t{n}"} for n in range(33)]), "spec.trackers"),
    Case("weight-255", tracker(weight=255), "spec.trackers[0].weight"),
    Case("weight-minus-255", tracker(weight=-255), "spec.trackers[0].weight"),
    Case("process-without-a-name", tracker(process={}), "spec.trackers[0].process.name"),
    Case("quorum-0", process(quorum=0), "spec.trackers[0].process.quorum"),
    Case("quorum-above-its-bound", process(quorum=3, quorumMax=2), "spec.trackers[0].process.quorumMax"),
    Case("delay-above-an-hour", process(delay="61m"), "spec.trackers[0].process.delay"),
    Case("terminate-delay-above-an-hour", process(terminateDelay="1h1s"), "spec.trackers[0].process.terminateDelay"),
    Case("match-of-no-arguments", process(argumentsMatch="Exact"), "spec.trackers[0].process.argumentsMatch"),
    Case(
        "match-of-no-kind", process(arguments=["a"], argumentsMatch="Prefix"), "spec.trackers[0].process.argumentsMatch"
    ),
    Case("file-without-a-path", tracker(file={}), "spec.trackers[0].file.path"),
    Case("relative-path", tracker(file={"path": "var/run/x"}), "spec.trackers[0].file.path"),
    Case("path-that-climbs", tracker(file={"path": "/var/../etc/shadow"}), "spec.trackers[0].file.path"),
    Case("no-interface", tracker(interface={}), "spec.trackers[0].interface.name"),
    Case("tracked-interface-with-a-slash", tracker(interface={"name": "a/b"}), "spec.trackers[0].interface.name"),
    Case("tracked-interface-of-16", tracker(interface={"name": "a" * 16}), "spec.trackers[0].interface.name"),
    Case("ftp", http(url="ftp://192.0.2.1/"), "spec.trackers[0].http.url"),
    Case("url-without-a-host", http(url="http:///x"), "spec.trackers[0].http.url"),
    Case("url-with-a-password", http(url="http://me:secret@192.0.2.1/"), "spec.trackers[0].http.url"),
    Case("url-with-a-line-break", http(url="http://192.0.2.1/\r\nX: y"), "spec.trackers[0].http.url"),
    Case("url-that-ends-in-a-line-break", http(url="http://192.0.2.1/\n"), "spec.trackers[0].http.url"),
    Case("url-with-port-65536", http(url="http://192.0.2.1:65536/"), "spec.trackers[0].http.url"),
    Case("host-with-a-line-break", http(host="a\nb"), "spec.trackers[0].http.host"),
    Case("status-600", http(status=["600"]), "spec.trackers[0].http.status"),
    Case("status-backwards", http(status=["300-200"]), "spec.trackers[0].http.status"),
    Case("no-status", http(status=[]), "spec.trackers[0].http.status"),
    Case("http-every-99ms", http(interval="99ms"), "spec.trackers[0].http.interval"),
    Case("http-within-an-hour", http(timeout="1h"), "spec.trackers[0].http.timeout"),
    Case("http-fall-0", http(fall=0), "spec.trackers[0].http.fall"),
    Case("relative-ca-file", http(caFile="ca.crt"), "spec.trackers[0].http.caFile"),
    Case("tcp-without-a-port", tracker(tcp={"host": "192.0.2.1"}), "spec.trackers[0].tcp.port"),
    Case("tcp-to-a-url", tracker(tcp={"host": "http://a", "port": 80}), "spec.trackers[0].tcp.host"),
    Case("script-without-a-command", tracker(script={}), "spec.trackers[0].script.command"),
    Case("script-of-nothing", tracker(script={"command": []}), "spec.trackers[0].script.command"),
    Case("relative-script", script("check.sh"), "spec.trackers[0].script.command"),
    Case("script-that-climbs", script("/etc/virtualip/scripts/../x"), "spec.trackers[0].script.command"),
    Case("script-without-a-name", script(""), "spec.trackers[0].script.command"),
    Case("script-with-a-nul", script("/x", "a\0b"), "spec.trackers[0].script.command"),
    Case("script-of-no-user", script(user="a b"), "spec.trackers[0].script.user"),
    Case("script-that-may-do-much", script(capabilities=["SYS_ADMIN"]), "spec.trackers[0].script.capabilities"),
    Case("script-with-a-space-in-a-variable", script(env={"a b": ""}), "spec.trackers[0].script.env"),
    Case("script-with-our-variables", script(env={"VIRTUALIP_NAME": "x"}), "spec.trackers[0].script.env"),
    Case("script-that-never-falls", script(fall=0), "spec.trackers[0].script.fall"),
    Case("pods-of-nowhere", tracker(podReady={"selector": {}}), "spec.trackers[0].podReady.namespace"),
    Case("pods-of-any-kind", tracker(podReady={"namespace": "a"}), "spec.trackers[0].podReady.selector"),
    Case("pods-of-a-path", pod_ready(namespace="a/../b"), "spec.trackers[0].podReady.namespace"),
    Case("no-pods", pod_ready(quorum=0), "spec.trackers[0].podReady.quorum"),
    Case("pods-held-for-29s", pod_ready(holdFor="29s"), "spec.trackers[0].podReady.holdFor"),
    Case("pods-held-for-169h", pod_ready(holdFor="169h"), "spec.trackers[0].podReady.holdFor"),
    Case(
        "pods-in-nothing",
        pod_ready(selector={"matchExpressions": [{"key": "app", "operator": "In"}]}),
        "spec.trackers[0].podReady.selector.matchExpressions[0].values",
    ),
    Case("notify-nobody", spec(notify=[{}]), "spec.notify[0].command"),
    Case("notify-by-a-relative-path", notify("notify.sh"), "spec.notify[0].command"),
    Case("notify-that-climbs", notify("/etc/virtualip/scripts/../x"), "spec.notify[0].command"),
    Case("notify-when-it-rains", notify(when=["RAIN"]), "spec.notify[0].when[0]"),
    Case("notify-of-no-user", notify(user="a b"), "spec.notify[0].user"),
    Case("notify-for-61s", notify(timeout="61s"), "spec.notify[0].timeout"),
    Case("notify-as-two-words", notify(instance="VI 1"), "spec.notify[0].instance"),
    Case("17-notifies", spec(notify=[{"command": ["/x"]}] * 17), "spec.notify"),
    Case("notify-with-a-nul", notify("/x", "a\0b"), "spec.notify[0].command"),
    Case("script-with-a-nul-in-a-variable", script(env={"A": "a\0b"}), "spec.trackers[0].script.env"),
    Case("script-every-99ms", script(interval="99ms"), "spec.trackers[0].script.interval"),
    Case("script-for-61m", script(timeout="61m"), "spec.trackers[0].script.timeout"),
    Case(
        "tcp-every-99ms",
        tracker(tcp={"host": "192.0.2.1", "port": 22, "interval": "99ms"}),
        "spec.trackers[0].tcp.interval",
    ),
    Case(
        "tcp-within-61s",
        tracker(tcp={"host": "192.0.2.1", "port": 22, "timeout": "61s"}),
        "spec.trackers[0].tcp.timeout",
    ),
    Case(
        "pods-that-exist-in",
        pod_ready(selector={"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["x"]}]}),
        "spec.trackers[0].podReady.selector.matchExpressions[0].values",
    ),
    Case(
        "priority-by-a-selector-in-nothing",
        priorities({"priority": 10, "nodeSelector": {"matchExpressions": [{"key": "edge", "operator": "In"}]}}),
        "spec.nodePriorities[0].nodeSelector.matchExpressions[0].values",
    ),
    Case(
        "priority-by-a-selector-exists-in",
        priorities(
            {
                "priority": 10,
                "nodeSelector": {"matchExpressions": [{"key": "edge", "operator": "Exists", "values": ["x"]}]},
            }
        ),
        "spec.nodePriorities[0].nodeSelector.matchExpressions[0].values",
    ),
    Case("missing-in-other-words", tracker(file={"path": "/x", "onMissing": "One"}), "spec.trackers[0].file.onMissing"),
]

STRICTER: list[Case] = [
    # The API server wants these written in another way, so that its rules see all of them; what it lets through is
    # always good for the dataclasses, and that is what counts.
    Case("microseconds", spec(advertInterval="10000us"), "spec.advertInterval"),
    Case("fraction-of-a-minute", spec(version=2, advertInterval="0.5m"), "spec.advertInterval"),
]


def by_name(case: Case) -> str:
    """For pytest's ids."""
    return case.name

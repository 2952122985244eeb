"""The configuration files of a node's daemons."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from barecluster import image
from barecluster.certificates import write_kubeconfig
from barecluster.layout import POD_NETWORK, Host, Layout

# What a reboot keeps, as directories of the node's own. Not on the node's overlays: containerd cannot build its
# snapshots on one, and inotify on one loses a file that is changed for the first time.
DISK = (
    "etc/cni",
    "etc/kubernetes",
    "etc/virtualip",
    "var/lib/cni",
    "var/lib/containerd",
    "var/lib/kubelet",
    "var/lib/virtualip",
    "var/log",
)

_CONTAINERD = f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image.PAUSE_TAG}"
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE (a container, some virtual machines) runc cannot lower oom_score_adj and dies of it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""


def write(layout: Layout, node: Host, api_url: str) -> None:
    """Writes everything node-init.sh and the daemons read, below layout.node(name)."""
    directory = layout.node(node.name)
    disk = directory / "disk"
    for path in DISK:
        (disk / path).mkdir(parents=True, exist_ok=True)
    manifests = disk / "etc/kubernetes/manifests"
    manifests.mkdir(exist_ok=True)
    # One upper and work directory for each overlay of node-init.sh.
    for tree in ("etc", "var/lib"):
        (directory / "upper" / tree).mkdir(parents=True, exist_ok=True)
        (directory / "work" / tree).mkdir(parents=True, exist_ok=True)
    etc = directory / "upper" / "etc"
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{node.address} {node.name}\n")
    (etc / "hostname").write_text(f"{node.name}\n")
    (etc / "machine-id").write_text(hashlib.md5(node.name.encode(), usedforsecurity=False).hexdigest() + "\n")
    (etc / "resolv.conf").write_text("")
    (disk / "etc/cni/net.d").mkdir(exist_ok=True)
    (disk / "etc/cni/net.d/10-bridge.conflist").write_text(json.dumps(_cni(node), indent=1))
    (directory / "containerd.toml").write_text(_CONTAINERD)
    _write_yaml(directory / "kubelet.yaml", _kubelet(layout, node))
    _write_yaml(directory / "kube-proxy.yaml", _kube_proxy(layout, node))
    write_kubeconfig(directory / "kubelet.conf", layout.pki, f"kubelet-{node.name}", api_url, layout.prefix)
    write_kubeconfig(directory / "kube-proxy.conf", layout.pki, "kube-proxy", api_url, layout.prefix)


def _cni(node: Host) -> Mapping[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "bridge",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node.pod_subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def _kubelet(layout: Layout, node: Host) -> Mapping[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}/{node.name}",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "address": node.address,
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{layout.pki}/kubelet-{node.name}.crt",
        "tlsPrivateKeyFile": f"{layout.pki}/kubelet-{node.name}.key",
        "rotateCertificates": False,
        "resolvConf": "/etc/resolv.conf",
        "clusterDomain": "cluster.local",
        "makeIPTablesUtilChains": False,
        # The disk is the machine's: its fill level must neither evict pods nor delete images.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "enforceNodeAllocatable": ["pods"],
        "maxPods": 30,
        # With the controller manager's grace period of 8 s: a power cut is seen in about that time.
        "nodeLeaseDurationSeconds": 8,
        "nodeStatusUpdateFrequency": "2s",
        "shutdownGracePeriod": "0s",
        "staticPodPath": "/etc/kubernetes/manifests",
        "fileCheckFrequency": "2s",
    }


def _kube_proxy(layout: Layout, node: Host) -> Mapping[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clusterCIDR": POD_NETWORK,
        "clientConnection": {"kubeconfig": f"{layout.node(node.name)}/kube-proxy.conf"},
        # Machine-wide sysctls: left alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _write_yaml(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False))

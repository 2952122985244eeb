"""barecluster: a Kubernetes cluster of three nodes in network namespaces of this machine, for tests and the demo.

Every node is a set of namespaces (network, mounts, processes, host name) with its own containerd and kubelet. The
programs are built from Kubernetes' Go modules; no image is ever pulled. See cluster.py for the interface.
"""

from barecluster.cluster import Cluster
from barecluster.errors import ClusterError
from barecluster.node import Node

__all__ = ["Cluster", "ClusterError", "Node"]

"""The command line: python -m barecluster."""

import argparse
import os
import sys
from collections.abc import Sequence

from barecluster import image
from barecluster.binaries import binaries
from barecluster.cluster import Cluster
from barecluster.errors import ClusterError
from barecluster.helm import helm
from barecluster.layout import NODES
from barecluster.progress import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments ask for; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _do(options, Cluster(options.prefix))
    except ClusterError as error:
        print(f"barecluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("barecluster: interrupted; up goes on from here, down removes what was made", file=sys.stderr)
        return 130
    return 0


def _do(options: argparse.Namespace, cluster: Cluster) -> None:
    match options.command:
        case "up":
            cluster.up(api_only=options.api_only, controllers=options.controllers)
            print(f"export KUBECONFIG={cluster.kubeconfig} PATH={cluster.binaries}:$PATH")
        case "down":
            cluster.down()
            say(f"cluster {cluster.prefix} is down")
        case "build":
            binaries()
            helm()
        case "bin":
            print(binaries())
        case "image":
            print(image.build(options.tag).archive)
        case "load-image":
            built = image.build(options.tag)
            cluster.load_image(built.tag, built.archive)
        case "kubectl":
            kubectl = cluster.binaries / "kubectl"
            os.execv(kubectl, [str(kubectl), f"--kubeconfig={cluster.kubeconfig}", *options.words])
        case "exec":
            command = (
                cluster.client_command(*options.words)
                if options.machine == "client"
                else cluster.node(options.machine).command(*options.words)
            )
            os.execvp(command[0], command)
        case "power-on" | "power-off" | "link-down" | "link-up":
            getattr(cluster.node(options.node), options.command.replace("-", "_"))()
        case "stop-api":
            cluster.stop_api_servers()
        case "start-api":
            cluster.start_api_servers()
        case "status":
            _status(cluster)


def _status(cluster: Cluster) -> None:
    level = cluster.level
    print(f"cluster {cluster.prefix}: {level or 'down'}")
    if level is None:
        return
    print(f"kubeconfig {cluster.kubeconfig}")
    for name, runs in cluster.running().items():
        if not name.startswith("node-"):
            print(f"{name:<24} {'running' if runs else 'ended'}")
    for node in cluster.nodes if level == "nodes" else ():
        power = f"on, pid {node.pid}, cable {'in' if node.link_is_up() else 'out'}" if node.pid else "off"
        print(f"{node.name:<24} {power}, {node.address}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="barecluster", description="A test cluster in network namespaces.")
    parser.add_argument("--prefix", help="name of the cluster (default: $BARECLUSTER_PREFIX or vip)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring it up")
    up.add_argument("--api-only", action="store_true", help="etcd and the API server, without nodes (and root)")
    up.add_argument("--controllers", action="store_true", help="with --api-only: the controller manager too")
    commands.add_parser("down", help="remove everything it made")
    commands.add_parser("build", help="build Kubernetes' programs, and helm")
    commands.add_parser("bin", help="print the directory of kubectl and the other programs")
    for name, text in (
        ("image", "build our image, print its archive"),
        ("load-image", "build it, load it into the nodes"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--tag", default=image.TAG)
    commands.add_parser("kubectl", help="run kubectl as administrator").add_argument("words", nargs=argparse.REMAINDER)
    inside = commands.add_parser("exec", help="run a command in a node, or in the client's network namespace")
    inside.add_argument("machine", choices=[*(host.name for host in NODES), "client"])
    inside.add_argument("words", nargs=argparse.REMAINDER)
    for name, text in (
        ("power-off", "cut a node's power"),
        ("power-on", "boot a node"),
        ("link-down", "pull a node's cable"),
        ("link-up", "plug it in again"),
    ):
        commands.add_parser(name, help=text).add_argument("node", choices=[host.name for host in NODES])
    commands.add_parser("stop-api", help="kill the API server")
    commands.add_parser("start-api", help="start it again")
    commands.add_parser("status", help="what runs")
    return parser

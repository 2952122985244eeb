"""kubectl-vip, which kubectl runs as `kubectl vip`."""

import json
import sys
import time
from typing import Any, Final

import click

from kubectl_vip import move as moves
from kubectl_vip import text
from kubectl_vip.kubectl import Kubectl, KubectlFailed
from kubectl_vip.picture import Picture, read
from virtualip_api.duration import SECOND, parse_duration
from virtualip_api.move import PlannedMove
from virtualip_api.names import VIRTUAL_IP_LABEL, label_value

_POLL: Final = 0.2
_OPERATOR_READS: Final = 2.0
"""Seconds within which an operator that runs has said what it makes of an annotation."""
_AGENTS: Final = "app.kubernetes.io/name=virtualip,app.kubernetes.io/component=agent"


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        nanoseconds = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if nanoseconds < SECOND:
        raise click.BadParameter("must be a second or more")
    return nanoseconds


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--context", help="As kubectl's.")
@click.option("--kubeconfig", help="As kubectl's.")
@click.version_option(package_name="virtualip")
@click.pass_context
def cli(plugin: click.Context, /, **flags: str | None) -> None:
    """Who holds a VirtualIP and why, and moving one for a while."""
    plugin.obj = Kubectl([f"--{name}={value}" for name, value in flags.items() if value])


def _picture(kubectl: Kubectl, name: str) -> Picture:
    members = kubectl.get("virtualipmembers.virtualip.dev", "-l", f"{VIRTUAL_IP_LABEL}={label_value(name)}")
    return read(kubectl.get("virtualips.virtualip.dev", name), members)


def _pictures(kubectl: Kubectl) -> list[Picture]:
    members = kubectl.get("virtualipmembers.virtualip.dev")["items"]
    return [
        read(one, {"items": [member for member in members if member["spec"]["virtualIP"] == one["metadata"]["name"]]})
        for one in kubectl.get("virtualips.virtualip.dev")["items"]
    ]


@cli.command()
@click.argument("names", nargs=-1)
@click.pass_obj
def why(kubectl: Kubectl, names: tuple[str, ...]) -> None:
    """Show who holds it, why, and how each node and tracker stands; without NAMES, of every VirtualIP."""
    pictures = [_picture(kubectl, name) for name in names] if names else _pictures(kubectl)
    print("\n\n\n".join(text.why(picture, time.time()) for picture in pictures))


@cli.command()
@click.pass_obj
def check(kubectl: Kubectl) -> None:
    """Show what is not as it should be, of all VirtualIPs; exit 1 where there is anything."""
    found = _pictures(kubectl)
    remarks = [f"{picture.name}: {remark}" for picture in found for remark in picture.remarks()]
    if remarks:
        print("\n".join(remarks))
        sys.exit(1)
    print(f"{len(found)} VirtualIP{'' if len(found) == 1 else 's'}, and nothing to look at")


@cli.command()
@click.argument("name")
@click.option("--to", metavar="NODE", help="The node that is to hold it.")
@click.option("--for", "duration", metavar="DURATION", callback=_duration, help="For how long, such as 30m or 1h30m.")
@click.option("--end", is_flag=True, help="End a move before its time.")
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=_duration,
    default="15s",
    show_default=True,
    help="How long to wait for it.",
)
@click.pass_obj
def move(kubectl: Kubectl, name: str, to: str | None, duration: int | None, end: bool, timeout: int) -> None:
    """Have a node hold it for a while, and wait until it does; or end that.

    Every other member drains meanwhile. It ends by itself, and the VirtualIP returns by the rules of preemption."""
    if end == bool(to or duration) or (not end and not (to and duration)):
        raise click.UsageError("either --to NODE and --for DURATION, or --end")
    if end:
        kubectl.run("annotate", "virtualips.virtualip.dev", name, *moves.WITHOUT)
        print(f"{name} returns by the rules of preemption")
        return
    assert to
    assert duration
    try:
        planned = moves.lasting(to, time.time(), duration / SECOND)
        annotations = moves.annotations(planned)
    except (ValueError, OverflowError):
        raise click.UsageError("--for: no calendar has its end") from None
    had_it = _picture(kubectl, name).status.get("master") == to
    kubectl.run("annotate", "virtualips.virtualip.dev", name, *annotations)
    if failure := _until_made(kubectl, name, planned, timeout / SECOND):
        kubectl.run("annotate", "virtualips.virtualip.dev", name, *moves.WITHOUT)
        raise KubectlFailed(f"{name}: {failure}; it is taken back")
    told = "" if had_it else f" ({_picture(kubectl, name).status.get('lastMove', '')})"
    print(f"{to} has {name}, until {planned.end}{told}")


def _until_made(kubectl: Kubectl, name: str, planned: PlannedMove, patience: float) -> str:
    """Waits for a move; why it has not come about, or ''."""
    asked = time.monotonic()
    while not moves.is_made(picture := _picture(kubectl, name), planned):
        waited = time.monotonic() - asked
        # what it says in the first moments may be of an earlier move
        if waited > _OPERATOR_READS and (refused := moves.refusal(picture, planned)):
            return refused
        if waited > patience:
            return f"{planned.to} does not have it after {patience:g} s; `kubectl vip why {name}` tells more"
        time.sleep(_POLL)
    return ""


@cli.command()
@click.argument("name")
@click.option("--namespace", default="virtualip-system", show_default=True, help="The agents' own.")
@click.pass_obj
def history(kubectl: Kubectl, name: str, namespace: str) -> None:
    """Tell what every node has noted of it as one story: each transition, and what was seen on the segment."""
    pods = kubectl.get("pods", "-n", namespace, "-l", _AGENTS)["items"]
    members = _picture(kubectl, name).members
    records: list[tuple[str, dict[str, Any]]] = []
    for pod in pods:
        node = pod["spec"].get("nodeName", "")
        if node not in members:
            continue
        asked = ("virtualip-agent", "history", "--name", name, "-o", "json")
        try:
            said = kubectl.run("exec", "-n", namespace, pod["metadata"]["name"], "-c", "control", "--", *asked)
        except KubectlFailed as error:
            print(f"kubectl vip: {node}: {error}", file=sys.stderr)
            continue
        records += [(node, json.loads(line)) for line in said.splitlines()]
    print(text.history(records))


def main() -> None:
    """The entry point: whatever is wrong is said in one line. 2: wrong options; 1: it did not work."""
    try:
        cli.main(prog_name="kubectl vip", standalone_mode=False)
    except click.UsageError as error:
        print(f"kubectl vip: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        print(f"kubectl vip: {error.format_message()}", file=sys.stderr)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)

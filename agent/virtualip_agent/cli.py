"""`virtualip-agent`: one command a process, and what a person on the node asks.

Whatever a process needs is imported within its command: vrrp must not carry scapy, nor control Kubernetes.
"""

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from virtualip_agent.run_directory import (
    DEFAULT_DESIRED,
    DEFAULT_MANIFESTS,
    DEFAULT_RUN,
    DEFAULT_SCRIPT_DIRECTORIES,
    history_path,
)
from virtualip_api.capabilities import SCRIPT_CAPABILITIES

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


def _option(name: str, **settings: Any) -> Callable[[_Command], _Command]:
    """An option that has its environment variable: --run and VIRTUALIP_RUN."""
    variable = "VIRTUALIP_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, show_envvar=True, show_default=True, **settings)


def _node(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip() or "/" in value or any(character.isspace() for character in value):
        raise click.BadParameter(f"{value!r} is not a node's name")
    return value


def _script_capabilities(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    unknown = [name for name in value.split(":") if name and name not in SCRIPT_CAPABILITIES]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(SCRIPT_CAPABILITIES)}")
    return value


_node_option = _option("--node", required=True, callback=_node, help="This node's name.")
_run_option = _option("--run", type=_DIRECTORY, default=DEFAULT_RUN, help="Sockets, lock and history.")
_desired_option = _option("--desired", type=_DIRECTORY, default=DEFAULT_DESIRED, help="What the reporter wrote.")
_manifests_option = _option(
    "--manifests", type=_DIRECTORY, default=DEFAULT_MANIFESTS, help="VirtualIPs of the node's own."
)
_host_root_option = _option(
    "--host-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    help="Where the host's root directory is mounted; tracked files are looked up beneath it.",
)
_script_directories_option = _option(
    "--script-directories",
    default=DEFAULT_SCRIPT_DIRECTORIES,
    help="Where scripts may be, several separated by colons.",
)
_scripts_root_option = _option(
    "--scripts-root",
    type=click.Path(exists=True, file_okay=False),
    default="/",
    help="Where the host's root directory is mounted; scripts are looked up beneath it and run with it as their root.",
)
_allow_root_scripts_option = _option(
    "--allow-root-scripts",
    is_flag=True,
    help="Scripts may run as root. Whoever may write a VirtualIP is then root on the nodes.",
)
_script_capabilities_option = _option(
    "--script-capabilities",
    default=SCRIPT_CAPABILITIES[0],
    callback=_script_capabilities,
    help=f"What scripts may ask for, several separated by colons: {', '.join(SCRIPT_CAPABILITIES)}.",
)
_log_format_option = _option("--log-format", type=click.Choice(["text", "json"]), default="text")
_log_level_option = _option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")


def _logs(command: _Command) -> _Command:
    return _log_format_option(_log_level_option(command))


@dataclass(frozen=True, slots=True)
class _ControlOptions:
    """What `control` is started with, and what `engine` hands on to it."""

    node: str
    manifests: Path
    desired: Path
    run: Path
    host_root: Path
    script_directories: str
    scripts_root: str
    allow_root_scripts: bool
    script_capabilities: str
    log_format: str
    log_level: str

    @property
    def common(self) -> list[str]:
        """The words of a command line that every process takes."""
        return ["--run", str(self.run), "--log-format", self.log_format, "--log-level", self.log_level]

    @property
    def words(self) -> list[str]:
        """Those of control."""
        return [
            *("--node", self.node, "--manifests", str(self.manifests), "--desired", str(self.desired)),
            *("--host-root", str(self.host_root), "--script-directories", self.script_directories),
            *("--scripts-root", self.scripts_root, *["--allow-root-scripts"][: self.allow_root_scripts]),
            *("--script-capabilities", self.script_capabilities),
            *self.common,
        ]


def _control_options(command: Callable[[_ControlOptions], int]) -> Callable[..., int]:
    @_node_option
    @_manifests_option
    @_desired_option
    @_run_option
    @_host_root_option
    @_script_directories_option
    @_scripts_root_option
    @_allow_root_scripts_option
    @_script_capabilities_option
    @_logs
    @functools.wraps(command)
    def take(**options: Any) -> int:
        return command(_ControlOptions(**options))

    return take


def _configure_logs(process: str, log_format: str, log_level: str) -> None:
    from virtualip_agent.logs import configure

    configure(process, log_format, log_level)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
def cli() -> None:
    """The agent of a node: VRRP for VirtualIPs."""


@cli.command()
@_control_options
def engine(options: _ControlOptions) -> int:
    """Run vrrp and control together (root in the node's network namespace; no Kubernetes needed)."""
    from virtualip_agent.control.directories import prepare_shared
    from virtualip_agent.engine import run as run_engine

    _configure_logs("engine", options.log_format, options.log_level)
    prepare_shared(options.run)
    return run_engine(["vrrp", *options.common], ["control", *options.words])


@cli.command()
@_run_option
@_logs
def vrrp(run: Path, log_format: str, log_level: str) -> int:
    """Run the real-time process: state machines, advertisements, addresses."""
    from virtualip_agent.control.directories import prepare_shared
    from virtualip_agent.realtime.main import run as run_vrrp

    _configure_logs("vrrp", log_format, log_level)
    prepare_shared(run)
    return run_vrrp(run)


@cli.command()
@_control_options
def control(options: _ControlOptions) -> int:
    """Run the process that reads files, runs trackers and tells vrrp what to do."""
    from virtualip_agent.control.duty import Options
    from virtualip_agent.control.main import run as run_control
    from virtualip_agent.control.spawner_policy import policy_of

    _configure_logs("control", options.log_format, options.log_level)
    scripts = policy_of(
        options.script_directories, options.allow_root_scripts, options.scripts_root, options.script_capabilities
    )
    return run_control(
        Options(options.node, options.manifests, options.desired, options.run, options.host_root, scripts)
    )


@cli.command()
@_node_option
@_option("--namespace", required=True, help="The agent's own: its Lease and the password Secrets are there.")
@_desired_option
@_run_option
@_option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of the pod's service account.",
)
@_logs
def reporter(
    node: str, namespace: str, desired: Path, run: Path, kubeconfig: Path | None, log_format: str, log_level: str
) -> int:
    """Run the process that speaks to the API: this node's plans in, its state out."""
    from virtualip_agent.reporter.main import Options
    from virtualip_agent.reporter.main import run as run_reporter

    _configure_logs("reporter", log_format, log_level)
    return run_reporter(Options(node=node, namespace=namespace, desired=desired, run=run, kubeconfig=kubeconfig))


@cli.command()
@_run_option
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="How to print.")
@click.option("--watch", is_flag=True, help="Go on printing at each change.")
@click.option("--counters", is_flag=True, help="Show vrrp's counters too; in JSON they always are.")
def status(run: Path, output: str, watch: bool, counters: bool) -> int:
    """Show the node's VirtualIPs, without asking the API."""
    from virtualip_agent.control.status_view import NoAgent, as_json, counters_text, pictures, status_text

    try:
        for picture in pictures(run, statistics=counters or output == "json"):
            print(json.dumps(as_json(picture)) if output == "json" else status_text(picture), flush=True)
            if counters and output == "table":
                print(f"\n{counters_text(picture)}", flush=True)
            if not watch:
                return 0
            if output == "table":
                print()
    except NoAgent as error:
        print(f"virtualip-agent: {error}", file=sys.stderr)
    return 1


@cli.command()
@_run_option
def ready(run: Path) -> int:
    """Exit 0 when an agent has read its directories and vrrp answers; an agent standing by is ready too."""
    from virtualip_agent.control.status_view import NoAgent, pictures

    try:
        picture = next(pictures(run))
    except NoAgent as error:
        print(f"virtualip-agent: {error}", file=sys.stderr)
        return 1
    if not picture.agent.get("ready"):
        print("virtualip-agent: vrrp does not answer", file=sys.stderr)
        return 1
    return 0


@cli.command()
@_run_option
@click.option("-n", "count", type=click.IntRange(min=1), help="Only the newest.")
@click.option("--name", help="Only this VirtualIP.")
@click.option("-o", "output", type=click.Choice(["table", "json"]), default="table", help="json: an object a line.")
def history(run: Path, count: int | None, name: str | None, output: str) -> int:
    """Show the transitions on this node, newest last."""
    from virtualip_agent.control.history import read_history
    from virtualip_agent.control.status_view import history_text

    records = [record for record in read_history(history_path(run)) if name in (None, record["name"])]
    records = records[-count:] if count else records
    if output == "table":
        print(history_text(records))
    else:
        for record in records:
            print(json.dumps(record))
    return 0


@cli.command()
@_desired_option
@click.argument("name", required=False)
def forget(desired: Path, name: str | None) -> int:
    """Take a VirtualIP off this node that is kept though the API does not know it any more; without NAME list them."""
    from virtualip_agent.forget import Refused, unknown_to_the_api
    from virtualip_agent.forget import forget as forget_one

    if name is None:
        for kept in unknown_to_the_api(desired):
            print(kept)
        return 0
    try:
        forget_one(desired, name)
    except Refused as error:
        print(f"virtualip-agent: {error}", file=sys.stderr)
        return 1
    return 0


@cli.command()
@click.option("-i", "--interface", help="Only this one.")
@click.option("--vrid", type=click.IntRange(1, 255), help="Only this virtual router.")
@click.option("-n", "count", type=click.IntRange(min=1), help="End after so many.")
def capture(interface: str | None, vrid: int | None, count: int | None) -> int:
    """Show VRRP on the wire, and what this agent would not hear of it. Needs NET_RAW."""
    import time

    from virtualip_agent.control.capture import describe, frames
    from virtualip_api.status import format_time

    shown = 0
    for name, frame in frames(interface):
        seen = describe(frame)
        if seen is None or vrid not in (None, seen.vrid):
            continue
        print(f"{format_time(time.time())} {name} {seen.text}", flush=True)
        shown += 1
        if shown == count:
            break
    return 0


def main() -> None:
    """The entry point: whatever is wrong is said in one line. 2: wrong options; 1: it did not work."""
    try:
        sys.exit(cli.main(prog_name="virtualip-agent", standalone_mode=False))
    except click.UsageError as error:
        print(f"virtualip-agent: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        print(f"virtualip-agent: {error.format_message()}", file=sys.stderr)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
    except OSError as error:
        print(f"virtualip-agent: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

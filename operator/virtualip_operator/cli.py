"""virtualip-operator. Every option also by environment variable."""

import os
import socket
import sys
from pathlib import Path

import click

from virtualip_operator.api import CannotConfigure
from virtualip_operator.http_server import split_address
from virtualip_operator.logs import configure
from virtualip_operator.main import Options, run


def _address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value:
        try:
            split_address(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--namespace",
    envvar="VIRTUALIP_NAMESPACE",
    default="virtualip-system",
    show_default=True,
    show_envvar=True,
    help="The namespace of operator and agents, where the agents' Leases are.",
)
@click.option(
    "--metrics-address",
    envvar="VIRTUALIP_METRICS_ADDRESS",
    default="127.0.0.1:9475",
    show_default=True,
    show_envvar=True,
    callback=_address,
    help="HOST:PORT of /metrics (and /healthz); empty for none. On any but a loopback address it takes a bearer token "
    "that may get the non-resource URL /metrics.",
)
@click.option(
    "--metrics-certificate",
    envvar="VIRTUALIP_METRICS_CERTIFICATE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    show_envvar=True,
    help="A directory with tls.crt and tls.key: metrics by HTTPS. Without it tokens travel in the clear.",
)
@click.option(
    "--health-address",
    envvar="VIRTUALIP_HEALTH_ADDRESS",
    default="",
    show_envvar=True,
    callback=_address,
    help="HOST:PORT (or :PORT, at every address) of /healthz alone, for the kubelet's liveness probe. It does not "
    "depend on the API server.",
)
@click.option(
    "--identity",
    envvar="VIRTUALIP_IDENTITY",
    default=lambda: f"{socket.gethostname()}-{os.getpid()}",
    show_default="HOSTNAME-PID",
    show_envvar=True,
    help="This replica's name in the Lease by which one of several leads.",
)
@click.option(
    "--log-format",
    envvar="VIRTUALIP_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    show_envvar=True,
)
@click.option(
    "--log-level",
    envvar="VIRTUALIP_LOG_LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    show_envvar=True,
)
def main(
    namespace: str,
    metrics_address: str,
    metrics_certificate: Path | None,
    health_address: str,
    identity: str,
    log_format: str,
    log_level: str,
) -> None:
    """Plans VirtualIPs and tells their state.

    Talks to the API server with the pod's ServiceAccount; elsewhere, or where KUBECONFIG is set, as that says.
    """
    configure(log_format, log_level)
    try:
        run(Options(namespace, metrics_address, metrics_certificate, health_address, identity))
    except CannotConfigure as error:
        sys.exit(f"no credentials for an API server: {error}")
    except OSError as error:
        sys.exit(str(error))

"""What a release consists of beside its image: python -m bundle install-yaml | chart."""

import argparse
import sys
from pathlib import Path

from chart import write_chart
from rendering import REPOSITORY, kustomized

BUILD = REPOSITORY / "build"


def main() -> None:
    """Writes it, and prints where."""
    parser = argparse.ArgumentParser(prog="bundle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install-yaml", help="everything in one file, for kubectl apply -f")
    install.add_argument("--image", default="", help="NAME:TAG or NAME@sha256:DIGEST instead of the release's")
    install.add_argument("--overlay", default="default", help="of deploy/overlays (default: %(default)s)")
    commands.add_parser("chart", help="the Helm chart, as a directory")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    if options.command == "chart":
        write_chart(BUILD / "chart/virtualip")
        print(BUILD / "chart/virtualip")
        return
    try:
        text = kustomized(options.overlay, options.image)
    except ValueError as error:
        sys.exit(f"bundle: {error}")
    path = BUILD / "install.yaml"
    Path(path).write_text(text)
    print(path)


if __name__ == "__main__":
    main()

"""`make bench-docs`: puts what the last `make bench` wrote into docs/performance.md."""

import re
import shutil
import sys
from pathlib import Path

_FROM = Path("build/bench")
_PAGE = Path("docs/performance.md")
_PLOT = Path("docs/growth.svg")
_BETWEEN = re.compile(r"(?<=<!-- make bench -->\n).*?(?=<!-- end -->)", re.S)


def main() -> int:
    """1: there is nothing to copy."""
    try:
        table = (_FROM / "table.md").read_text()
        shutil.copyfile(_FROM / "growth.svg", _PLOT)
    except FileNotFoundError as error:
        print(f"bench-docs: {error.filename} is not there: run `make bench` first", file=sys.stderr)
        return 1
    _PAGE.write_text(_BETWEEN.sub(lambda _: f"\n{table}\n", _PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

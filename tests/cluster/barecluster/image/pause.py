"""The pause image: the first process of every pod's sandbox, and nothing else."""

import hashlib
from pathlib import Path

from barecluster.image.archive import write_archive
from barecluster.image.layer import add_file, cached, key_of

PAUSE_TAG = "localhost/pause:1"


def write_pause(program: Path, archive: Path) -> None:
    """Writes the archive, from the program that binaries() built."""
    content = program.read_bytes()
    layer = cached(
        "pause", key_of(hashlib.sha256(content).hexdigest()), lambda tar: add_file(tar, "pause", content, 0o755)
    )
    write_archive(archive, PAUSE_TAG, [layer], {"Entrypoint": ["/pause"]})

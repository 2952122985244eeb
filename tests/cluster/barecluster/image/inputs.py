"""What the local builder shares with deploy/image/Dockerfile."""

from barecluster.layout import REPOSITORY

DIRECTORY = REPOSITORY / "deploy" / "image"
REQUIREMENTS = REPOSITORY / "requirements" / "image.txt"


def read_list(name: str) -> list[str]:
    """The lines of a file in deploy/image, without comments."""
    lines = (line.partition("#")[0].strip() for line in (DIRECTORY / name).read_text().splitlines())
    return [line for line in lines if line]

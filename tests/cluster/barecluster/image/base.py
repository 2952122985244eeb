"""The base layer: Debian's Python 3.11 and busybox, unpacked from .deb files.

No debootstrap and no maintainer scripts: what those would do (byte-compile, make users) is done here.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from barecluster.errors import ClusterError
from barecluster.image.inputs import read_list
from barecluster.image.layer import Layer, add_tree, cached, key_of
from barecluster.layout import cache
from barecluster.lock import locked
from barecluster.progress import say
from barecluster.shell import run

_DOCUMENTATION = ("bug", "doc", "info", "lintian", "locale", "man")
_UNUSED_MODULES = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "turtledemo")
_COMPILE = ("/usr/bin/python3", "-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONHASHSEED": "0"}  # the same bytes each time
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
virtualip:x:64112:64112:virtualip:/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = """\
root:x:0:
virtualip:x:64112:
nogroup:x:65534:
"""


def base_layer(root: Path) -> Layer:
    """The layer of such a directory."""
    return cached("base", key_of(root.name), lambda tar: add_tree(tar, root))


def base_root() -> Path:
    """The image's first files as a directory, kept by Debian's versions of the day. Raises ClusterError.

    Its interpreter compiles what the other layers hold.
    """
    packages = read_list("packages.txt")
    versions = _versions(packages)
    root = cache() / "layers" / f"base-{key_of(versions, PASSWD, GROUP)}.root"
    if root.is_dir():
        return root
    with locked(root.with_suffix(".lock"), "unpacking Debian packages"):
        if not root.is_dir():
            say("image: unpacking Debian's Python")
            with tempfile.TemporaryDirectory(dir=root.parent, prefix="unpacking-") as scratch:
                _make(Path(scratch), packages)
                (Path(scratch) / "root").rename(root)
    return root


def compile_modules(root: Path, tree: Path, destination: str) -> None:
    """Byte-compiles a tree for where it will be in the image, so that Python never looks at the sources again.

    The interpreter is the one in root, the image's own: a .pyc is good for one Python version only.
    """
    mounted = 'mount --bind "$1" "$2/mnt" && shift && exec chroot "$@"'
    compile_there = [*_COMPILE, "-s", "/mnt", "-p", destination, "/mnt"]
    run("unshare", "--mount", "sh", "-c", mounted, "sh", tree, root, *compile_there, environment=_ENVIRONMENT)


def _make(scratch: Path, packages: list[str]) -> None:
    root = scratch / "root"
    debs = scratch / "debs"
    debs.mkdir()
    run("apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", *packages, cwd=debs, timeout=600)
    for name in ("bin", "sbin", "lib", "lib64"):  # merged /usr, before anything is unpacked
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for deb in sorted(debs.iterdir()):
        _unpack(deb, root)
    for name in _DOCUMENTATION:
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for name in _UNUSED_MODULES:
        shutil.rmtree(root / "usr/lib/python3.11" / name, ignore_errors=True)
    (root / "usr/bin/python3").symlink_to("python3.11")
    for applet in run(root / "bin/busybox", "--list").split():
        path = root / "usr/bin" / applet
        if not path.exists():
            path.symlink_to("busybox")
    for name in ("dev", "mnt", "proc", "run", "sys", "tmp", "etc", "usr/local/bin"):
        (root / name).mkdir(exist_ok=True, parents=True)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    run("chroot", root, *_COMPILE, "/usr/lib/python3.11", environment=_ENVIRONMENT)


def _unpack(deb: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as reader:
        # A package's own ./bin or ./lib must not replace the links of merged /usr.
        tar: list[str | Path] = ["tar", "--extract", "--keep-directory-symlink", "--directory", root]
        done = subprocess.run(tar, stdin=reader.stdout, check=False)
    if reader.returncode or done.returncode:
        raise ClusterError(f"{deb} cannot be unpacked")


def _versions(packages: list[str]) -> str:
    """Names and checksums of the .deb files that apt would download now."""
    command = ("apt-get", "download", "--print-uris", *packages)
    try:
        listed = run(*command)
    except ClusterError:  # a machine whose package lists were never read
        run("apt-get", "--quiet", "--quiet", "update", timeout=600)
        listed = run(*command)
    return "\n".join(sorted(line.split()[-1] for line in listed.splitlines()))

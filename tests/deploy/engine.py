"""A container engine of a test's own, in a network of its own, with images that are made of one file."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.system.network import enter

SECONDS = 60.0
BUSYBOX = shutil.which("busybox") or ""
PORT = 8000

CGI = r"""#!/bin/busybox sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "$SECRET $MANY $HANSE_INSTANCE $HANSE_RELEASE $(/bin/busybox wget -q -O - "$HANSE_URL_WEB")"
"""
"""Tells what a container was handed, and what a neighbour of it answers."""


def why_not() -> str:
    """Why there can be no engine here; empty where there can be one."""
    if sys.platform != "linux" or os.geteuid():
        return "a container engine of one's own needs Linux and root"
    for program, package in (("dockerd", "docker.io"), ("docker", "docker.io"), ("iptables", "iptables")):
        if shutil.which(program) is None:
            return f"there is no {program}; install {package}"
    if not BUSYBOX or b"/ld-linux" in Path(BUSYBOX).read_bytes():
        return "there is no busybox that needs no libraries, of which images are made; install busybox-static"
    for words in (["unshare", "--net", "--mount", "true"], ["ip", "-V"]):
        if shutil.which(words[0]) is None or subprocess.run(words, check=False, capture_output=True).returncode:
            return f"`{' '.join(words)}` is not possible here"
    return ""


class Engine:
    """One that runs, with this thread, and whatever it starts, in its network."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables

    def asked(self, *words: str, given: bytes = b"") -> str:
        """What its command says."""
        docker = shutil.which("docker")
        assert docker is not None
        environment = {**os.environ, **self.variables}
        done = subprocess.run(
            [docker, *words], input=given, env=environment, capture_output=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.decode().strip()

    def image(self, name: str, page: str, *command: str) -> None:
        """Make an image that serves one page at its port."""
        words = command or ("/bin/busybox", "httpd", "-f", "-p", str(PORT), "-h", "/www")
        told = "CMD [" + ", ".join(f'"{word}"' for word in words) + "]"
        _ = self.asked("import", "--change", told, "-", name, given=_files(page))

    def containers(self) -> dict[str, str]:
        """Ids of all that there are, by the instance that each runs."""
        told = self.asked("ps", "--all", "--no-trunc", "--format", '{{.Label "hanse.instance"}} {{.ID}}')
        return dict(line.split() for line in told.splitlines())


def _files(page: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as files:
        files.add(BUSYBOX, "bin/busybox")
        for name, text, mode in (("www/index.html", page, 0o644), ("www/cgi-bin/told", CGI, 0o755)):
            one = tarfile.TarInfo(name)
            one.size, one.mode = len(text), mode
            files.addfile(one, io.BytesIO(text.encode()))
    return data.getvalue()


@contextmanager
def engine() -> Generator[Engine]:
    """An engine, until the end of the block; nothing of it is left then."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    with TemporaryDirectory(prefix="hanse-engine-", ignore_cleanup_errors=True) as folder:
        words = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        up = f"ip link set lo up && exec {' '.join(words)} --host=unix://{folder}/s --storage-driver=vfs 2>&1"
        # What it mounts is gone with it, as nobody else sees that.
        apart = ["unshare", "--net", "--mount", "sh", "-c", up]
        with subprocess.Popen(apart, stdout=subprocess.PIPE, text=True) as daemon:
            assert daemon.stdout is not None
            said: list[str] = []
            try:
                for line in daemon.stdout:
                    said.append(line)
                    if "API listen on" in line:
                        break
                else:
                    raise AssertionError("the engine has ended:\n" + "".join(said))
                theirs = os.open(f"/proc/{daemon.pid}/ns/net", os.O_RDONLY)
                enter(theirs)
                os.close(theirs)
                # Whatever it says from now on, it is not to wait until somebody reads it.
                reader = threading.Thread(target=daemon.stdout.read)
                reader.start()
                yield Engine({"DOCKER_HOST": f"unix://{folder}/s"})
                daemon.terminate()
                reader.join(SECONDS)
            finally:
                enter(home)
                os.close(home)
                daemon.terminate()

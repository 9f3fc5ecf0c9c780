"""Runs a program in a container, as if it were a process of the machine: `python -m hanse.deploy.contained`.

A container is a child of its engine: whoever asked for it may be killed, and it goes on, with its name and its port.
So three processes stand for it here. This one, which the keeper knows, hands signals on once, and ends as the container
does. The engine's command, its child, carries what the container prints. The sexton (`hanse.deploy.sexton`) waits until
this one has ended, however it did, and sees to it that no container is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from hanse.deploy.guard import SEXTON
from hanse.deploy.images import INSTANCE, SYSTEM
from hanse.deploy.linux import die_with

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

HANDED = "HANSE_HANDED"
"""Variable with those of the container, as JSON: the engine's command goes by variables of the machine."""

CANNOT = 3
"""Exit code where no container can be made."""

ENGINE_SECONDS = 30.0
"""That the engine may take to end a container, or to find one."""

SIGNAL_SECONDS = 10.0
"""In which a container that is just being started is found to hand a signal on to."""

AGAIN_SECONDS = 0.1

LINE_BYTES_MAX = 60_000
"""Longest variable that engines read from a file."""


class Box(msgspec.Struct, frozen=True):
    """What a container is, and how the machine reaches it.

    Attributes:
        engine: Path of the engine's command.
        name: Of the container.
        image: What it is made of.
        system, instance: What it is labelled with.
        listen: Port of the machine that leads to the program.
        inner: The one that it listens at in a network of its own; 0 where it is on the machine's.
        labels: More of these, for people.
        arguments: What the engine is told besides.
    """

    engine: str
    name: str
    image: str
    system: str
    instance: str
    listen: int = 0
    inner: int = 0
    labels: dict[str, str] = {}
    arguments: tuple[str, ...] = ()


def contained(words: Sequence[str], box: Box) -> tuple[str, ...]:
    """The command that runs an image so, and tells it these words."""
    return (*_US, msgspec.json.encode(box).decode(), *words)


# Variables for Python and the folder that it starts in are nothing to this process.
_US = (sys.executable, "-I", "-m", "hanse.deploy.contained")
_SEXTON = (sys.executable, "-I", "-S", str(Path(__file__).with_name("sexton.py")))


def creation(box: Box, words: Sequence[str], file: str, inherited: Sequence[str]) -> tuple[str, ...]:
    """What the engine is told to make a container; no value of a variable is among it, as everybody reads commands.

    Args:
        box: What it is.
        words: What the image is told.
        file: Path of the file with its variables.
        inherited: Names of those that no file can hold, and that the command has itself.

    Example:
        >>> box = Box("docker", "hanse-1-web", "web:2", "1", "web-1", 20001, 8000)
        >>> creation(box, (), "/dev/fd/3", ())[6:]
        ('--label', 'hanse.instance=web-1', '--env-file', '/dev/fd/3', '--publish', '127.0.0.1:20001:8000', 'web:2')
    """
    labels = {SYSTEM: box.system, INSTANCE: box.instance, **box.labels}
    found = ["--rm", "--init", "--name", box.name]
    for name, text in labels.items():
        found += ["--label", f"{name}={text}"]
    found += ["--env-file", file]
    for name in inherited:
        found += ["--env", name]
    found += ["--publish", f"127.0.0.1:{box.listen}:{box.inner}"] if box.inner else ["--network", "host"]
    return (*found, *box.arguments, box.image, *words)


def in_file(variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    r"""Variables as a file that engines read, and those that none can hold.

    Example:
        >>> in_file({"A": "1", "KEY": "two\nlines"})
        ('A=1\n', {'KEY': 'two\nlines'})
    """
    apart = {
        name: text for name, text in variables.items() if "\n" in text or "\r" in text or len(text) > LINE_BYTES_MAX
    }
    return "".join(f"{name}={text}\n" for name, text in variables.items() if name not in apart), apart


def main() -> int:
    """Run the process; its exit code."""
    box = msgspec.json.decode(sys.argv[1], type=Box)
    variables = msgspec.json.decode(os.environ.pop(HANDED, "{}"), type=dict[str, str])
    # Whatever comes before there is somebody to hand it to waits; the engine's command, which inherits this, is told
    # by nobody but us.
    _ = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    try:
        return _run(box, sys.argv[2:], variables)
    except (OSError, subprocess.SubprocessError) as error:
        return _cannot(f"{box.engine} cannot be run: {error}")


def _run(box: Box, words: Sequence[str], variables: Mapping[str, str]) -> int:
    if not _clear(box):
        return _cannot(f"{box.engine} does not answer for its engine; see that it runs, then `hanse restart`")
    # Before there is a container, as it may be there when nobody hears of it any more.
    life = _send_sexton(box)
    text, apart = in_file(variables)
    with _file(text) as file:
        path = f"/dev/fd/{file.fileno()}"
        making = subprocess.Popen(  # noqa: S603 - what the settings say
            [box.engine, "create", *creation(box, words, path, tuple(apart))],
            stdout=subprocess.PIPE,
            env={**os.environ, **apart},
            pass_fds=(file.fileno(),),
            preexec_fn=_dies_with_us(),  # noqa: PLW1509 - there is one thread
        )
        made, _ = making.communicate()
    if making.returncode:
        return _cannot(f"no container of {box.image}: {box.engine} create ended with {making.returncode}")
    _ = os.write(life, b".")
    # Its whole id is in the command, by which it is found whose a process in the container is.
    command = [box.engine, "start", "--attach", made.decode().split()[-1]]
    carrier = subprocess.Popen(command, preexec_fn=_dies_with_us())  # noqa: S603, PLW1509 - see above
    code = _followed(box, carrier)
    if code < 0 or _is_there(box):
        # The command has ended and the container has not: whoever comes next needs its port.
        _ = _asked(box, "rm", "--force", "--volumes", box.name)
    return code if code >= 0 else 128 - code


def _followed(box: Box, carrier: subprocess.Popen[bytes]) -> int:
    """Hand signals on until the container has ended; how it did."""
    while carrier.poll() is None:
        number = signal.sigwait({*FORWARDED, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            _hand_on(box, carrier, signal.Signals(number))
    return carrier.returncode


def _hand_on(box: Box, carrier: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Tell the container; one that is just being started is told once it runs."""
    for _ in range(round(SIGNAL_SECONDS / AGAIN_SECONDS)):
        if carrier.poll() is not None or _asked(box, "kill", "--signal", number.name, box.name) == "":
            return
        with suppress(subprocess.TimeoutExpired):
            _ = carrier.wait(AGAIN_SECONDS)


def _clear(box: Box) -> bool:
    """Take away what is left of an earlier run of this instance; whether the engine answers."""
    labels = ("--filter", f"label={SYSTEM}={box.system}", "--filter", f"label={INSTANCE}={box.instance}")
    found = _asked(box, "ps", "--all", "--quiet", *labels)
    if found:
        _ = _asked(box, "rm", "--force", "--volumes", *found.split())
    return found is not None


def _is_there(box: Box) -> bool:
    return bool(_asked(box, "ps", "--quiet", "--filter", f"name=^{box.name}$"))


def _asked(box: Box, *words: str) -> str | None:
    """What the engine's command says; None where it fails, or takes too long. A signal's echo is nothing said."""
    try:
        done = subprocess.run(  # noqa: S603 - words of ours
            [box.engine, *words], capture_output=True, text=True, check=False, timeout=ENGINE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    return "" if words[0] == "kill" else done.stdout.strip()


def _send_sexton(box: Box) -> int:
    """Start the sexton; a file that tells it of our end, by being closed with us."""
    theirs, ours = os.pipe()
    environment = {name: text for name, text in os.environ.items() if name != "HANSE_PROCESS"}
    _ = subprocess.Popen(  # noqa: S603 - our own command line
        [*_SEXTON, box.engine, box.name],
        env={**environment, SEXTON: "1"},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # What prints is read until the last one has closed it, and who has a group is killed with it.
        start_new_session=True,
    )
    os.close(theirs)
    return ours


def _file(text: str) -> IO[bytes]:
    """A file that has no name, so that nobody else reads what is in it."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("variables"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked closes it
    _ = file.write(text.encode(errors="surrogateescape"))
    _ = file.seek(0)
    return file


def _dies_with_us() -> Callable[[], None]:
    us = os.getpid()
    return lambda: die_with(us)


def _cannot(why: str) -> int:
    with suppress(OSError):
        print(f"hanse: {why}", file=sys.stderr, flush=True)  # noqa: T201 - a person reads it in the log
    return CANNOT


if __name__ == "__main__":
    sys.exit(main())

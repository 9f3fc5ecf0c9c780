"""Who a node says that it is to a server: a user, a token, a key, or the credentials of an account."""

from __future__ import annotations

import base64
import importlib
import re
import ssl
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import parse_qsl

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.transport.brokered.servers import Scheme, Server

SCHEME = Scheme(4222, {"nats": False, "tls": True}, "nats://127.0.0.1:4222")
"""URLs of servers."""

EVENTS_BYTES = 4 * 1024**3
"""Of events that are kept, unless the URL says otherwise."""

EVENTS_SECONDS = 604_800.0
"""For which events are kept, unless the URL says otherwise: a group that is away for longer misses some."""

_WHOLE = {"replicas": 5, "events_bytes": 2**50, "events_seconds": 2**32}
"""What a URL may say of them, and the most that makes sense."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a node takes part.

    Attributes:
        app: Name of the app; nodes of others hear nothing of it.
        name: What servers call the connection in their lists.
        user, password: Who asks; what stands in a URL wins.
        token: A secret that all clients share; what stands in a URL wins.
        nkey: Seed of a user's key, as `nk -gen user` prints it; needs `hanse[nats]`.
        credentials: Path of a user's `.creds` file, with a JWT and a seed; needs `hanse[nats]`.
        tls: How servers are verified, and what the node shows of itself; by default as the system trusts, and only
            where the URL or the server asks for TLS.
        patience: Seconds for which a server is looked for at the start.
        silence: Seconds after which a node that says nothing is taken for dead by those who wait for it.
        replicas: Copies of the events that are kept; 0 for one on a lone server, and three on a cluster.
        events_bytes: Of events that are kept at most; who publishes more waits.
        events_seconds: For which they are kept, at most.
        publish_seconds: For which events are published again until they are acknowledged; whoever publishes may go on
            with that.
    """

    app: str = "app"
    name: str = "hanse"
    user: str = ""
    password: str = ""
    token: str = ""
    nkey: str = ""
    credentials: str = ""
    tls: ssl.SSLContext | None = None
    patience: float = 5.0
    silence: float = 3.0
    replicas: int = 0
    events_bytes: int = EVENTS_BYTES
    events_seconds: float = EVENTS_SECONDS
    publish_seconds: float = 30.0


class Info(msgspec.Struct, frozen=True):
    """What a server says of itself.

    Attributes:
        max_payload: Bytes of one message that it takes at most.
        connect_urls: Where clients reach it and the others of its cluster.
        nonce: What a client with a key has to sign.
        tls_required, tls_available: Whether it wants or takes TLS.
        cluster: Name of its cluster; empty where it is alone.
        headers: Whether it takes headers, and so tells where nobody listens.
        ldm: Whether it is about to go.
    """

    max_payload: int = 1_048_576
    connect_urls: list[str] = []
    nonce: str = ""
    server_name: str = ""
    cluster: str = ""
    version: str = ""
    tls_required: bool = False
    tls_available: bool = False
    headers: bool = False
    ldm: bool = False


def options_in(url: str, options: Options) -> Options:
    """The options, and what a URL says of them behind a question mark.

    Raises:
        Misconfigured: It says what nobody understands.

    Example:
        >>> options_in("nats://a,b?replicas=1&events_bytes=1000000", Options()).events_bytes
        1000000
    """
    found: dict[str, int] = {}
    for name, value in parse_qsl(url.partition("?")[2], keep_blank_values=True):
        most = _WHOLE.get(name)
        if most is None or not value.isdecimal() or not 0 < int(value) <= most:
            known = ", ".join(f"{name}=1 to {most}" for name, most in _WHOLE.items())
            raise Misconfigured(f"expected {known} behind the servers, got {name}={value}")
        found[name] = int(value)
    return msgspec.structs.replace(options, **found)


class Key(Protocol):
    """A key of a user's."""

    @property
    def public_key(self) -> bytes:
        """Its public half, as servers name it."""
        ...

    def sign(self, what: bytes, /) -> bytes:
        """A signature."""
        ...


class _Keys(Protocol):
    def from_seed(self, seed: bytes, /) -> Key: ...


def connect_line(options: Options, server: Server, info: Info) -> bytes:
    """What a client says first.

    Raises:
        Misconfigured: A key cannot be read, or what signs with it is not installed.
    """
    fields: dict[str, object] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": server.tls,
        "name": options.name,
        "lang": "python-hanse",
        "version": "1",
        "protocol": 1,
        "echo": True,
        "headers": True,
        "no_responders": True,
    }
    jwt, seed = credentials_in(Path(options.credentials)) if options.credentials else ("", options.nkey)
    if seed:
        key = key_of(seed)
        signature = base64.urlsafe_b64encode(key.sign(info.nonce.encode())).rstrip(b"=")
        fields |= {"sig": signature.decode()} | ({"jwt": jwt} if jwt else {"nkey": bytes(key.public_key).decode()})
    if token := server.token or options.token:
        fields["auth_token"] = token
    if user := server.user or options.user:
        fields |= {"user": user, "pass": server.password or options.password}
    return b"CONNECT " + msgspec.json.encode(fields) + b"\r\n"


def credentials_in(path: Path) -> tuple[str, str]:
    """The JWT and the seed of a user, from a file as `nsc` writes it.

    Raises:
        Misconfigured: It cannot be read, or lacks one of them.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise Misconfigured(f"the NATS credentials {path} cannot be read: {error.strerror}") from None
    blocks = re.findall(r"-----BEGIN [^-]+-----\s+(\S+)\s+-+END [^-]+-+", text)
    if len(blocks) < 2:  # noqa: PLR2004 - the JWT, and the seed
        raise Misconfigured(f"expected a JWT and a seed in the NATS credentials {path}, found {len(blocks)} blocks")
    return blocks[0], blocks[1]


def key_of(seed: str) -> Key:
    """What signs with a seed.

    Raises:
        Misconfigured: It is no seed, or the library is missing.
    """
    try:
        keys = cast("_Keys", importlib.import_module("nkeys"))
    except ImportError:
        raise Misconfigured("keys of NATS need a library that signs: pip install 'hanse[nats]'") from None
    try:
        return keys.from_seed(seed.strip().encode())
    except Exception as error:  # noqa: BLE001 - the library raises what its parts raise, also bare assertions
        problem = str(error) or type(error).__name__
        raise Misconfigured(f"expected the seed of a NATS user, which begins with SU: {problem}") from None

"""Names of images, and what a container engine is told of a container; pure."""

from __future__ import annotations

import re

SHORT = 12
"""Letters of a digest that people tell images apart by."""

REFERENCE_MAX = 400
"""Letters of a name."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]*(@[A-Za-z0-9]+:[0-9a-fA-F]{32,})?")


def problem_of(reference: str) -> str:
    """Why this is no name of an image; empty where it may be one.

    Example:
        >>> problem_of("registry:5000/shop/web:1.4"), problem_of("--privileged")
        ('', "expected an image, such as registry/web:1.4, got '--privileged'")
    """
    if len(reference) <= REFERENCE_MAX and _REFERENCE.fullmatch(reference):
        return ""
    return f"expected an image, such as registry/web:1.4, got {reference[:REFERENCE_MAX]!r}"


def split(reference: str) -> tuple[str, str, str]:
    """The repository, the tag and the digest of an image; each empty where nothing is said of it.

    Example:
        >>> split("registry:5000/web:1.4"), split("web"), split("web@sha256:12")
        (('registry:5000/web', '1.4', ''), ('web', '', ''), ('web', '', 'sha256:12'))
    """
    rest, _, digest = reference.partition("@")
    # A port stands before the last slash, a tag behind it.
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag, digest


def image_for(wanted: str, image: str) -> str:
    """The image that somebody means by a word, where a service has this one now.

    Args:
        wanted: A tag or a digest of the same repository, or an image.
        image: The one that the settings say.

    Example:
        >>> image_for("1.5", "registry/web:1.4"), image_for("mirror/web:1.5", "registry/web:1.4")
        ('registry/web:1.5', 'mirror/web:1.5')
        >>> image_for("sha256:12", "registry/web:1.4")
        'registry/web@sha256:12'
    """
    if _TAG.fullmatch(wanted):
        return f"{split(image)[0]}:{wanted}"
    if wanted.startswith("sha256:"):
        return f"{split(image)[0]}@{wanted}"
    return wanted


def name_for(reference: str, image: str) -> str:
    """What a release of this image is called: its tag alone, where the repository is that of the settings.

    Example:
        >>> name_for("registry/web:1.5", "registry/web:1.4"), name_for("mirror/web:1.5", "registry/web:1.4")
        ('1.5', 'mirror/web:1.5')
        >>> name_for("registry/web@sha256:0123456789abcdef", "registry/web:1.4")
        '0123456789ab'
    """
    repository, tag, digest = split(reference)
    if repository != split(image)[0]:
        return reference
    return tag or digest.rpartition(":")[2][:SHORT] or "latest"

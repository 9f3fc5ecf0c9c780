"""The rules of HAProxy by which a request meets a release: its request tree, what sticks, and chance. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hanse.deploy.edge.counted import SOMEBODY
from hanse.deploy.edge.haproxy.layout import SHARES_MAX, Layout

BAGGAGE_LINES_MAX = 4
"""Headers `baggage` that are looked at."""

_OWN = "[[:space:]]*hanse-release[[:space:]]*="
"""The member of `baggage` that is ours, as it begins."""


def release_rules(layout: Layout) -> Iterator[str]:
    """The release, and with it the backend: forced, of a session, of a request tree, by what sticks, or by chance.

    What they find out is in `txn.pool` and `txn.slot`; `txn.asker` is who asked, as a hash. They rest on `txn.service`,
    `txn.plan`, `txn.address` and `txn.forces`.

    Args:
        layout: What is read of requests.
    """
    for number, header in enumerate(layout.forced_by):
        own = f"{{ var(txn.plan),field(2,:) -m str {number} }}"
        yield f"http-request set-var(txn.wish) req.hdr({header}),hex if {own} {{ var(txn.forces) -m found }}"
        yield f"http-request del-header {header} if {own} !{{ var(txn.forces) -m found }}"
    yield (
        "http-request set-var(txn.pool) var(txn.service),concat(:,txn.wish),map_str(releases.map) "
        "if { var(txn.wish) -m found }"
    )
    yield "http-request set-var(txn.forced) bool(true) if { var(txn.pool) -m found }"
    for number, cookie in enumerate(layout.seats):
        yield f"http-request set-var(txn.had{number}) req.cook({cookie})"
        yield f"http-request set-var(txn.hexed) req.cook({cookie}),hex"
        yield (
            f"http-request set-var(txn.seat) var(txn.service),concat(:{number}:,txn.hexed),map_str(seats.map) "
            f"if {{ var(txn.had{number}) -m found }} !{{ var(txn.seat) -m found }}"
        )
    unless_forced = "{ var(txn.seat) -m found } !{ var(txn.pool) -m found }"
    yield f"http-request set-var(txn.pool) var(txn.seat),field(1,:) if {unless_forced}"
    yield from _tree()
    yield from _sticks(layout)
    yield "http-request set-var(txn.bucket) int(0)"
    yield "http-request set-var(txn.salt) var(txn.plan),field(4,:),url_dec"
    yield (
        "http-request set-var(txn.asker) var(txn.salt),concat(:,txn.who),sha1,hex,bytes(0,16) "
        "if { var(txn.asker) -m found } { var(txn.who) -m found }"
    )
    yield (
        "http-request set-var(txn.bucket) var(txn.salt),concat(:,txn.stick),sha1,bytes(0,4),be2dec(,4),mod(10000) "
        "if { var(txn.plan),field(3,:) -m str 1 }"
    )
    for share in range(SHARES_MAX):
        end, pool = 5 + 2 * share, 6 + 2 * share
        yield (
            f"http-request set-var(txn.pool) var(txn.plan),field({pool},:) if !{{ var(txn.pool) -m found }} "
            f"{{ var(txn.plan),field({end},:),sub(txn.bucket) -m int gt 0 }}"
        )
    yield "http-request set-var(txn.others) var(txn.service),map_str(others.map)"
    for share in range(1, SHARES_MAX + 1):
        yield (
            f"http-request set-var(txn.pool) var(txn.others),field({share},:) if !{{ var(txn.forced) -m found }} "
            f"{{ var(txn.pool),nbsrv lt 1 }} {{ var(txn.others),field({share},:),nbsrv gt 0 }}"
        )
    # Of a seat in another backend than the one that answers nothing is asked.
    there = "{ var(txn.seat),field(1,:),strcmp(txn.pool) eq 0 }"
    yield f"http-request set-var(txn.slot) var(txn.seat),field(2,:) if {there}"
    yield from _carried()


def _tree() -> Iterator[str]:
    """The release of the request tree, as whoever may choose one carries it; and all else that is carried."""
    yield "http-request set-var(txn.baggage) req.fhdr(baggage,1)"
    for line in range(2, BAGGAGE_LINES_MAX + 1):
        also = f"{{ req.fhdr(baggage,{line}) -m found }}"
        yield f"http-request set-var(txn.more) req.fhdr(baggage,{line}) if {also}"
        yield f"""http-request set-var(txn.baggage) 'var(txn.baggage),concat(",",txn.more)' if {also}"""
    yield f"http-request set-var(txn.carries) bool(true) if {{ var(txn.baggage) -m reg (^|,){_OWN} }}"
    carries = "{ var(txn.carries) -m found }"
    # The first of this name gets a mark that is no name; between that and the next member is its value.
    read = f"""regsub(",{_OWN}",",="),regsub("^.*,=[[:space:]]*",""),regsub("[[:space:]]*[;,].*$","")"""
    rest = f"""regsub(",{_OWN}[^,]*","",g),regsub("^[,[:space:]]+","")"""
    forces = "{ var(txn.forces) -m found }"
    yield f"""http-request set-var(txn.tree) 'str(","),concat(,txn.baggage),{read}' if {carries} {forces}"""
    yield "http-request unset-var(txn.tree) if { var(txn.tree) -m len 0 }"
    yield f"""http-request set-var(txn.baggage) 'str(","),concat(,txn.baggage),{rest}' if {carries}"""
    yield "http-request set-var(txn.hexed) var(txn.tree),url_dec,hex"
    yield (
        "http-request set-var(txn.of_tree) var(txn.service),concat(:,txn.hexed),map_str(releases.map) "
        "if { var(txn.tree) -m found } !{ var(txn.pool) -m found }"
    )
    yield "http-request set-var(txn.pool) var(txn.of_tree) if { var(txn.of_tree) -m found }"


def _sticks(layout: Layout) -> Iterator[str]:
    """What sticks, and who asks: the same, but for an address, behind which there may be many, and what is drawn."""
    for number, kind in enumerate(layout.kinds):
        if not (kind.sticks_to or kind.cookie):
            continue
        of_kind = f"{{ var(txn.plan),field(1,:) -m str {number} }}"
        own = f"{of_kind} !{{ var(txn.stick) -m found }}"
        nobody = f"{of_kind} !{{ var(txn.who) -m found }}"
        for source in (*kind.sticks_to, *([f"cookie.{kind.cookie}"] if kind.cookie else [])):
            what, _, name = source.partition(".")
            if what == "address":
                yield f"http-request set-var(txn.stick) var(txn.address) if {own}"
                continue
            read = f"req.hdr({name})" if what == "header" else f"req.cook({name})"
            yield f"http-request set-var(txn.who) {read} if {nobody} {{ {read} -m len gt 0 }}"
            yield f"http-request set-var(txn.stick) var(txn.who) if {own}"
        if kind.sticks_to:
            yield f"http-request set-var(txn.asker) str({SOMEBODY}) if {of_kind}"
        if kind.cookie:
            yield f"http-request set-var(txn.drawn{number}) uuid,regsub(-,,g),bytes(0,14) if {own}"
            yield f"http-request set-var(txn.stick) var(txn.drawn{number}) if {own}"
    yield "http-request set-var(txn.stick) uuid if !{ var(txn.stick) -m found }"


def _carried() -> Iterator[str]:
    """Whoever is asked next meets the same releases; what strangers say of that is not handed on."""
    yield "http-request set-var(txn.handed) var(txn.pool),map_str(carried.map)"
    yield "http-request set-var(txn.handed) var(txn.tree) if { var(txn.tree) -m found }"
    handed, carries = "{ var(txn.handed) -m found }", "{ var(txn.carries) -m found }"
    others = "{ var(txn.baggage) -m len gt 0 }"
    own = "hanse-release=%[var(txn.handed)]"
    yield f"http-request del-header baggage if {handed} or {carries}"
    yield f'http-request set-header baggage "{own},%[var(txn.baggage)]" if {handed} {others}'
    yield f"http-request set-header baggage {own} if {handed} !{others}"
    yield f"http-request set-header baggage %[var(txn.baggage)] if {carries} !{handed} {others}"

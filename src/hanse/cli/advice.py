"""Why things go wrong, and what to do: the words that `hanse explain` and the reference add to a fault's docstring.

Every fault of Hanse's has its words here; what it means and answers with is said by its docstring and its columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Advice(msgspec.Struct, frozen=True):
    """What else is to be said: the usual cause, and the next thing to try."""

    why: str
    do: str


FAULTS: Mapping[str, Advice] = {
    "address_refused": Advice(
        "A webhook's URL leads inside, by its address or by what its name stands for, or could be read in two ways.",
        "Use a public URL with https. Networks of one's own are let through by `services.webhooks.settings.allow`.",
    ),
    "already_handled": Advice(
        "A relay delivers a message again when it did not hear that it was handled; the mark of the first delivery is "
        "found.",
        "Nothing: the second delivery has no effect, which is what marks are for.",
    ),
    "ambiguous": Advice(
        "A request says its length twice, mixes Content-Length with Transfer-Encoding, or has a header that two "
        "servers would read differently: so requests are smuggled past proxies.",
        "Send it with one length, by a library for HTTP rather than by hand.",
    ),
    "answer_lost": Advice(
        "The process was killed between the commit of a call and that of its answer.",
        "Read what the call was about: it took effect. Do not send it again under another key.",
    ),
    "braked": Advice(
        "Many different messages failed in a row and none succeeded: a release that is wrong, or something that the "
        "handler needs is broken.",
        "See the log of the service for why, and mend that. Its messages wait meanwhile, and go on by themselves.",
    ),
    "broken_answer": Advice(
        "A server of a service behind the edge speaks another protocol on its port, or its answer cannot be read in "
        "one way only.",
        "Ask the server itself, past the edge, and see its log.",
    ),
    "broken_contract": Advice(
        "Caller and provider run other versions of the contract, or the handler returned something else than it "
        "promises.",
        "Compare the fingerprints: `hanse services --url ...` on both sides. Deploy the provider before its callers.",
    ),
    "cancelled": Advice(
        "The client closed its connection, or whoever called was cancelled itself.",
        "Nothing, unless it happens often: then clients give up sooner than handlers answer.",
    ),
    "cannot_write": Advice(
        "The folder belongs to somebody else, is on a disk that is full or read-only, or lies below a file.",
        "Choose another folder with --dir, or see who owns it.",
    ),
    "conflict": Advice(
        "Somebody wrote the row since it was read, or made one of the same id.",
        "Read it again and decide anew; a single write without `if_match` is tried again by itself.",
    ),
    "could_not_start": Advice(
        "The address is taken, a module fails on import, a store cannot be opened, or `started` of a service failed.",
        "Mend what the text names; `hanse doctor` looks at all of these. Supervisors should not start it again.",
    ),
    "cursor_lost": Advice(
        "The reader was away for longer than `node.retention`, or the store was replaced or restored.",
        "Read what is there now and follow from that; keep logs longer with `node.retention`.",
    ),
    "deadline_exceeded": Advice(
        "The provider is slow, overloaded or waits for somebody else; the time that is left is handed on from hop to "
        "hop.",
        "Make the operation idempotent or give a key, and try again; or give it more time with `timeout=`.",
    ),
    "forbidden": Advice(
        "A guard of the operation or of the rows refused who is asking.",
        "Ask as somebody with the scope that the text names; see what `identify` makes of the credentials.",
    ),
    "handler_failed": Advice(
        "A handler of events raised; the relay tries again, with growing pauses, and parks the message in the end.",
        "See the log of the service; raise `Terminal` where no other try can help.",
    ),
    "headers_too_large": Advice(
        "Cookies or tokens have grown, or somebody probes.",
        "Send fewer; what the limit is stands in the text, and why in the page on limits.",
    ),
    "not_a_neighbour": Advice(
        "A program that asks the egress of `hanse up` for all of plain HTTP meant a host outside, or a service by "
        "another name than that of the settings.",
        "Name the service as the settings do; for a host outside, name it in `edge.egress_hosts`, or in `NO_PROXY` of "
        "the program's environment, so that it is asked straight.",
    ),
    "cannot_tell": Advice(
        "Calls travel as MessagePack, which ends at 64 bits, and a handler answered with an integer that has more; or "
        "with a moment before year 1. Nothing that it wrote was kept.",
        "Answer with a text or a Decimal; the detail names the field.",
    ),
    "internal": Advice(
        "A handler raised an error that its contract does not declare: a bug, as a rule.",
        "Look for the reference in the log, where the traceback is. Under `hanse dev` a browser shows it. What callers "
        "should know about, declare with `faults=`.",
    ),
    "invalid": Advice(
        "Values do not fit the types of the contract, or there are fields that it does not know.",
        "Mend what `errors` lists: `pointer` says where, `detail` what was expected. `hanse describe` shows the types.",
    ),
    "job_given_up": Advice(
        "A call that is answered later was begun by several processes, and each died while it ran: it may need more "
        "memory than there is, or end the process itself.",
        "Look at what the processes died of, then ask for it anew.",
    ),
    "key_reused": Advice(
        "Two requests came with one idempotency key and are not the same.",
        "Make a key for each thing to be done, and keep it for its repetitions only.",
    ),
    "lease_lost": Advice(
        "The block took longer than its lease, or the process stood still for longer than that.",
        "Take a longer `lease`, or do less under it. What was written under it was refused, and may be done anew.",
    ),
    "lease_taken": Advice(
        "Another call or another instance holds the lock; one that was killed keeps it until its lease is over.",
        "Try again, or wait for longer with `wait`. Shorter leases are over sooner.",
    ),
    "malformed": Advice(
        "The body is no JSON, was cut off, or comes from something that is no Hanse gateway.",
        "See what is sent byte for byte, and where to; `hanse call -v` sends what is right.",
    ),
    "method_not_allowed": Advice(
        "The path is there for other methods; rows may be exposed for reading only.",
        "Take one of the methods in `Allow`, or expose the rows with `write=True`.",
    ),
    "misconfigured": Advice(
        "A value in hanse.toml, .env, the environment or a flag does not fit, or what is asked for does not go "
        "together.",
        "`hanse config show` tells every value and who set it; docs/reference/settings.md tells what is expected.",
    ),
    "misdeclared": Advice(
        "A class, a field or a decorator asks for what cannot be; this is found before anything starts.",
        "Mend the class that the text names; `hanse dev` shows the line.",
    ),
    "misdirected": Advice(
        "The Host header names none of `gateway.hosts`: a proxy hands on another name, or somebody else's page had its "
        "name pointed here (DNS rebinding). Without a gateway, and under `hanse dev`, only `localhost` is answered.",
        "List the names that clients use under `gateway.hosts`.",
    ),
    "no_route": Advice(
        "Nothing is exposed unless the gateway says so, or the path is misspelt.",
        "`hanse services --url ...` and /openapi.json list what there is; `gateway.rpc(...)` and "
        "`gateway.resources(...)` expose more.",
    ),
    "no_stream": Advice(
        "In a simulated world, a stream of events was asked for where the app answers with something else.",
        "See `answered` and `text`: often the row is not exposed with `live=True`.",
    ),
    "not_acceptable": Advice(
        "The Accept header rules out every form that the answer can have.",
        "Accept what the text names, or send no Accept at all.",
    ),
    "not_empty": Advice(
        "`hanse new` writes over nothing.",
        "Name another folder with --dir, or empty this one.",
    ),
    "not_editable": Advice(
        "The edit would move the message to another key, or the message is none that a log has told.",
        "Drop it, and emit what is right.",
    ),
    "not_in_rehearsal": Advice(
        "The handler calls another service, or commits by itself: nobody could take that back.",
        "See the effects up to there; the handler may ask `current().rehearsal`. Or replay one, and look at it.",
    ),
    "not_in_shadow": Advice(
        "A request that was copied to another release begins a saga, whose answer nobody can foresee.",
        "Have the release mirror only methods that begin none, or compare it by a share of requests.",
    ),
    "not_forwarded": Advice(
        "A client takes the edge for a proxy to anywhere, or sends a body with a request for WebSocket.",
        "Ask for a path of this system, in a request of its own.",
    ),
    "not_done": Advice(
        "What a command asked for does not fit what the system runs, or a service was given up after it ended again "
        "and again.",
        "See `hanse ps` for what runs and why it does not, and `hanse logs SERVICE` for its last words.",
    ),
    "not_found": Advice(
        "It was removed, was never there, or the id is misspelt.",
        "List what there is; ids are compared letter by letter.",
    ),
    "not_installed": Advice(
        "The core is small on purpose; this needs an extra.",
        "Install what the text names, with pip, into the environment that runs the app.",
    ),
    "not_routed": Advice(
        "No service has a route for this path, or only under another name.",
        "See `services.NAME.route` and `services.NAME.host` in hanse.toml.",
    ),
    "not_sent": Advice(
        "The node that was chosen could not be reached, so that nothing was asked of it.",
        "Nothing: another node is chosen. Where there is none, the answer is `unavailable`.",
    ),
    "not_started": Advice(
        "The app is mounted in another framework that does not pass the lifespan on.",
        "Do what the text says: let the outer application run the lifespan, or start the node by hand.",
    ),
    "outcome_unknown": Advice(
        "A server was killed, or closed its connection, while it had a request that may not be sent twice.",
        "See whether it took effect. Send an Idempotency-Key along, where the service knows it: then it is sent again.",
    ),
    "overloaded": Advice(
        "More is asked than a limit allows at once; refusing early keeps the rest quick.",
        "Try again after Retry-After. Where it lasts, look at /metrics, and raise `node.calls_max` or add processes.",
    ),
    "patch_conflict": Advice(
        "A `test` of the patch failed, or a path that it names is not there.",
        "Read the row again; `errors` has the pointer of the operation.",
    ),
    "precondition_failed": Advice(
        "Somebody wrote the row since the revision in If-Match was read.",
        "Get the row again, decide anew, and send the new ETag.",
    ),
    "precondition_required": Advice(
        "The rows are exposed with `require_match=True`.",
        "Send the ETag that you have read as If-Match.",
    ),
    "private": Advice(
        "The page is the operator's; the request came from this machine, but may have been brought by a proxy of it.",
        "Ask as it says; or set gateway.metrics_token, and send it as `Authorization: Bearer ...`.",
    ),
    "rate_exceeded": Advice(
        "The client has used up what the gateway's `rates` allow it.",
        "Wait as long as Retry-After says; `RateLimit` headers tell what is left.",
    ),
    "remote_fault": Advice(
        "The other side raised a fault whose class is not known here; its module is not imported, or it is newer.",
        "Import the contract that declares it, or handle it by `remote_code`.",
    ),
    "replica_behind": Advice(
        "The owner of the rows is away, or the first snapshot of the copy is not whole yet.",
        "Try again, or read without `at_least`: what the copy has is there. /readyz?verbose tells what is in its way.",
    ),
    "request_timeout": Advice(
        "The client is slow, or was cut off in the middle of a body.",
        "Send it again; large files belong on a route of one's own that streams.",
    ),
    "some_exist": Advice(
        "Of rows that were to be added together some are there already.",
        "See `errors` for which; nothing was added, so send the others, or replace those.",
    ),
    "some_missing": Advice(
        "Of rows that were to be removed together some are not there.",
        "See `errors` for which; nothing was removed, so send the others.",
    ),
    "store_not_empty": Advice(
        "`hanse store load` fills a store that holds nothing: two histories cannot be one.",
        "Load into a store of another URL, or remove what this one keeps, if it is not wanted.",
    ),
    "terminal": Advice(
        "A handler said that no other try can help.",
        "See the dead letter: it has the message and the reason.",
    ),
    "saga_aborted": Advice(
        "Somebody has had the saga turn back, with `hanse sagas abort`.",
        "Read in `hanse sagas show ID` what was undone; begin it again under a new key, if it is still wanted.",
    ),
    "saga_stuck": Advice(
        "A step or its undo failed in a way that no contract knows, or the code does not fit the journal any more.",
        "Read why in `hanse sagas show ID`; mend the cause, and then `hanse sagas resume ID`, or have it turn back: "
        "`hanse sagas abort ID`.",
    ),
    "saga_undone": Advice(
        "Somebody whom the saga needs did not answer in time, so it turned back; nothing of it is left.",
        "Read in `hanse sagas show ID` who was silent; begin it again under a new key, if it is still wanted.",
    ),
    "too_large": Advice(
        "A body, a list, a file or a message is over a limit that has a name.",
        "Send less at once; what an operator may raise is a setting, such as `gateway.body_max`.",
    ),
    "too_many": Advice(
        "One owner may have so many subscriptions to webhooks, and has them.",
        "Remove one that is not needed: `hanse webhooks list` shows them. One may name several events.",
    ),
    "vetoed": Advice(
        "The release was rolled back before, and nobody has said since that it may be tried again.",
        "Read why it was; release what cures it, or lift the veto if something else was to blame.",
    ),
    "waits": Advice(
        "Messages of one key are handled in order, and an older one of it has failed.",
        "Replay or drop the older one, which the text names; those that wait are handled then, by themselves.",
    ),
    "unauthenticated": Advice(
        "No credentials came, or `identify` does not accept them: expired, of another issuer, cut off.",
        "Send valid ones, such as `Authorization: Bearer ...`.",
    ),
    "unavailable": Advice(
        "The node that should answer is starting, stopping or gone; a store or a broker is away; or nothing listens.",
        "Try again in a moment. /readyz?verbose tells what is missing; `hanse doctor` looks at this machine.",
    ),
    "under_way": Advice(
        "The first call with this key has not ended.",
        "Ask again with the same key in a moment: it gets the answer of the first.",
    ),
    "unknown_operation": Advice(
        "No service of the app has an operation of this name, or nobody hosts it.",
        "`hanse services` lists what there is to call.",
    ),
    "unsupported_coding": Advice(
        "The body came with a Content-Encoding that is not taken.",
        "Send it in gzip, or as it is.",
    ),
    "unsupported_media_type": Advice(
        "The Content-Type of the body is none that this path reads.",
        "Send what the text expects, as a rule `application/json`.",
    ),
    "upgrade_required": Advice(
        "A WebSocket's path was asked over plain HTTP, or a proxy between does not pass the upgrade on.",
        "Connect with a client for WebSocket; tell the proxy to pass `Upgrade` and `Connection`.",
    ),
    "uri_too_long": Advice(
        "A filter with many values, as a rule.",
        "Send the filter as the body of a QUERY request.",
    ),
    "webhook_refused": Advice(
        "The secret of the sender is another one here, something on the way changed the body, the clock is wrong, or "
        "somebody tries to be who they are not.",
        "Compare the secret with the sender's, and let nothing rewrite the body; while it is replaced, name both.",
    ),
}

EXIT_CODES: Mapping[str, tuple[str, Advice]] = {
    "0": ("It is done.", Advice("", "")),
    "1": (
        "It failed: what was asked for could not be done, or a check did not hold.",
        Advice(
            "A fault of the system that was asked, a simulation that does not hold, a check that fails.", "Read it."
        ),
    ),
    "2": (
        "The command line or the input is wrong.",
        Advice("An unknown option, a missing argument, values that the contract does not take.", "See `--help`."),
    ),
    "3": (
        "It could not start, and would not at the next try.",
        Advice(
            "See could_not_start. Supervisors should not start it again: RestartPreventExitStatus=3 78 with systemd.",
            "Mend what it says; `hanse doctor` helps.",
        ),
    ),
    "78": (
        "The configuration or a declaration is wrong.",
        Advice("See misconfigured and misdeclared.", "`hanse config show` tells every value and who set it."),
    ),
    "130": (
        "It was interrupted (Ctrl-C) and did not end in order.",
        Advice("A second signal came while it drained, or the command has nothing to drain.", "Nothing."),
    ),
    "143": (
        "It was terminated and did not end in order.",
        Advice(
            "A second SIGTERM came while it drained.",
            "Give it time: stop timeouts of supervisors should be longer than `node.grace`.",
        ),
    ),
}
"""What the exit codes of `hanse` mean."""

VIOLATIONS = Advice(
    "In some run of a simulated world this did not hold; the token of the run makes it again.",
    "Run the command that the report names: it draws what happened, and where it left the way of a run that holds. "
    "A violation of ours, without a bug of yours, is a bug of Hanse.",
)

RUNS: Mapping[str, tuple[str, Advice]] = {
    "fence": (
        "Something real was tried in a simulated world: a clock, chance, a thread, a socket, a file.",
        Advice(
            "Code or a library reaches past what the world can hand out, so no run could be made again.",
            "Take it from the Context (`current().host`), or put what needs it behind a contract, with a fake.",
        ),
    ),
    "differs": (
        "A run did something else when it was made again in another process.",
        Advice(
            "Something differs from process to process: the order of a set of strings, an address, an id of an object.",
            "See the first effect that differs; sort what is sent or written.",
        ),
    ),
    "rest": (
        "All was healed, and the world did not come to rest.",
        Advice(
            "Handlers go on and on: a reaction that writes what it reacts to, a rule whose rows go on matching.",
            "Let the write end the match; see what is still under way in the report.",
        ),
    ),
    "shared": (
        "A run left something behind in a module, which the next run would find.",
        Advice(
            "Values at the top of a module that change: caches, counters, lists.",
            "Keep them on the service, made in `started`, or in rows.",
        ),
    ),
    "start": (
        "A machine of the world did not come up.",
        Advice(
            "`started` of a service waits for what is not there yet, or for longer than worlds wait.",
            "Let `started` do what it must, and rules or schedules the rest.",
        ),
    ),
    "story": (
        "The story itself failed.",
        Advice(
            "An assertion in it does not hold, or a fault came that it does not expect; in hard weather any call may "
            "fail.",
            "Expect `Fault` around calls, as real clients have to; assert by `world.always` and `world.eventually`.",
        ),
    ),
    "stuck": (
        "Something goes round and round while no time passes.",
        Advice(
            "A loop that awaits nothing that takes time, or that tries again at once whenever it fails.",
            "Wait between tries.",
        ),
    ),
    "uncaught": (
        "A task failed, and nobody looked.",
        Advice("A task was started and its result never awaited.", "Start it in a TaskGroup, or await it."),
    ),
    "worker": (
        "The process that made the run did not survive it.",
        Advice(
            "It was killed, ran out of memory, or an extension crashed.",
            "Make the run alone, by its token, and watch its memory.",
        ),
    ),
}
"""What a run of a simulated world may break, whatever the observers and the story look after."""

FLAWS: Mapping[str, tuple[str, str]] = {
    "choice": ("The value is none of those that are allowed.", "Take one that `detail` lists."),
    "conflict": ("A row of this id is there already.", "Take another id, or replace the row."),
    "invalid": ("The value is not what is expected.", "See `detail`."),
    "length": ("There are too many or too few of it.", "Keep to the bounds in `detail`."),
    "missing": ("A field that is required is not there.", "Send it; `hanse describe` tells which have defaults."),
    "not_found": ("What is named here is not there.", "Leave it out, or see what there is."),
    "pattern": ("The text is not of the form that is expected.", "Follow the pattern in `detail`."),
    "range": ("The number is out of its bounds.", "Keep to the bounds in `detail`."),
    "too_long": ("The text is longer than allowed.", "Shorten it."),
    "type": ("The value is of another type.", "Send the type that `detail` names; numbers are not quoted."),
    "test_failed": ("A `test` of a JSON Patch does not hold: the row is another than was thought.", "Read it again."),
    "unknown_field": ("There is no such field.", "Leave it out, or see `detail` for what there is."),
    "unknown_operator": ("The field cannot be compared in this way.", "Take an operator that `detail` lists."),
    "unsortable": ("The field holds no single value, and has no order.", "Sort by another, or by a field inside it."),
}
"""Codes of the flaws that `invalid` lists: what they mean, and what to do."""

"""`hanse events` and `hanse emit` as their users meet them: real processes, also a server that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

Shop = Any
"""See conftest.py."""
Value = Any


def told(command: Value) -> Value:
    """The next thing that is told, as JSON; notes are left out."""
    while True:
        line = command.line()
        if not line.startswith("hanse:"):
            return json.loads(line)


def placed(shop: Shop, sku: str, count: int = 1) -> str:
    done = shop.hanse("call", "orders.place", f"sku={sku}", f"count={count}")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["id"])


def ready(command: Value) -> Value:
    one = told(command)
    assert one["event"] == "ready"
    return one


NO_FEED: list[tuple[list[str], int, str]] = [
    (["ordres"], 2, "did you mean orders?"),
    (["private"], 2, "there are orders, order_placed"),
    (["orders", "--where", "x"], 2, "expected --where FIELD=VALUE"),
    (["orders", "--where", "colour=red"], 2, "colour"),
    (["order_placed", "--where", "colour=red"], 2, "colour"),
    (["order_placed", "--where", "count=x"], 2, "count"),
    (["orders", "--after", "x"], 2, "expected a cursor"),
    (["orders", "order_placed", "--after", "a.1"], 2, "--after NAME=CURSOR"),
    (["orders", "--after", "other=a.1"], 2, "one of the feeds"),
    (["orders", "--url", "http://127.0.0.1:9"], 1, "expected a running system"),
]


def test_what_cannot_be_followed_is_refused(shop: Shop) -> None:
    for arguments, code, said in NO_FEED:
        refused = shop.hanse("events", *arguments)
        assert (refused.returncode, refused.stdout) == (code, ""), refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


NO_EVENT: list[tuple[list[str], int, str]] = [
    (["order_place", "order_id=a"], 2, "did you mean order_placed?"),
    (["private"], 2, "it takes order_placed"),
    (["order_placed", "count=many"], 2, "/order_id"),
    (["order_placed", "order_id=a", "count=many"], 2, "/count"),
    (["order_placed", "x"], 2, "expected NAME=VALUE"),
    (["order_placed", "count=many", "--id", "7"], 2, "/data/count"),
]


def test_what_cannot_be_emitted_is_refused(shop: Shop) -> None:
    for arguments, code, said in NO_EVENT:
        refused = shop.hanse("emit", *arguments)
        assert (refused.returncode, refused.stdout) == (code, ""), refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


def test_text_that_looks_like_a_number_is_told_how_to_write(shop: Shop) -> None:
    refused = shop.hanse("emit", "order_placed", "order_id=7")
    assert """order_id='"..."'""" in refused.stderr
    assert shop.hanse("emit", "order_placed", 'order_id="7"').returncode == 0


def test_with_json_an_error_is_one_object_too(shop: Shop) -> None:
    refused = shop.hanse("emit", "order_placed", "count=1", "--json")
    problem = json.loads(refused.stderr)["error"]
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("invalid", "/order_id")
    refused = shop.hanse("events", "ordres", "--json")
    assert json.loads(refused.stderr)["error"]["code"] == "unknown_operation"


def test_changes_and_events_are_told_as_json_lines_until_the_limit(shop: Shop) -> None:
    following = shop.going("events", "orders", "order_placed", "--json", "--limit", "2")
    assert {ready(following).get("collection"), ready(following).get("collection")} == {"orders", None}
    id = placed(shop, "tea", 3)
    row, event = sorted((told(following), told(following)), key=lambda one: one["event"])
    assert (row["collection"], row["event"], row["key"]) == ("orders", "created", id)
    assert row["value"]["sku"] == "tea"
    assert (event["topic"], event["value"]["type"]) == ("order_placed", "shop.order_placed.v1")
    assert event["value"]["data"] == {"order_id": id, "count": 3}
    assert following.process.wait(20) == 0


def test_lines_say_what_changed_and_ctrl_c_ends_them(shop: Shop) -> None:
    id = placed(shop, "tea")
    following = shop.going("events", "orders", "--snapshot", "--where", "status[ne]=gone")
    assert following.until("snapshot").split("  ")[1:] == [
        "orders",
        id,
        "snapshot",
        "sku=tea, count=1, status=new",
    ]
    patch = {"method": "patch", "path": f"/orders/{id}"}
    change(shop, patch, {"status": "paid", "count": 2})
    assert following.until("updated").split("  ")[1:] == ["orders", id, "updated", "count: 1 -> 2, status: new -> paid"]
    change(shop, patch, {"status": "gone"})
    assert following.until("deleted").split("  ")[1:] == ["orders", id, "deleted"]
    assert following.end(signal.SIGINT) == 130


def change(shop: Shop, where: dict[str, str], value: object) -> None:
    import urllib.request

    request = urllib.request.Request(
        shop.url + where["path"],
        data=json.dumps(value).encode(),
        headers={"Content-Type": "application/merge-patch+json"},
        method=where["method"].upper(),
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_a_server_that_is_killed_costs_no_change_and_doubles_none(shop: Shop) -> None:
    following = shop.going("events", "orders", "order_placed", "--json")
    _ = [ready(following), ready(following)]
    ids = [placed(shop, "tea")]
    heard = [told(following), told(following)]
    for _ in range(2):
        shop.kill()
        shop.start()
        ids += [placed(shop, "tea"), placed(shop, "cup")]
        heard += [told(following) for _ in range(4)]
    assert [one["key"] for one in heard if one["event"] == "created"] == ids
    assert [one["value"]["data"]["order_id"] for one in heard if one["event"] == "emitted"] == ids
    assert following.end() == 130


def test_a_cursor_goes_on_from_where_it_was_taken(shop: Shop) -> None:
    first = shop.going("events", "orders", "--json", "--limit", "1")
    ready(first)
    placed(shop, "tea")
    cursor = told(first)["cursor"]
    later = [placed(shop, "cup"), placed(shop, "pot")]
    again = shop.hanse("events", "orders", "--json", "--after", cursor, "--limit", "2", "-q")
    assert [json.loads(line)["key"] for line in again.stdout.splitlines() if '"created"' in line] == later
    assert again.stderr == ""


def test_a_reader_that_has_enough_ends_it(shop: Shop) -> None:
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "hanse", "events", "orders", "--json", "--url", shop.url],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write)
        assert b'"ready"' in os.read(read, 1000)
        os.close(read)
        placed(shop, "tea")
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "Exception" not in errors


def test_an_event_is_emitted_once_under_its_id_and_filtered_by_what_it_says(shop: Shop) -> None:
    following = shop.going("events", "order_placed", "--json", "--limit", "2", "--where", "count[gte]=7")
    ready(following)
    (shop.folder / "event.json").write_text('{"order_id": "a", "count": 1}')
    for arguments in (
        ["order_placed", "order_id=x"],
        ["order_placed", "order_id=a", "count=7", "--id", "1"],
        ["order_placed", "order_id=a", "count=7", "--id", "1"],
        ["order_placed", "@event.json", "count=7"],
    ):
        done = shop.hanse("emit", *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["type"] == "shop.order_placed.v1"
    assert [told(following)["value"]["data"] for _ in range(2)] == [{"order_id": "a", "count": 7}] * 2
    assert following.process.wait(20) == 0

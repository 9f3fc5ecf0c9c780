"""`hanse call` against a real server: where arguments come from, what is sent besides, and how problems are told."""

from __future__ import annotations

import json
from typing import Any

Shop = Any
"""See conftest.py."""


def test_what_cannot_be_sent_is_refused(shop: Shop) -> None:
    for arguments, given, said in (
        (["orders.place", "@no.json"], "", "expected a file"),
        (["orders.place", "-"], "[1]", "expected a JSON object"),
        (["orders.place", "sku=tea", "--header", "x"], "", "expected --header NAME:VALUE"),
        (["orders.place", "sku=tea", "--timeout", "0"], "", "timeout"),
    ):
        refused = shop.hanse("call", *arguments, given=given)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr


def test_a_problem_names_every_flaw_by_its_pointer(shop: Shop) -> None:
    refused = shop.hanse("call", "orders.place", "count=many")
    assert refused.returncode == 2
    assert [line.split(":")[0] for line in refused.stderr.splitlines()[1:]] == ["  /sku", "  /count"]
    refused = shop.hanse("call", "orders.place", "sku=none", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stderr)["error"]["code"] == "out_of_stock"


def test_arguments_come_from_a_file_or_from_standard_input(shop: Shop) -> None:
    (shop.folder / "order.json").write_text('{"sku": "tea", "count": 2}')
    answer = json.loads(shop.hanse("call", "orders.place", "@order.json", "count=3").stdout)
    assert (answer["sku"], answer["count"]) == ("tea", 3)
    assert json.loads(shop.hanse("call", "orders.place", "-", given='{"sku": "cup"}').stdout)["sku"] == "cup"


def test_under_one_idempotency_key_it_is_executed_once(shop: Shop) -> None:
    first, again = (
        shop.hanse("call", "orders.place", "sku=tea", "--idempotency-key", "k", "--json").stdout for _ in range(2)
    )
    assert json.loads(first)["id"] == json.loads(again)["id"]
    refused = shop.hanse("call", "orders.place", "sku=cup", "--idempotency-key", "k")
    assert refused.returncode != 0
    assert "take a new key" in refused.stderr


def test_headers_are_sent_and_items_are_lines(shop: Shop) -> None:
    tags = shop.hanse("call", "orders.tags", "--header", "baggage: team=blue")
    assert json.loads(tags.stdout) == {"team": "blue"}
    assert shop.hanse("call", "orders.numbers", "upto=3").stdout == "0\n1\n2\n"

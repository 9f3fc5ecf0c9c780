"""The change that peers tell of: as long as what Hanse says of a row that was created, with one `#` to count it by."""

import json

MESSAGE = json.dumps(
    {
        "id": 1,
        "event": "created",
        "key": "0193a7c2-5b1e-7f3a-9c44-2f6d8e1b7a90",
        "rev": 123456,
        "value": {"number": 123456, "customer": "Ada Lovelace, London#", "amount": 1234.56},
        "cursor": "6f1d2c3b4a59.123456",
    },
    separators=(",", ":"),
)
TIMES = {"one": 1, "burst": 20}
"""How many changes a command asks for."""

"""Whatever our own OpenAPI document lets a client send, and whatever it does not, is answered as the document says."""

import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hanse.gateway.gateway import Gateway

Aside = Callable[..., AbstractContextManager[Any]]

EXAMPLES = Path(__file__).parents[2] / "examples"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CASES = 6
"""Of each operation and kind, in a short run."""


def load(name: str) -> ModuleType:
    path = EXAMPLES / name
    title = f"fuzzed_{path.parent.name}"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(title, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[title] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[title])
    sys.path.remove(str(path.parent))
    return sys.modules[title]


def explore(url: str, examples: int) -> int:
    """Try every operation of a document, with what fits and with what does not; how many requests that made."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    made = 0
    session = requests.Session()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:  # noqa: ANN401 - schemathesis.Case
                nonlocal made
                made += 1
                bodiless = "minimal" in str((case.headers or {}).get("Prefer"))
                checks = CHECKS[:2] if bodiless else CHECKS
                case.call_and_validate(base_url=url, session=session, checks=checks, timeout=20)

            try:
                one()
            except Exception as error:
                if "Unsatisfiable" in type(error).__name__ or "SkipTest" in type(error).__name__:
                    continue  # nothing could be wrong with such a request
                raise
    return made


@pytest.mark.usefixtures("untraced")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", ["things", "shop/shop.py", "countries/app.py"])
def test_a_document_holds(serve_aside: Aside, things: type, thing: type, times: int, name: str) -> None:
    if name == "things":
        given: dict[str, Any] = {"gateway": Gateway().rpc(things).resources(thing)}
    else:
        app = load(name).app
        given = {"app": app, "gateway": app.gateway}
    with serve_aside(**given) as served:
        made = explore(f"http://127.0.0.1:{served.port}", CASES * times)

    assert made >= CASES * times

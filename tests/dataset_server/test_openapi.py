"""The OpenAPI document: it names every route, and the server does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, settings

from forgather_spool.dataset_server import openapi
from forgather_spool.dataset_server.routes import API_VERSION, ROUTES
from tests.dataset_server.conftest import table, write
from tests.dataset_server.serving import Served

EXAMPLES = 25
document = openapi.document(API_VERSION)
schema: Any = schemathesis.openapi.from_dict(document)


def test_the_document_has_the_routes_and_no_others() -> None:
    """With what each takes without a token."""
    described = {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }

    assert set(described) == {(route.method, route.path) for route in ROUTES}
    assert {key for key, one in described.items() if one.get("security") == []} == {
        (route.method, route.path) for route in ROUTES if route.open
    }


def test_it_names_every_status_that_has_a_reason() -> None:
    """505 had a reason and stood at no route; what opens a data set again may find it damaged."""
    named = {
        (path, status)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
    }

    assert {status for _, status in named} == {"200", *map(str, openapi._WHY)}
    assert {path for path, status in named if status == "500"} == {
        "/v1/load", "/v1/datasets/{handle}", "/v1/datasets/{handle}/length", "/v1/datasets/{handle}/iter",
    }  # fmt: skip


def test_the_server_hands_it_out(served: Served) -> None:
    assert served.get("/v1/openapi.json").json == document


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("api")
    (folder / "stories").mkdir()
    write(folder / "stories" / "x.arrow", table(50))
    with Served(Path(folder / "home"), local={"stories": str(folder / "stories")}) as running:
        yield running


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_is_answered_as_the_document_says(case: Any, server: Served) -> None:
    """Generated requests, sensible and not: statuses, forms and headers are those described, and none is a 500."""
    if "{handle}" in case.path:
        case.path_parameters["handle"] = server.load("local/stories")
    response = case.call(base_url=f"http://127.0.0.1:{server.port}", headers=server.auth)

    case.validate_response(response, excluded_checks=EXCLUDED)
    assert response.status_code != 500 or case.path == "/v1/load"


EXCLUDED = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in ("positive_data_acceptance", "negative_data_rejection", "missing_required_header", "ignored_auth")
]

"""Which routes the HTTP API has: the predecessor's, and `DELETE`, the statistics and the document beside them.

A path is one of these or nothing. Knows no request and no answer: the methods
of `api.Api` that answer are named here, as `openapi.document` describes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

API_VERSION = "1.1.0"  # 1.0.0 are the predecessor's


@dataclass(frozen=True, slots=True)
class Route:
    """`path` holds ``{handle}`` where one is named. `answer` is the method of Api that answers."""

    method: str
    path: str
    answer: str
    open: bool = False

    def matches(self, path: str) -> str | None:
        """The handle in `path` ("" where none is named); None: it is another route's."""
        found = re.fullmatch(re.escape(self.path).replace(r"\{handle\}", "([^/]+)"), path)
        return None if found is None else (found.groups() or ("",))[0]


ROUTES = (
    Route("GET", "/v1/health", "health", open=True),
    Route("GET", "/v1/auth/status", "auth_status", open=True),
    Route("GET", "/v1/datasets", "datasets"),
    Route("GET", "/v1/datasets/{handle}", "dataset"),
    Route("DELETE", "/v1/datasets/{handle}", "unload"),
    Route("GET", "/v1/datasets/{handle}/length", "length"),
    Route("GET", "/v1/datasets/{handle}/iter", "iter"),
    Route("POST", "/v1/load", "load"),
    Route("GET", "/v1/cache/hf", "cache_hf"),
    Route("GET", "/v1/local", "local"),
    Route("GET", "/v1/stats", "statistics"),
    Route("GET", "/v1/openapi.json", "openapi"),
)


def found_at(path: str) -> list[tuple[Route, str]]:
    """The routes of this path, one for each method, each with the handle that it names; none: there is no such path."""
    return [(route, name) for route in ROUTES if (name := route.matches(path)) is not None]

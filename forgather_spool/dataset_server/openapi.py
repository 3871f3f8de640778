"""The API as an OpenAPI document: for people, for tools, and for the tests that hold the server to it."""

from __future__ import annotations

from typing import Any

from forgather_spool.dataset.frames import CODECS, MEDIA_TYPE
from forgather_spool.dataset_server.query import BATCH_BYTES_BOUNDS

LINES = "application/x-ndjson"
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_TEXTS = {"type": "array", "items": _TEXT}


def document(version: str) -> dict[str, Any]:
    """OpenAPI 3.1, one path for each of `routes.ROUTES`."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Forgather dataset server", "version": version},
        "security": [{"token": []}],
        "paths": {
            "/v1/health": {"get": _get("Is it up, and what does it serve?", _ref("Health"), open_=True)},
            "/v1/auth/status": {
                "get": _get("Is a token asked for?", _object(auth_required=_FLAG), open_=True),
            },
            "/v1/datasets": {"get": _get("Open data sets.", _object(handles=_list(_ref("Handle"))))},
            "/v1/datasets/{handle}": {
                "parameters": [_HANDLE],
                "get": _get("One of them, with columns and features.", _ref("Handle"), 404, 500, 503),
                "delete": _get("Let go of it.", _object(unloaded=_TEXT, readers=_COUNT), 404),
            },
            "/v1/datasets/{handle}/length": {
                "parameters": [_HANDLE],
                "get": _get("How many rows.", _object(length=_COUNT), 404, 500, 503),
            },
            "/v1/datasets/{handle}/iter": {"parameters": [_HANDLE], "get": _iter()},
            "/v1/load": {"post": _load()},
            "/v1/cache/hf": {
                "get": _get("What the Hugging Face cache holds.", _object(cache_root=_TEXT, datasets=_list({}))),
            },
            "/v1/local": {
                "get": _get("The operator's named data sets.", _object(local=_list(_object(name=_TEXT, path=_TEXT)))),
            },
            "/v1/stats": {"get": _get("Counters and rates.", _object(rows=_COUNT, bytes=_COUNT, streams=_COUNT))},
            "/v1/openapi.json": {"get": _get("This document.", {"type": "object"})},
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": _SCHEMAS},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_SCHEMAS = {
    "Error": {**_object(error=_TEXT), "additionalProperties": False},
    "Health": _object(
        status={"const": "ok"},
        service=_TEXT,
        version=_TEXT,
        policy=_object(
            auth_required=_FLAG, hf_cache_enabled=_FLAG, allow_paths=_FLAG, allow_downloads=_FLAG, local_count=_COUNT
        ),
        anonymous_bytes=_COUNT,
    ),
    "Handle": _object(
        handle=_TEXT,
        length=_COUNT,
        load_args={"type": "object"},
        source={"enum": ["local", "path", "hf"]},
        column_names=_TEXTS,
        fingerprint=_TEXT,
    ),
}
_HANDLE = {"name": "handle", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _answer(description: str, schema: Any, media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _answer(_WHY[status], _ref("Error")) for status in sorted({400, 403, *statuses})}


_WHY = {
    400: "The request says nothing sensible.",
    401: "The token is missing or wrong.",
    403: "Another host or origin, or forbidden by the policy.",
    404: "There is no such thing.",
    406: "The rows cannot be told as asked.",
    408: "The body took too long.",
    409: "The data changed on disk.",
    412: "Another content than If-Match names.",
    413: "The body is too large.",
    415: "The body is compressed.",
    500: "The data cannot be loaded.",
    505: "HTTP/1.0: no chunks, so no sure end.",
    503: "Too many at once, or the disk refuses now.",
}


def _get(summary: str, schema: Any, *errors: int, open_: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": _answer(summary, schema), **_errors(*errors, *(() if open_ else (401,)))},
    }
    return {**found, "security": []} if open_ else found


def _load() -> dict[str, Any]:
    data_files = {"anyOf": [_TEXT, _TEXTS, {"type": "object", "additionalProperties": {"anyOf": [_TEXT, _TEXTS]}}]}
    body = {
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {**_TEXT, "minLength": 1},
            **{key: {"type": ["string", "null"]} for key in ("name", "split", "revision")},
            "data_files": {"anyOf": [*data_files["anyOf"], {"type": "null"}]},
        },
    }
    return {
        "summary": "Open a data set; the same request has the same handle.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _answer("Its handle.", _ref("Handle")),
            **_errors(401, 404, 408, 413, 415, 500, 503),
        },
    }


def _iter() -> dict[str, Any]:
    low, high = BATCH_BYTES_BOUNDS
    schemas = {
        "seed": {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 64) - 1},
        "position": {**_COUNT, "maximum": (1 << 63) - 1},
        "limit": {**_COUNT, "maximum": (1 << 63) - 1},
        "epoch": {**_COUNT, "maximum": (1 << 63) - 1},
        "order": _TEXT,
        "shard": {"type": "string", "pattern": r"^\d{1,9}/\d{1,9}$"},
        "walk": {"type": "string", "pattern": r"^\d+:\d+:\d+:\d+:\d+$"},
        "columns": _TEXT,
        "batch_bytes": {"type": "integer", "minimum": low, "maximum": high},
        "codec": {"enum": list(CODECS)},
        "frames": {"enum": ["0", "1"]},
    }
    answer = _answer("The rows. Arrow where Accept names it.", {"type": "string"}, LINES)
    answer["content"][MEDIA_TYPE] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "summary": "The rows in an order, from a position.",
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()],
        "responses": {"200": answer, **_errors(401, 404, 406, 409, 412, 500, 503, 505)},
    }

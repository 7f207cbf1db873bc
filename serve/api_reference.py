"""The HTTP API as a page of Markdown, from its own OpenAPI description: ``python -m serve.api_reference``.

The page is kept in ``docs/http-api.md``; a test holds the two together.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from common import errors
from common.errors import NothingServes, Overloaded
from serve.settings import ServeSettings

BASE = "http://localhost:8000"
HEAD = """# HTTP API

Made from the service's own OpenAPI description by `python -m serve.api_reference`; a running server shows
the same at `/docs`, and as JSON at `/openapi.json`. From Python, `serve.client` gives typed answers.

Bodies are JSON in both directions, prices are in KES, days are `YYYY-MM-DD`, times are UTC. A server that
others can reach asks for a key, sent as `X-API-Key: KEY` or `Authorization: Bearer KEY`; `refresh` and
`cache/clear` need an admin's. Responses that depend only on the release have an `ETag`: a request
with `If-None-Match` gets a 304 while nothing has changed.

The server gives every request an id of its own: header `X-Request-ID` of the response, `request_id` in its
body, and the argument of `nsecast receipt`. To find a request by an id of your own, send
it as `X-Correlation-ID` (or `X-Request-ID`; 1 to 128 printable ASCII characters): the response returns it as
`X-Correlation-ID`, and the access log has both ids. It need not be unique, and receipts do not contain it.

"""
ERRORS_HEAD = """## Errors

Every failure is `application/problem+json` (RFC 9457): a [Problem](#problem), whose `detail` says what was
wrong, where, what was got and needed, and what to do. 429 and 503 come with `Retry-After`: wait so many
seconds, plus a random time of your own, and send the same again.

| `type` | status | meaning |
|---|---|---|
"""
SHAPES_HEAD = """## Shapes

A field marked * is always there, or has to be sent.

"""
RAISED = (
    *(errors.NotAuthenticated, errors.Forbidden, errors.UnknownSymbol, errors.GateClosed, errors.TooLarge),
    *(errors.BadRequest, errors.InsufficientHistory, errors.TooManyRequests, errors.BundleError, Overloaded),
    *(NothingServes, errors.TooSlow),
)
PLAIN = {
    "invalid-request": (422, "The request does not fit its schema; `errors` names the fields."),
    "bad-request": (400, "The body is not JSON."),
    "unsupported-media-type": (415, "The body was not sent as `application/json`."),
    "not-found": (404, "No such path."),
    "internal-server-error": (500, "The server failed, not the request; its log has the reason."),
}
SHOWN = 4
"""Fields of a part of an example that has an example of its own."""


def reference(description: dict[str, Any]) -> str:
    """The page for an OpenAPI description."""
    shapes = description["components"]["schemas"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    lines = [HEAD + "| request | answer |\n|---|---|"]
    for method, path, operation in operations:
        title, (text, *_) = f"{method} {path}", operation["description"].splitlines()
        lines.append(f"| [`{title}`](#{anchor(title)}) | {text} |")
    seen: set[str] = set()
    for method, path, operation in operations:
        lines += ["", *_operation(method, path, operation, shapes, seen)]
    lines += ["", ERRORS_HEAD + "\n".join(_problems()), "", SHAPES_HEAD.rstrip()]
    for name in sorted(shapes):
        lines += ["", f"### {name}", "", *_shape(shapes[name])]
    return "\n".join(lines) + "\n"


def description() -> dict[str, Any]:
    """The OpenAPI description of the service, for which nothing is started."""
    from serve.api import make_api  # which serves this page itself
    from serve.office import Office

    return make_api(Office(None, None, ServeSettings(home="/", access_log="off"))).openapi()


def _operation(
    method: str, path: str, operation: dict[str, Any], shapes: dict[str, Any], seen: set[str]
) -> Iterator[str]:
    """One section; of the shapes ``seen`` before no example is shown again."""
    yield from (f"## {method} {path}", "", _plain(operation["description"]), "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | default | meaning |", "|---|---|---|---|---|")
        for each in parameters:
            star = "*" if each["required"] else ""
            text = _plain(each.get("description", ""))
            cells = (
                f"`{each['name']}`{star}",
                each["in"],
                _type(each["schema"]),
                _default(each["schema"]),
                text,
            )
            yield f"| {' | '.join(cells)} |"
        yield ""
    body = _content(operation.get("requestBody", {}))
    answer = _content(operation["responses"]["200"])
    if body:
        yield from (f"Body: {_type(body)}.", "")
    yield from ("```sh", _curl(method, path, operation, _example(body, shapes)), "```", "")
    yield f"Answer: {_type(answer)}." if answer else "Answer: no body."
    if _name(answer) not in seen and (example := _example(answer, shapes)) is not None:
        seen.add(_name(answer))
        yield from ("", "```json", json.dumps(example, indent=1), "```")
    if statuses := sorted(operation["responses"].keys() - {"200"}):
        yield from ("", f"Other statuses: {', '.join(statuses)}; see [errors](#errors).")


def _curl(method: str, path: str, operation: dict[str, Any], body: Any) -> str:
    words = ["curl", "-s"] + (["-X", method] if method != "GET" and body is None else [])
    query = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    shown = [
        (each["name"], _default(each["schema"]).strip("`")) for each in query if "default" in each["schema"]
    ]
    asked = "&".join(f"{name}={value}" for name, value in shown)
    url = BASE + path.replace("{symbol}", "SCOM") + (f"?{asked}" if asked else "")
    words.append(f"'{url}'" if asked else url)
    if body is not None:
        words += ["-H", "'content-type: application/json'", "-d", f"'{json.dumps(body)}'"]
    return " ".join(words)


def _shape(shape: dict[str, Any]) -> Iterator[str]:
    if text := _plain(shape.get("description", "")):
        yield from (text, "")
    if "properties" not in shape:
        yield f"{_type(shape)}."
        return
    yield from ("| field | type | meaning |", "|---|---|---|")
    for name, field in shape["properties"].items():
        star = "*" if name in shape.get("required", ()) else ""
        default = f" Default {_default(field)}." if field.get("default") is not None else ""
        text = _plain(field.get("description", "") + default)
        yield f"| `{name}`{star} | {_type(field)} | {text} |"


def _problems() -> Iterator[str]:
    ours = [
        (re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower(), kind.http_status, str(kind.__doc__))
        for kind in RAISED
    ]
    plain = [(name, status, meaning) for name, (status, meaning) in PLAIN.items()]
    for name, status, meaning in sorted([*ours, *plain], key=lambda each: (each[1], each[0])):
        yield f"| `urn:nsecast:{name}` | {status} | {_plain(meaning)} |"


def _content(described: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = described.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _example(schema: dict[str, Any], shapes: dict[str, Any]) -> Any:
    """The first example of a shape, its fields in the shape's order; None if it has none."""
    shape = shapes.get(_name(schema), {})
    if not shape.get("examples"):
        return None
    given, fields = shape["examples"][0], shape["properties"]
    return {name: _part(given[name], fields[name], shapes) for name in fields if name in given}


def _part(value: Any, schema: dict[str, Any], shapes: dict[str, Any]) -> Any:
    """A field of an example; of a shape with an example of its own the first fields only."""
    if isinstance(value, list):
        return [_part(each, schema.get("items", {}), shapes) for each in value]
    shape = shapes.get(_name(schema), {})
    if not (isinstance(value, dict) and shape.get("examples")):
        return value
    shown = [name for name in shape["properties"] if name in value][:SHOWN]
    return {name: value[name] for name in shown} | {"...": "..."}


def _name(schema: dict[str, Any]) -> str:
    reference: str = schema.get("$ref", "")
    return reference.rpartition("/")[2]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"[{_name(schema)}](#{_name(schema).lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[choice]))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind: str = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "object":
        values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties") or {}]
        return f"map to {_type(values[0])}" if values[0] not in ({}, True) else "map"
    return {"date": "day", "date-time": "time"}.get(schema.get("format", ""), kind) + _bounds(
        schema, "minimum", "maximum"
    )


def _bounds(schema: dict[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if high is None:
        return f" ({low:,.12g} or more)"
    return f" ({low:,.12g} to {high:,.12g})" if low is not None else f" (up to {high:,.12g})"


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _plain(text: str) -> str:
    """A docstring for a table or a paragraph: one line, single backquotes, no bar that would end a cell."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def anchor(title: str) -> str:
    """The anchor that a heading of that title gets."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    print(reference(description()), end="")

"""Write docs/protocol.md from the message definitions; with --check, fail when it is not what they say."""

import argparse
import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kaa_common.avro import record_types_of, schema_of
from kaa_common.messages.protocols import PROTOCOLS, Protocol

DOCUMENT = Path(__file__).parents[1] / "docs" / "protocol.md"

INSTANCE = "INSTANCE"

INTRODUCTION = """\
# Protocols

Generated from `libs/kaa_common/src/kaa_common/messages` by `tools/protocol_doc.py`; do not edit.

What services say to each other over NATS. The protocols are those of the Kaa RFCs (number/name); some are our own, in a
namespace of our own, where no RFC has a message. Every message is one Avro datum in binary encoding, without container
or schema header; what a record has no field for travels in NATS headers.

- A request goes to `kaa.v1.service.{service instance}.{protocol}.{request type}` and is handled by one replica of that
  instance. Its response goes to the reply subject, `kaa.v1.replica.{replica id}.{protocol}.{response type}` of whoever
  asks, with the `correlationId` of the request.
- An event goes to `kaa.v1.events.{service instance}.{event}`, for whoever listens; one of our own to the same below
  `open.`, so that listeners to `kaa.v1.events.>` hear nothing that no RFC has.
- `timestamp` is in UNIX milliseconds. A message expires `timeout` milliseconds after it, or never when that is 0; what
  has expired is dropped.
- `statusCode` is that of HTTP, `reasonPhrase` says more in words.
- Fields are only ever appended, with a default. A datum that ends before such fields is read with their defaults, and
  bytes behind the last known field are ignored.
"""


class Notes(NamedTuple):
    """What the source says about a record and its fields."""

    record: str
    fields: dict[str, str]


def document() -> str:
    return "\n".join((INTRODUCTION, *(section for protocol in PROTOCOLS for section in protocol_sections(protocol))))


def protocol_sections(protocol: Protocol) -> list[str]:
    requests, events = [], []
    messages: dict[type[Any], None] = {}
    for endpoint in protocol.endpoints:
        reply = f"`{endpoint.protocol}.{endpoint.response_type}`"
        shown = link(endpoint.request), reply, link(endpoint.response), endpoint.owner
        requests.append((subject(endpoint.subject(INSTANCE)), *shown))
        messages |= {endpoint.request: None, endpoint.response: None}
    for event in protocol.events:
        events.append((subject(event.wildcard(INSTANCE)), link(event.record), event.owner))
        messages[event.record] = None
    messages |= dict.fromkeys(protocol.notices)
    introduction = textwrap.dedent(sys.modules[next(iter(messages)).__module__].__doc__ or "")
    return [
        f"## {protocol.name}\n\n{introduction.strip()}\n",
        *([table(("request", "record", "reply", "record", "owner"), requests)] if requests else []),
        *([table(("event", "record", "owner"), events)] if events else []),
        *(record_section(record) for message in messages for record in record_types_of(message)),
    ]


def subject(example: str) -> str:
    whom = "{replica id}" if example.startswith("kaa.v1.replica.") else "{service instance}"
    return f"`{example.replace(INSTANCE, whom)}`"


def record_section(record: type[Any]) -> str:
    schema, notes = schema_of(record), notes_of(record)
    rows = []
    for field, note in zip(schema["fields"], notes.fields.values(), strict=True):
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        rows.append((f"`{field['name']}`", avro_type(field["type"]), default, note))
    name = f"{schema['namespace']}.{schema['name']}"
    lines = [f"### {record.__name__}\n", f"`{name}`\n", notes.record and f"{notes.record}\n"]
    return "\n".join((*filter(None, lines), table(("field", "type", "default", "note"), rows)))


def avro_type(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    if isinstance(schema, list):
        return " or ".join(map(avro_type, schema))
    if schema["type"] == "record":
        return str(schema["name"])
    return f"{schema['type']} of {avro_type(schema.get('items') or schema['values'])}"


def notes_of(record: type[Any]) -> Notes:
    (class_definition,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    assert isinstance(class_definition, ast.ClassDef)
    fields: dict[str, str] = {}
    for statement in class_definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields[statement.target.id] = ""
        elif isinstance(statement, ast.Expr) and fields:
            fields[list(fields)[-1]] = one_line(ast.literal_eval(statement.value))
    return Notes(one_line(ast.get_docstring(class_definition) or ""), fields)


def one_line(text: str) -> str:
    return " ".join(text.split())


def link(record: type[Any]) -> str:
    return f"[{record.__name__}](#{record.__name__.lower()})"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the document is outdated")
    expected = document()
    if not parser.parse_args(arguments).check:
        DOCUMENT.write_text(expected)
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text() == expected:
        return 0
    print(f"{DOCUMENT.name} is not what the messages say; write it again with tools/protocol_doc.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Asks a running publisher all that its own description allows, and much that it does not (schemathesis).

usage: check.py --url http://127.0.0.1:PORT --directory DIR [--seconds N] [--examples N] [--seed N]

Environment: BRIDGE_CHECK_TENANT_TOKEN and BRIDGE_CHECK_ADMIN_TOKEN, credentials of a tenant and of an operator of a
bridge that nobody else uses: tenants, keys and clients are created and changed.

DIR/known.json names values that exist, by parameter: {"id of executions": ["..."], ...}. Reports are written to DIR.
Fails on a document that is not valid OpenAPI 3.1, on an example that breaks its own schema, on an answer of 5xx other
than those that are described, of a status or content type that is not described, and of a body that has a field less
or more than its schema.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = ("get", "put", "post", "delete")
# The checks that hold for an API which is lenient on purpose: n8n sends numbers as text, and a body may be well-formed
# and still be refused.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,ignored_auth,unsupported_method,allow_header_conformance"
)


def main():
    options = arguments()
    directory = Path(options.directory)
    with urllib.request.urlopen(f"{options.url}/openapi.json", timeout=10) as answer:
        document = json.load(answer)
    faults = [f"{error.message} at {list(error.path)}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    closed = close(copy.deepcopy(document))
    faults += bad_examples(closed)
    if faults:
        sys.exit("the document is at fault:\n" + "\n".join(faults))
    known = json.loads((directory / "known.json").read_text())
    callers = {
        "tenant": (os.environ["BRIDGE_CHECK_TENANT_TOKEN"], lambda scope: scope not in ("admin",)),
        "admin": (os.environ["BRIDGE_CHECK_ADMIN_TOKEN"], lambda scope: scope == "admin"),
    }
    failed = []
    for name, (token, wanted) in callers.items():
        print(f"==> as {name}", flush=True)
        if not fuzz(name, part(closed, wanted), token, known, options, directory):
            failed.append(name)
    if failed:
        sys.exit(f"failed as {' and '.join(failed)}")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--seconds", type=int, default=50, help="for each of the two callers")
    parser.add_argument("--examples", type=int, default=12, help="for each operation")
    parser.add_argument("--seed", type=int, default=20261121)
    return parser.parse_args()


def close(document):
    """Says of every object of the answers that it has no other fields: what is not described is a fault here, while
    readers of the published document are told to expect more."""
    def walk(schema):
        if isinstance(schema, list):
            for item in schema:
                walk(item)
        elif isinstance(schema, dict):
            named = schema.get("properties")
            if named and "allOf" not in schema and "additionalProperties" not in schema:
                if schema.get("type") == "object" or "object" in schema.get("type", []):
                    schema["additionalProperties"] = False
            for name, inner in schema.items():
                if name not in ("example", "examples", "const", "enum", "default"):
                    walk(inner)

    walk(document["components"]["schemas"])
    for operation in operations(document):
        for response in operation["responses"].values():
            for content in behind(document, response).get("content", {}).values():
                walk(content["schema"])
    return document


def behind(document, response):
    if "$ref" in response:
        return document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return response


def operations(document):
    for item in document["paths"].values():
        yield from (item[method] for method in METHODS if method in item)


def bad_examples(document):
    """Each example, against the schema beside it."""
    def check(where, content):
        schema = {**content["schema"], "components": document["components"]}
        examples = [value["value"] for value in content.get("examples", {}).values() if "value" in value]
        for reference in (value["$ref"] for value in content.get("examples", {}).values() if "$ref" in value):
            examples.append(document["components"]["examples"][reference.rsplit("/", 1)[1]]["value"])
        if "example" in content:
            examples.append(content["example"])
        for example in examples:
            for error in Draft202012Validator(schema).iter_errors(example):
                yield f"example of {where}: {error.message} at {list(error.path)}"

    faults = []
    for operation in operations(document):
        name = operation["operationId"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            faults += check(f"the body of {name}", content)
        for status, response in operation["responses"].items():
            for content in behind(document, response).get("content", {}).values():
                faults += check(f"{name} {status}", content)
    return faults


def part(document, wanted):
    """The operations of one caller."""
    document = copy.deepcopy(document)
    for path, item in list(document["paths"].items()):
        for method in METHODS:
            if method in item and not wanted(item[method]["x-required-scope"]):
                del item[method]
        if not any(method in item for method in METHODS):
            del document["paths"][path]
    # A credential is shown in one way; the others are checked by the access matrix.
    for operation in operations(document):
        operation["security"] = [way for way in operation["security"] if "bearer" in way]
    return document


def fuzz(name, document, token, known, options, directory):
    description = directory / f"{name}.json"
    description.write_text(json.dumps(document))
    settings = directory / f"{name}.toml"
    settings.write_text(configuration(document, known, options))
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", str(description),
        "--url", options.url, "--checks", CHECKS, "--max-time", str(options.seconds), "--seed", str(options.seed),
        "--report", "junit", "--report-dir", str(directory / "reports" / name),
    ]
    environment = {**os.environ, "BRIDGE_CHECK_TOKEN": token, "NO_PROXY": "*", "COLUMNS": "160"}
    environment.pop("BRIDGE_CHECK_TENANT_TOKEN")
    environment.pop("BRIDGE_CHECK_ADMIN_TOKEN")
    return subprocess.run(command, env=environment, cwd=directory, check=False).returncode == 0


def configuration(document, known, options):
    """Values that exist are tried often: else every look ends as 404."""
    lines = [
        'color = false', 'continue-on-failure = true', 'request-timeout = 20.0',
        'warnings = false',
        '[auth.openapi.bearer]', 'bearer = "${BRIDGE_CHECK_TOKEN}"',
        '[generation]', f'max-examples = {options.examples}', 'database = "none"', 'no-shrink = true',
        '[phases.stateful]', 'enabled = false',
    ]
    for name, values in known.items():
        lines += [f'[dictionaries."{name}"]', f"values = {json.dumps(values)}"]
    for operation in operations(document):
        for parameter in operation.get("parameters", []):
            name = dictionary(operation, parameter)
            if name in known:
                lines += [
                    "[[operations]]", f'include-operation-id = "{operation["operationId"]}"',
                    f'[operations.parameters."{parameter["in"]}.{parameter["name"]}"]',
                    f'dictionary = "{name}"', "probability = 0.7",
                ]
    return "\n".join(lines) + "\n"


def dictionary(operation, parameter):
    if parameter["name"] == "id":
        return f"id of {operation['tags'][0]}"
    return parameter["name"]


if __name__ == "__main__":
    main()

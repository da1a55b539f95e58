"""Holds a running daemon against its own OpenAPI document.

    openapi.py ORIGIN FOLDER

Schemathesis asks every question with values that the document allows and values that it does not.
What has no end (a stream, and flows that are followed) is left out of that; of those, and of the
lines of /api/v1/flows, single ones are held against their schemas. FOLDER takes a file.
"""

import json
import pathlib
import subprocess
import sys
import urllib.request

import jsonschema_rs


def get(origin, path):
    with urllib.request.urlopen(origin + path, timeout=60) as answer:
        return answer.read().decode()


def first_flow(origin, path):
    """The data of the first event that has an id: a flow."""
    has_id = False
    with urllib.request.urlopen(origin + path, timeout=60) as answer:
        for line in answer:
            if line.startswith(b"data: ") and has_id:
                return line[len("data: "):].decode()
            has_id = line.startswith(b"id: ")


def holds(document, name, value):
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(value)


def main(origin, folder):
    document = json.loads(get(origin, "/api/v1/openapi.json"))
    rows = [json.loads(line) for line in get(origin, "/api/v1/flows").splitlines()]
    assert rows, "there are flows"
    for row in rows:
        holds(document, "Row", row)
    holds(document, "Flow", json.loads(first_flow(origin, "/api/v1/stream?from=-3600")))
    explained = "/api/v1/explain?source=shop/frontend&destination=shop/cart&port=8080"
    holds(document, "Explanation", json.loads(get(origin, explained)))

    del document["paths"]["/api/v1/stream"]
    flows = document["paths"]["/api/v1/flows"]["get"]
    flows["parameters"] = [one for one in flows["parameters"] if one["name"] != "follow"]
    finite = pathlib.Path(folder) / "finite.json"
    finite.write_text(json.dumps(document))
    run = [
        sys.executable, "-m", "schemathesis.cli", "run", str(finite), "--url", origin, "--phases",
        "coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--request-timeout", "60",
        "--warnings", "off",
    ]
    sys.exit(subprocess.run(run, cwd=folder).returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])

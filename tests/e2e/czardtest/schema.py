# SPDX-License-Identifier: Apache-2.0
"""The part of JSON Schema that schema/*.json uses. A word it does not know is an error, never ignored."""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "schema"
KINDS = {"string": str, "object": dict, "array": list, "boolean": bool, "null": type(None)}


def is_kind(value, kind):
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def errors(value, schema, where="$"):
    out = []
    for word, rule in schema.items():
        if word in ("$schema", "title"):
            pass
        elif word == "type":
            if not is_kind(value, rule):
                return [f"{where}: {value!r} is no {rule}"]
        elif word == "const":
            if value != rule or isinstance(value, bool) != isinstance(rule, bool):
                out.append(f"{where}: {value!r} is not {rule!r}")
        elif word == "enum":
            if value not in rule:
                out.append(f"{where}: {value!r} is none of {rule}")
        elif word == "pattern":
            if not re.search(rule, value):
                out.append(f"{where}: {value!r} does not match {rule}")
        elif word == "minimum":
            if value < rule:
                out.append(f"{where}: {value} is below {rule}")
        elif word == "anyOf":
            tried = [errors(value, s, where) for s in rule]
            if all(tried):
                out += min(tried, key=len)
        elif word == "items":
            for i, item in enumerate(value):
                out += errors(item, rule, f"{where}[{i}]")
        elif word == "required":
            out += [f"{where}: {name} is missing" for name in rule if name not in value]
        elif word == "properties":
            for name, s in rule.items():
                if name in value:
                    out += errors(value[name], s, f"{where}.{name}")
        elif word == "additionalProperties":
            if rule is False:
                out += [f"{where}: {name} is not in the schema" for name in value if name not in schema["properties"]]
        else:
            raise ValueError(f"{where}: the schema uses {word}")
    return out


def check(value, name):
    """What is wrong with value by schema/NAME.json; [] when nothing is."""
    return errors(value, json.loads((FOLDER / f"{name}.json").read_text()))

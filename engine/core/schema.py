"""JSON Schema of what ops write, for editors that complete and underline. It is made from the tables that the reading uses, and
is looser than the reading: what concerns several keys or other files only `check` knows."""

from __future__ import annotations

from typing import Any

from engine.core import language
from engine.core.shapes import mapping_schema

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that YAML plug-ins of editors know well


def sequence_schema() -> dict[str, Any]:
    """The schema of a file `sequences/NAME.yaml`."""
    return {"$schema": DRAFT, "title": "A whoelse sequence", **mapping_schema(language.SEQUENCE)}


def triggers_schema() -> dict[str, Any]:
    """The schema of `sequences/triggers.yaml`."""
    about = {"title": "whoelse triggers: what starts sequences by itself", "type": ["array", "null"]}
    return {"$schema": DRAFT, **about, "items": language.TRIGGER_SHAPE.schema}

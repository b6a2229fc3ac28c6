"""Shows in the reference what a pydantic field says of itself: ``Field(description=...)`` becomes its docstring.

griffe, which reads the code for mkdocstrings, calls this (``extensions`` in mkdocs.yml). The package griffe-pydantic
1.3.2 does it, too, but fails on validators of inherited fields.
"""

from __future__ import annotations

import ast
from typing import Any

import griffe


class FieldDescriptions(griffe.Extension):
    """Gives attributes without a docstring the description of their field."""

    def on_attribute(self, *, attr: griffe.Attribute, loader: Any, **more: Any) -> None:
        """Look at an attribute once its package is read."""
        call = attr.value
        if attr.docstring is not None or not isinstance(call, griffe.ExprCall) or str(call.function) != "Field":
            return
        for argument in call.arguments:
            if isinstance(argument, griffe.ExprKeyword) and argument.name == "description":
                attr.docstring = griffe.Docstring(ast.literal_eval(str(argument.value)), parent=attr)

"""A cost formula that is text for a reader and a function for the program: `Formula("3*n*s")`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

_ALLOWED = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Name, ast.Load, ast.Constant)


class FormulaError(ValueError):
    """A formula that is none: the message shows it and what is allowed."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Formula:
    """An integer expression of +, -, *, //, whole numbers and the names of dimensions; `s` is the size of an element.

    Raises `FormulaError` where the text holds anything else.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            tree = ast.parse(self.text, mode="eval")
        except SyntaxError as error:
            raise FormulaError(f"{self.text!r} is not a formula: {error.msg}") from error
        for node in ast.walk(tree):
            if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Constant) and not isinstance(node.value, int)):
                found = type(node).__name__
                raise FormulaError(f"formula {self.text!r} holds {found}; expected + - * // ( ) integers and names")

    def __call__(self, names: Mapping[str, int]) -> int:
        """The value for these dimensions. Raises `FormulaError` for a name that is not among them."""
        code = compile(self.text, "<formula>", "eval")
        try:
            return int(eval(code, {"__builtins__": {}}, dict(names)))  # the nodes were checked above
        except NameError as error:
            raise FormulaError(f"formula {self.text!r}: {error}; it has {', '.join(sorted(names))}") from error

    def __str__(self) -> str:
        return self.text.replace("*", "·").replace("··", "**")

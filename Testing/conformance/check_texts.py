"""Whether every text that the user sees can be translated: it goes through `_()`, and not as an f-string."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from Testing.conformance.names import dotted

_ATTRIBUTES = {
    "text",
    "toolTip",
    "windowTitle",
    "title",
    "helpText",
    "acknowledgementText",
    "placeholderText",
}
_ATTRIBUTES |= {"plainText", "html", "format", "statusTip", "whatsThis", "noneDisplay", "prefix", "suffix"}
_METHODS = {
    "setText",
    "setToolTip",
    "setWindowTitle",
    "setTitle",
    "setPlainText",
    "setHtml",
    "setPlaceholderText",
}
_METHODS |= {
    "addTab",
    "setTabText",
    "addItem",
    "addItems",
    "insertItem",
    "setItemText",
    "drawText",
    "appendPlainText",
}
_METHODS |= {"setHorizontalHeaderLabels", "setVerticalHeaderLabels", "setLabelText", "addAction", "addMenu"}
_CLASSES = {"Message", "QTableWidgetItem", "QListWidgetItem", "QPushButton", "QLabel", "QCheckBox", "QAction"}
# What joins or fills a text that was translated; its own arguments are names and numbers.
_KEEPS = {"format", "join", "strip", "replace"}
_FIELD = re.compile(r"\{[^{}]*\}")


def problems(name: str, tree: ast.Module) -> Iterator[str]:
    """One sentence for each literal text that is shown as it is."""
    for node in ast.walk(tree):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Assign) and any(_is_shown(target) for target in node.targets):
            shown = [node.value]
        elif isinstance(node, ast.Call):
            called = dotted(node.func).split(".")[-1] or (
                node.func.attr if isinstance(node.func, ast.Attribute) else ""
            )
            if called in _METHODS | _CLASSES or called.endswith("Display"):
                shown = [*node.args, *(keyword.value for keyword in node.keywords)]
            elif called == "_" and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant)):
                yield f"{name}:{node.lineno}: only a plain literal can be translated"
        for value in shown:
            for text in _literals(value):
                yield f'{name}:{node.lineno}: "{text}" is not translated'


def _is_shown(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and target.attr in _ATTRIBUTES


def _literals(node: ast.expr) -> Iterator[str]:
    """The words that an expression's value can hold and that are written in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if any(letter.isalpha() for letter in _FIELD.sub("", node.value)):
            yield node.value
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _KEEPS:
            yield from _literals(node.func.value)
            if node.func.attr == "join":
                yield from (text for value in node.args for text in _literals(value))
    elif isinstance(node, ast.IfExp):
        yield from (text for value in (node.body, node.orelse) for text in _literals(value))
    elif isinstance(node, ast.JoinedStr | ast.BoolOp | ast.Tuple | ast.List):
        values = node.elts if isinstance(node, ast.Tuple | ast.List) else node.values
        yield from (text for value in values for text in _literals(value))
    elif isinstance(node, ast.BinOp):
        yield from (text for value in (node.left, node.right) for text in _literals(value))
    elif isinstance(node, ast.ListComp | ast.GeneratorExp):
        yield from _literals(node.elt)

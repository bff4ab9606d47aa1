"""Which class an expression of a Python file is of, as far as its text tells."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from Testing.conformance.facts import Facts

SCOPES = ("slicer", "ctk", "qt", "vtk")
_OBJECTS = {"slicer.app": "qSlicerApplication", "slicer.mrmlScene": "vtkMRMLScene"}
_UI = ("ui", "_ui")


def dotted(node: ast.expr) -> str:
    """`slicer.util.loadUI` of such an expression; "" of one with a call or an index in it."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


@dataclass
class Names:
    """What names stand for: the widgets of the .ui files, and objects that a file makes of known classes.

    A name of the object (`self._timer`) means the same in the whole file, a local name only in its function.
    """

    facts: Facts
    widgets: Mapping[str, str]
    own: dict[str, set[str]]

    @classmethod
    def of(
        cls, tree: ast.AST, facts: Facts, widgets: Mapping[str, str], known: Mapping[str, set[str]]
    ) -> Names:
        """The names of a file or of one of its functions, over those that are known around it."""
        names = cls(facts, widgets, dict(known))
        for node in ast.walk(tree):
            pairs: list[tuple[ast.expr | None, set[str]]] = []
            if isinstance(node, ast.Assign):
                pairs = [(target, names.classes(node.value)) for target in node.targets]
            elif isinstance(node, ast.withitem):
                pairs = [(node.optional_vars, names.classes(node.context_expr))]
            elif isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple | ast.List):
                pairs = [(node.target, set().union(*map(names.classes, node.iter.elts)))]
            for target, found in pairs:
                name = dotted(target) if target is not None else ""
                if name and found:
                    names.own[name] = names.own.get(name, set()) | found if name not in known else found
        return names

    def classes(self, node: ast.expr) -> set[str]:
        """The classes that the value of an expression may be of; none: not known."""
        if isinstance(node, ast.Call):
            return self._made(node)
        name = dotted(node)
        if name in _OBJECTS:
            return {_OBJECTS[name]}
        if name in self.own:
            return self.own[name]
        widget = self.widget(node)
        return {self.widgets[widget]} if widget in self.widgets else set()

    def widget(self, node: ast.expr) -> str:
        """The name of the widget that `self.ui.name` is; "" if it is nothing of the kind."""
        is_ui = isinstance(node, ast.Attribute) and dotted(node.value).split(".")[-1] in _UI
        return node.attr if is_ui and isinstance(node, ast.Attribute) else ""

    def _made(self, call: ast.Call) -> set[str]:
        """Of `qt.QTimer()`, and of a function that is told which class of node to make."""
        scope, _, name = dotted(call.func).rpartition(".")
        if scope in SCOPES and self.facts.knows(name):
            return {name}
        first = call.args[0] if call.args else None
        told = first.value if isinstance(first, ast.Constant) else None
        is_node = not name.startswith("getNodes") and name != "IsA"
        return {told} if isinstance(told, str) and is_node and self.facts.knows(told) else set()

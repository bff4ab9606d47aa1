"""What Python files ask of Slicer, CTK, Qt and VTK by name, held against the facts."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from Testing.conformance.facts import Facts
from Testing.conformance.names import SCOPES, Names, dotted

_PREFIXES = {
    "slicer": ("vtk", "qMRML", "qSlicer"),
    "ctk": ("ctk",),
    "qt": ("Q",),
    "vtk": ("vtk", "reference"),
}
_OBJECTS = ("slicer.app", "slicer.mrmlScene")
# What PythonQt adds to every Qt object.
_ALWAYS = {"connect", "disconnect", "delete", "className", "help"}


def problems(name: str, tree: ast.Module, facts: Facts, *, widgets: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each name that Slicer lacks, with its line.

    Args:
        name: the file's, for the sentences.
        widgets: names and classes of all widgets of the .ui files.
    """
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
    check = _Check(facts, imported)
    guarded = {id(node) for tries in ast.walk(tree) if _is_guard(tries) for node in ast.walk(tries)}
    for found in imports:
        if isinstance(found, ast.ImportFrom) and id(found) not in guarded:
            yield from (f"{name}:{found.lineno}: {text}" for text in check.of_import(found))
    yield from (f"{name}: {text}" for text in check.of_scenes(tree))
    around = Names.of(tree, facts, widgets, {})
    shared = {key: value for key, value in around.own.items() if key.startswith("self.")}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function) if node is not function}
    for scope in (tree, *(function for function in functions if id(function) not in inner)):
        names = Names.of(scope, facts, widgets, shared) if scope is not tree else around
        for node in ast.walk(scope):
            if isinstance(node, ast.expr) and not (scope is tree and id(node) in inner):
                yield from (f"{name}:{node.lineno}: {text}" for text in check.of_expression(node, names))


def _is_guard(node: ast.AST) -> bool:
    """Whether it is a `try` that expects an import to fail."""
    if not isinstance(node, ast.Try):
        return False
    kinds = [kind for handler in node.handlers if handler.type for kind in ast.walk(handler.type)]
    return any(
        isinstance(kind, ast.Name) and kind.id in ("ImportError", "ModuleNotFoundError") for kind in kinds
    )


class _Check:
    def __init__(self, facts: Facts, imported: set[str]) -> None:
        self.facts, self.imported = facts, imported
        self.called: set[int] = set()

    def of_import(self, node: ast.ImportFrom) -> Iterator[str]:
        scope, _, module = (node.module or "").partition(".")
        if scope != "slicer":
            return
        for alias in node.names:
            if module and module not in self.facts.functions:
                yield f"there is no slicer.{module}"
            elif module and alias.name != "*" and alias.name not in self.facts.functions[module]:
                yield f"slicer.{module} has no {alias.name}"
            elif not module and not self._in_scope("slicer", alias.name):
                yield f"slicer has no {alias.name}"

    def of_scenes(self, tree: ast.Module) -> Iterator[str]:
        """A widget of the scene that the code makes, and never gives the scene."""
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        given = {dotted(call.func) for call in calls}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                kind, target = dotted(node.value.func).removeprefix("slicer."), dotted(node.targets[0])
                takes_scene = kind.startswith("qMRML") and "setMRMLScene" in self.facts.of(kind, "callables")
                if takes_scene and f"{target}.setMRMLScene" not in given:
                    yield f"{target}, a {kind}, is never given the scene"

    def of_expression(self, node: ast.expr, names: Names) -> Iterator[str]:
        """`ast.walk` comes to a call before it comes to what is called."""
        if isinstance(node, ast.Call):
            self.called.add(id(node.func))
            yield from self._of_arguments(node)
            yield from self._of_keywords(node, names)
            yield from self._of_signal(node, names)
        elif isinstance(node, ast.Attribute):
            yield from self._of_attribute(node, names)

    def _of_attribute(self, node: ast.Attribute, names: Names) -> Iterator[str]:
        scope, attribute = dotted(node.value), node.attr
        outer, _, kind = scope.rpartition(".")
        if scope in SCOPES:
            missing = not self._in_scope(scope, attribute)
        elif outer == "slicer" and kind in self.facts.functions:
            missing = attribute not in self.facts.functions[kind]
        elif widget := names.widget(node):
            missing, scope = widget not in names.widgets, "the interface"
        elif outer in SCOPES and self.facts.knows(kind) and scope not in _OBJECTS:
            missing = not self._has(kind, attribute)
        elif classes := names.classes(node.value):
            yield from (text for cls in sorted(classes) for text in self._of_member(cls, node))
            return
        else:
            # What is called with a capital is a method of VTK, or a class of an imported module.
            is_method = id(node) in self.called and attribute[0].isupper() and scope not in self.imported
            missing, scope = is_method and attribute not in self.facts.methods, "the scene"
        if missing:
            yield f"{scope} has no {attribute}"

    def _of_member(self, cls: str, node: ast.Attribute) -> Iterator[str]:
        """A property is no method in PythonQt, and only a property can be set."""
        is_property = node.attr in self.facts.of(cls, "properties")
        if not self._has(cls, node.attr):
            yield f"{cls} has no {node.attr}"
        elif isinstance(node.ctx, ast.Store) and not is_property:
            yield f"{cls}.{node.attr} cannot be set"
        elif id(node) in self.called and is_property:
            yield f"{cls}.{node.attr} is a property, which PythonQt does not call"

    def _of_arguments(self, call: ast.Call) -> Iterator[str]:
        """Whether a function of Slicer takes as many arguments, and takes them under these names."""
        function = dotted(call.func)
        scope, _, name = function.rpartition(".")
        signature = self.facts.functions.get(scope.removeprefix("slicer."), {}).get(name)
        if not scope.startswith("slicer.") or signature is None:
            return
        definition = ast.parse(f"lambda {signature}: 0", mode="eval").body
        assert isinstance(definition, ast.Lambda)
        takes = definition.args
        named = {one.arg for one in (*takes.args, *takes.kwonlyargs)}
        for keyword in call.keywords:
            if keyword.arg is not None and keyword.arg not in named and takes.kwarg is None:
                yield f"{function} takes no {keyword.arg}"
        if len(call.args) > len(takes.args) and takes.vararg is None:
            yield f"{function} takes at most {len(takes.args)} arguments in order"

    def _of_keywords(self, call: ast.Call, names: Names) -> Iterator[str]:
        """What is written in C++ is called with arguments in order alone."""
        if not isinstance(call.func, ast.Attribute) or not call.keywords:
            return
        is_made = dotted(call.func.value) in SCOPES and self.facts.knows(call.func.attr)
        if is_made or names.classes(call.func.value):
            yield f"{call.func.attr} takes no arguments by name"

    def _of_signal(self, call: ast.Call, names: Names) -> Iterator[str]:
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("connect", "disconnect"):
            return
        signal = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
        if not isinstance(signal, str):
            return
        classes = names.classes(call.func.value)
        for cls in sorted(classes):
            if signal not in self.facts.of(cls, "signals"):
                yield f"{cls} has no signal {signal}"
        if not classes and signal not in self.facts.signals:
            yield f"nothing has a signal {signal}"

    def _in_scope(self, scope: str, name: str) -> bool:
        is_class = self.facts.knows(name) and name.startswith(_PREFIXES[scope])
        known = self.facts.names | self.facts.functions.keys()
        return is_class or (scope == "slicer" and name in known) or (scope == "qt" and name == "Qt")

    def _has(self, cls: str, name: str) -> bool:
        kinds = ("properties", "callables", "values")
        return any(name in self.facts.of(cls, kind) for kind in kinds) or (
            name in _ALWAYS and self.facts.is_a(cls, "QObject")
        )

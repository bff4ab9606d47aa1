"""Writes facts.json: which names, properties, signals and methods a module may use of Slicer, CTK and Qt.

    python -m Testing.conformance.extract_facts --version 5.12 --slicer-src D --ctk-src D
    python -m Testing.conformance.extract_facts --qt
    python -m Testing.conformance.extract_facts --vtk

The first form reads source checkouts of one version of Slicer and of the CTK that it pins. The second asks the
installed Qt: PySide6 for Qt 6, or PyQt5 where that is the one there. Each replaces its own part of the file.
"""

from __future__ import annotations

import argparse
import ast
import enum
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from Testing.conformance import facts, headers, selection

_SLICER_FOLDERS = ("Base", "Libs", "Modules/Loadable")
_HANDLER = re.compile(r"[a-z]\w*Event$")
_TYPES = {word: word for word in ("bool", "int", "float", "str", "Path", "Enum")} | {
    "isNodeOrUnionOfNodes": "node"
}


def slicer_facts(slicer: Path, ctk: Path) -> dict[str, Any]:
    """The facts of one version of Slicer and of the CTK that goes with it."""
    folders = [slicer / folder for folder in _SLICER_FOLDERS]
    widgets = _read([ctk / "Libs", *folders], selection.CTK + selection.QMRML)
    known = {name: headers.qt_class(*found) for name, found in widgets}
    known |= {name: headers.vtk_class(*found) for name, found in _read(folders, selection.VTK)}
    python = slicer / "Base" / "Python"
    return {
        "names": _slicer_names(python, folders),
        "functions": _functions(python),
        "bindings": _bindings(python / "slicer" / "parameterNodeWrapper" / "guiConnectors.py"),
        "classes": known,
    }


def _read(folders: list[Path], names: list[str]) -> Iterator[tuple[str, tuple[list[str], str]]]:
    """The classes of these names and those that they are derived from, as far as the folders have them."""
    wanted, seen = list(names), set()
    while wanted:
        name = wanted.pop()
        path = headers.find(folders, name) if name not in seen else None
        seen.add(name)
        if path is not None:
            for found, bases, body in headers.classes(path.read_text(errors="replace")):
                if found == name:
                    wanted += bases
                    yield name, (bases, body)


def _slicer_names(python: Path, folders: list[Path]) -> list[str]:
    """What `slicer.` can be followed by: sub-modules, what the start of the application sets, MRML classes."""
    names = {path.stem for path in (python / "slicer").glob("*.py")} - {"__init__"}
    names |= {path.parent.name for path in (python / "slicer").glob("*/__init__.py")}
    start = next(python.rglob("slicerqt.py")).read_text()
    for pair in re.findall(r'setattr\(slicer, "(\w+)"|^\s*slicer\.(\w+) = ', start, re.MULTILINE):
        names |= set(pair) - {""}
    nodes = (path.stem for folder in folders for path in folder.rglob("vtkMRML*Node.h"))
    return sorted(names | set(nodes) | {"modules", "moduleNames"})


def _functions(python: Path) -> dict[str, dict[str, str]]:
    """The parameters of the functions, and of the constructors of classes, of the modules that FedSeg imports."""
    found = {}
    for name in ("util", "i18n", "ScriptedLoadableModule", "packaging", "parameterNodeWrapper", "testing"):
        package = python / "slicer" / name
        paths = [package.with_suffix(".py")] if package.with_suffix(".py").is_file() else package.glob("*.py")
        signatures = {}
        for path in sorted(paths):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef):
                    signatures[node.name] = ast.unparse(_plain(node.args))
                elif isinstance(node, ast.ClassDef):
                    signatures[node.name] = "*args, **kwargs"
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    signatures.setdefault(node.targets[0].id, "*args, **kwargs")
        found[name] = dict(sorted(signatures.items()))
    return {name: signatures for name, signatures in found.items() if signatures}


def _bindings(connectors: Path) -> dict[str, list[str]]:
    """Widget class -> the types of parameters that `connectGui` binds it to; any node is called "node"."""
    found: dict[str, set[str]] = {}
    for connector in ast.parse(connectors.read_text(encoding="utf-8")).body:
        for function in connector.body if isinstance(connector, ast.ClassDef) else ():
            if isinstance(function, ast.FunctionDef) and function.name == "canRepresent":
                words = re.findall(
                    r"\b(?:(qt|ctk|slicer)\.)?(\w+)", "\n".join(map(ast.unparse, function.body))
                )
                widgets = {word for scope, word in words if scope}
                types = {_TYPES[word] for scope, word in words if not scope and word in _TYPES}
                for widget in widgets:
                    found.setdefault(widget, set()).update(types)
    return {widget: sorted(types) for widget, types in sorted(found.items()) if types}


def _plain(arguments: ast.arguments) -> ast.arguments:
    """The parameters' names; a default is only said to be there."""
    for group in (arguments.posonlyargs, arguments.args, arguments.kwonlyargs):
        for one in group:
            one.annotation = None
    for other in (arguments.vararg, arguments.kwarg):
        if other is not None:
            other.annotation = None
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [d and ast.Constant(None) for d in arguments.kw_defaults]
    return arguments


def qt_facts() -> tuple[str, str, dict[str, Any]]:
    """Version, source and facts of the installed Qt."""
    try:
        binding = importlib.import_module("PySide6")
    except ImportError:
        binding = importlib.import_module("PyQt5")
    parts = [importlib.import_module(f"{binding.__name__}.Qt{part}") for part in ("Core", "Gui", "Widgets")]
    version = parts[0].qVersion()
    scopes = {name: getattr(part, name) for part in parts for name in dir(part)}
    known = {name: _qt_class(scopes[name]) for name in selection.QT if name in scopes}
    values = [name for kind in selection.QT_ENUMERATIONS for name in _enumerated(parts[0].Qt, kind)]
    known["Qt"] = {"bases": [], "properties": [], "signals": [], "callables": [], "values": values}
    # Qt 6 grows without taking away; of Qt 5 there will be no other than 5.15.
    label = "Qt 6" if version.startswith("6.") else "Qt 5.15"
    return label, f"Qt {version} through {binding.__name__}", {"classes": known}


def _qt_class(cls: type) -> dict[str, list[str]]:
    callables, values = _members(cls)
    properties: list[str] = []
    signals: list[str] = []
    meta = getattr(cls, "staticMetaObject", None)
    if meta is not None and meta.className() == cls.__name__:
        properties = [meta.property(i).name() for i in range(meta.propertyOffset(), meta.propertyCount())]
        for i in range(meta.methodOffset(), meta.methodCount()):
            method = meta.method(i)
            if "signal" in str(method.methodType()).lower() or method.methodType() == 1:
                signals.append(bytes(method.methodSignature().data()).decode())
    return {
        "bases": [base.__name__ for base in _bases(cls)],
        "properties": sorted(properties),
        "signals": sorted(signals),
        "callables": callables,
        "values": values,
    }


def _enumerated(scope: Any, kind: str) -> list[str]:
    """The values of an enumeration, which PyQt5 keeps beside it and PySide6 within."""
    enumeration = getattr(scope, kind)
    within = getattr(enumeration, "__members__", None)
    return list(within or [name for name in dir(scope) if type(getattr(scope, name)) is enumeration])


def _bases(cls: type) -> list[type]:
    return [base for base in cls.__mro__[1:] if base.__name__ in selection.QT + selection.PLAIN_VTK][:1]


def vtk_facts() -> tuple[str, str, dict[str, Any]]:
    """The same of the installed VTK."""
    vtk = importlib.import_module("vtk")
    known = {}
    for name in selection.PLAIN_VTK:
        callables, values = _members(getattr(vtk, name))
        bases = [base.__name__ for base in _bases(getattr(vtk, name))]
        known[name] = {"bases": bases, "callables": callables, "values": values}
    version = vtk.vtkVersion.GetVTKVersion()
    return "VTK", f"VTK {version}, of which only what is long-standing is used", {"classes": known}


def _members(cls: type) -> tuple[list[str], list[str]]:
    """Methods but for handlers of events, and the values of enumerations."""
    callables, values = set(), set()
    inherited = {*dir(object), *(name for base in _bases(cls) for name in dir(base))}
    for name in dir(cls):  # both bindings fill a class only when it is asked
        member = getattr(cls, name)
        if isinstance(member, enum.EnumMeta):
            values |= {name, *member.__members__} if name not in inherited else set()
        elif not name.startswith("_") and name not in inherited and not _HANDLER.match(name):
            (callables if callable(member) and not isinstance(member, int | type) else values).add(name)
    return sorted(callables), sorted(values - {"staticMetaObject"})


def _replace(version: str, source: str, found: dict[str, Any]) -> None:
    whole = facts.load() if facts.FACTS.is_file() else {}
    facts.save({**whole, version: {"source": source, **found}})


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--version", help="Slicer's version, such as 5.12")
    parser.add_argument("--slicer-src", type=Path)
    parser.add_argument("--ctk-src", type=Path)
    parser.add_argument("--slicer-commit", help="where the source folder is no git checkout")
    parser.add_argument("--ctk-commit", help="where the source folder is no git checkout")
    parser.add_argument("--qt", action="store_true", help="the facts of the installed Qt")
    parser.add_argument("--vtk", action="store_true", help="the facts of the installed VTK")
    told = parser.parse_args()
    if told.qt or told.vtk:
        _replace(*(qt_facts() if told.qt else vtk_facts()))
        return
    if not (told.version and told.slicer_src and told.ctk_src):
        parser.error("either --qt, or --vtk, or --version with --slicer-src and --ctk-src")
    slicer = told.slicer_commit or _commit(told.slicer_src)
    ctk = told.ctk_commit or _commit(told.ctk_src)
    source = f"Slicer commit {slicer}, CTK commit {ctk}"
    _replace(f"Slicer {told.version}", source, slicer_facts(told.slicer_src, told.ctk_src))


if __name__ == "__main__":
    main()

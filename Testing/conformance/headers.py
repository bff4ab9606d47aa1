"""What Python may use of a C++ class, read from its header: Qt's meta-object as `moc` would see it, VTK's methods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_PREPROCESSOR = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
_CLASS = re.compile(r"\bclass\s+(?:\w+\s+)?(\w+)(?:\s+final)?\s*(?::\s*([^{;]+))?\{")
_ACCESS = re.compile(
    r"\b(?:(public|protected|private)\s*(slots|Q_SLOTS)?|(signals|Q_SIGNALS))\s*:(?!:)", re.MULTILINE
)
_FUNCTION = re.compile(r"(~?\w+)\s*\(((?:[^()]|\([^()]*\))*)\)\s*(?:const|override|final|=\s*0|\s)*(?=;)")
_PROPERTY = re.compile(r"\bQ_PROPERTY\s*\(\s*[^()]*?(\w+)\s+(?:READ|MEMBER)\b")
_INVOKABLE = re.compile(r"\bQ_INVOKABLE\s+[^;{(]*?(\w+)\s*\(")
_ENUM = re.compile(r"\benum\s+(?:class\s+)?\w*\s*(?::\s*\w+\s*)?\{([^}]*)\}")
_BRACES = re.compile(r"\{[^{}]*\}")
_MACRO = re.compile(r"\bvtk(\w*?)Macro\s*\(\s*(\w+)")
_BUILTIN = {"int", "long", "short", "char", "double", "float", "bool", "unsigned", "const"}


def bare(text: str) -> str:
    """A header without comments and preprocessor lines; both sides of an #if stay."""
    return _PREPROCESSOR.sub("", _COMMENT.sub(" ", text))


def classes(text: str) -> Iterator[tuple[str, list[str], str]]:
    """Name, base classes and body of each class that a header defines."""
    text = bare(text)
    for found in _CLASS.finditer(text):
        depth, end = 1, found.end()
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        bases = [base.split()[-1] for base in (found[2] or "").split(",") if base.strip()]
        yield found[1], bases, text[found.end() : end - 1]


def qt_class(bases: list[str], body: str) -> dict[str, list[str]]:
    """Properties, signals, what can be called (public slots and invokable methods) and the values of enumerations.

    A plain public method is none of these: PythonQt does not see it.
    """
    signals: set[str] = set()
    callables = set(_INVOKABLE.findall(body))
    for access, section in _sections(_flat(body)):
        for name, parameters in _FUNCTION.findall(section) if access in ("signals", "public slots") else ():
            if access == "signals":
                signals |= {f"{name}({','.join(types)})" for types in _overloads(parameters)}
            else:
                callables.add(name)
    return {
        "bases": bases,
        "properties": sorted(set(_PROPERTY.findall(body))),
        "signals": sorted(signals),
        "callables": sorted(callables | {signal.split("(")[0] for signal in signals}),
        "values": _values(body),
    }


def vtk_class(bases: list[str], body: str) -> dict[str, list[str]]:
    """Public methods, those that VTK's macros make among them, and the values of enumerations."""
    methods: set[str] = set()
    for access, section in _sections(_flat(body)):
        if access == "public":
            methods |= {name for name, _ in _FUNCTION.findall(section) if name[:1].isupper()}
            for kind, name in _MACRO.findall(section):
                methods |= {f"{prefix}{name}" for prefix in ("Get", "Set") if prefix in kind}
                if "Boolean" in kind:
                    methods |= {f"{name}On", f"{name}Off"}
    return {"bases": bases, "callables": sorted(methods), "values": _values(body)}


def _flat(body: str) -> str:
    """Without what stands within braces: bodies of functions, enumerations, inner classes."""
    while True:
        text = _BRACES.sub(";", body)
        if text == body:
            return body
        body = text


def _values(body: str) -> list[str]:
    listed = (
        name for group in _ENUM.findall(body) for name in re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", group)
    )
    return sorted({name for name in listed if not name[0].isdigit()})


def _sections(body: str) -> Iterator[tuple[str, str]]:
    """A class' body by access; what stands before the first is private."""
    places = list(_ACCESS.finditer(body))
    ends = [place.start() for place in places[1:]] + [len(body)]
    for place, end in zip(places, ends, strict=True):
        access, slots, signals = place.groups()
        name = "signals" if signals else f"{access} slots" if slots else access
        yield name, body[place.end() : end]


def _overloads(parameters: str) -> list[list[str]]:
    """The types of a signal's parameters, and once more without each that has a default."""
    listed = [part for part in _split(parameters) if part]
    types = [_normalized(part.split("=")[0]) for part in listed]
    with_default = sum("=" in part for part in listed)
    return [types[: len(types) - left] for left in range(with_default + 1)]


def _split(parameters: str) -> list[str]:
    """At the commas that are not within a template's brackets."""
    parts, depth = [""], 0
    for letter in parameters:
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _normalized(parameter: str) -> str:
    """A parameter's type as `QMetaObject::normalizedSignature` writes it."""
    text = re.sub(r"\s*([*&<>,:])\s*", r"\1", parameter.strip())
    text = re.sub(r"^([^*&]+?)\s*const&", r"const \1&", text)
    words = re.sub(r"([*&>])(?=\w)", r"\1 ", text).split()
    if (
        len(words) > 1
        and words[-1].isidentifier()
        and words[-1] not in _BUILTIN
        and words[-2:-1] != ["const"]
    ):
        words.pop()
    text = re.sub(r"\bunsigned (?=int|long|char)", "u", " ".join(words))
    if text.startswith("const ") and not text.endswith("*"):
        text = text.removeprefix("const ").removesuffix("&")
    return text


def find(folders: list[Path], name: str) -> Path | None:
    """The header of a class, by its file name."""
    for folder in folders:
        if found := sorted(folder.rglob(f"{name}.h")):
            return found[0]
    return None

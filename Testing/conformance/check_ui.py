"""What a .ui file asks of Qt, CTK and Slicer, held against the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from Testing.conformance.facts import Facts

_SCENE_SIGNAL, _SCENE_SLOT = "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)"
_LAYOUT_PROPERTIES = {"spacing", "leftMargin", "topMargin", "rightMargin", "bottomMargin", "margin"}
_LAYOUT_PROPERTIES |= {
    "fieldGrowthPolicy",
    "labelAlignment",
    "formAlignment",
    "horizontalSpacing",
    "verticalSpacing",
}
_LAYOUT_PROPERTIES |= {"rowWrapPolicy"}


def widgets(root: ElementTree.Element) -> dict[str, str]:
    """The widgets' names and classes."""
    return {element.attrib["name"]: element.attrib["class"] for element in root.iter("widget")}


def problems(
    root: ElementTree.Element, facts: Facts, *, parameters: Mapping[str, str], in_code: set[str]
) -> Iterator[str]:
    """One sentence for each thing that would fail, or be silently ignored, in Slicer.

    Args:
        parameters: the fields of the parameter node and the kinds of their types: bool, str, node, ...
        in_code: the widgets whose scene the code sets.
    """
    kinds = widgets(root)
    if len(kinds) != len(list(root.iter("widget"))):
        yield "two widgets share a name"
    for element in (*root.iter("widget"), *root.iter("layout")):
        yield from _of_element(element, facts, parameters)
    for connection in root.iter("connection"):
        yield from _of_connection(connection, kinds, facts)
    top = root.find("widget")
    wired = {_text(connection, "receiver") for connection in root.iter("connection") if _is_scene(connection)}
    for name, kind in kinds.items():
        takes_scene = "setMRMLScene" in facts.of(kind, "callables")
        if takes_scene and name not in wired | in_code and (top is None or name != top.attrib["name"]):
            yield f"{name} ({kind}) is never given the scene"


def _of_element(element: ElementTree.Element, facts: Facts, parameters: Mapping[str, str]) -> Iterator[str]:
    kind, name = element.attrib["class"], element.attrib.get("name", "")
    if not facts.knows(kind):
        yield f"{name}: there is no class {kind}"
        return
    known = facts.of(kind, "properties") | (_LAYOUT_PROPERTIES if facts.is_a(kind, "QLayout") else set())
    for told in element.findall("property"):
        key = told.attrib["name"]
        if told.attrib.get("stdset") != "0":
            if key not in known:
                yield f"{name}: {kind} has no property {key}"
            yield from _of_values(name, told, facts)
        elif key == "SlicerParameterName":
            bound = _text(told, "string")
            if bound not in parameters:
                yield f"{name}: the parameter node has no field {bound}"
            elif parameters[bound] not in facts.bindings.get(kind, ()):
                yield f"{name}: a {kind} cannot be bound to {bound}, which is a {parameters[bound]}"


def _of_values(name: str, told: ElementTree.Element, facts: Facts) -> Iterator[str]:
    """Values of enumerations as `Class::Value`; Qt 5 does not read the longer form."""
    for tag in ("enum", "set"):
        for value in filter(None, _text(told, tag).split("|")):
            scope, _, entry = value.partition("::")
            if entry not in facts.of(scope, "values"):
                yield f"{name}: there is no value {value}"


def _of_connection(connection: ElementTree.Element, kinds: Mapping[str, str], facts: Facts) -> Iterator[str]:
    sender, receiver = _text(connection, "sender"), _text(connection, "receiver")
    signal, slot = _text(connection, "signal"), _text(connection, "slot")
    for name in (sender, receiver):
        if name not in kinds:
            yield f"a connection names {name}, which is no widget"
            return
    if signal not in facts.of(kinds[sender], "signals"):
        yield f"{sender}: {kinds[sender]} has no signal {signal}"
    if slot.split("(")[0] not in facts.of(kinds[receiver], "callables"):
        yield f"{receiver}: {kinds[receiver]} has no slot {slot}"


def _is_scene(connection: ElementTree.Element) -> bool:
    return (_text(connection, "signal"), _text(connection, "slot")) == (_SCENE_SIGNAL, _SCENE_SLOT)


def _text(element: ElementTree.Element, tag: str) -> str:
    return element.findtext(tag) or ""

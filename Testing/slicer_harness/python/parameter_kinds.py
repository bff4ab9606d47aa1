"""The types that a module's parameters may have, and how each is kept in a node."""

import enum
import pathlib
import types
import typing

import slicer


class Kind:
    """A type of parameters: its default, and its text in the node."""

    def __init__(self, type_, default, encode, decode):
        self.type, self.default = type_, default
        self._encode, self._decode = encode, decode

    @staticmethod
    def of(told):
        arms = typing.get_args(told)
        if (
            typing.get_origin(told) in (typing.Union, types.UnionType)
            and type(None) in arms
            and len(arms) == 2
        ):
            told = next(arm for arm in arms if arm is not type(None))
        if told == list[str]:
            return Strings()
        if isinstance(told, type) and issubclass(told, slicer.vtkMRMLNode):
            return Node(told)
        if isinstance(told, type) and issubclass(told, enum.Enum):
            return Kind(told, next(iter(told)), lambda value: value.name, lambda text: told[text])
        if told is bool:
            return Kind(bool, False, str, lambda text: text == "True")
        if told in (str, int, float, pathlib.Path):
            return Kind(told, told(), str, told)
        raise TypeError(f"the harness knows no parameters of type {told}")

    def accepts(self, value):
        return isinstance(value, (int, float) if self.type is float else self.type)

    def read(self, node, name):
        return self._decode(node.GetParameter(name))

    def write(self, node, name, value):
        node.SetParameter(name, self._encode(value))


class Strings(Kind):
    """A list of texts, each a parameter of the node."""

    def __init__(self):
        super().__init__(list, [], None, None)

    def read(self, node, name):
        return [
            node.GetParameter(f"{name}.{place}") for place in range(int(node.GetParameter(f"{name}.len")))
        ]

    def write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetParameter(f"{name}.len", str(len(value)))
        for place, text in enumerate(value):
            node.SetParameter(f"{name}.{place}", text)


class Node(Kind):
    """A reference to a node of the scene, or None."""

    def __init__(self, type_):
        super().__init__(type_, None, None, None)

    def accepts(self, value):
        return value is None or isinstance(value, self.type)

    def read(self, node, name):
        return node.GetNodeReference(name)

    def write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

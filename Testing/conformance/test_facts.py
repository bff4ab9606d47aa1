"""The facts are read from headers as Qt's and VTK's own tools read them, and are whole."""

from __future__ import annotations

from pathlib import Path

from Testing.conformance import extract_facts, facts, headers

QT_HEADER = """
/* signals: */ class Forward;
#define SLOT(x) \\
  class Macro : public Nothing { signals: void no(); };
class FED_EXPORT fedButton : public QWidget, public fedMixin
{
  Q_OBJECT
  Q_PROPERTY(QString name READ name WRITE setName)
  Q_PROPERTY(bool open MEMBER Open) // Q_PROPERTY(int none READ none)
public:
  enum Mode { Fast = 0x1, Slow };
  void setName(const QString& name);
  Q_INVOKABLE vtkMRMLNode* node(int index = 0) const;
public slots:
  void browse();
  virtual bool close(bool now) { return this->hidden(now); }
Q_SIGNALS:
  void nameChanged(const QString& name, vtkMRMLNode *);
  void moved(unsigned int step, QMap<QString, int> const& where = {}, bool done = false);
protected slots:
  void hidden(bool);
};
"""
VTK_HEADER = """
class FED_EXPORT vtkFedNode : public vtkObject
{
public:
  static vtkFedNode* New();
  virtual const char* GetName();
  vtkSetMacro(Level, int);
  vtkGetStringMacro(Tag);
  vtkBooleanMacro(Shown, bool);
  enum { ChangedEvent = 15000, /* no */ LastEvent };
protected:
  void SetSecret();
};
"""


PYTHON = {
    "slicer/util.py": "def exportNode(node, filename, properties={}, world: bool = False):\n    pass\n",
    "slicer/i18n.py": "def tr(text):\n    return text\n",
    "slicerqt.py": 'class _Internal:\n    def __init__(self):\n        setattr(slicer, "app", instance)\n',
    "slicer/parameterNodeWrapper/__init__.py": "from .wrapper import *\n",
    "slicer/parameterNodeWrapper/guiConnectors.py": """
class Connector:
    def canRepresent(widget, datatype) -> bool:
        return type(widget) in (qt.QCheckBox, ctk.ctkCheckBox) and datatype == bool
""",
}


def qt_class() -> dict[str, list[str]]:
    [(name, bases, body)] = [found for found in headers.classes(QT_HEADER) if found[0] == "fedButton"]
    assert (name, bases) == ("fedButton", ["QWidget", "fedMixin"])
    return headers.qt_class(bases, body)


def test_properties_are_those_of_the_class_and_not_of_its_comments() -> None:
    assert qt_class()["properties"] == ["name", "open"]


def test_signals_are_written_as_qt_normalizes_them_once_for_each_default() -> None:
    assert qt_class()["signals"] == [
        "moved(uint)",
        "moved(uint,QMap<QString,int>)",
        "moved(uint,QMap<QString,int>,bool)",
        "nameChanged(QString,vtkMRMLNode*)",
    ]


def test_only_public_slots_and_invokable_methods_can_be_called() -> None:
    assert qt_class()["callables"] == ["browse", "close", "moved", "nameChanged", "node"]


def test_values_of_enumerations_are_read() -> None:
    assert qt_class()["values"] == ["Fast", "Slow"]


def test_a_vtk_class_has_its_public_methods_and_those_of_the_macros() -> None:
    [(_, bases, body)] = headers.classes(VTK_HEADER)
    found = headers.vtk_class(bases, body)
    assert found["values"] == ["ChangedEvent", "LastEvent"]
    assert found["callables"] == ["GetName", "GetTag", "New", "SetLevel", "ShownOff", "ShownOn"]


def test_a_source_tree_gives_names_signatures_bindings_and_classes(tmp_path: Path) -> None:
    for name, text in PYTHON.items():
        (tmp_path / "Base" / "Python" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "Base" / "Python" / name).write_text(text)
    (tmp_path / "Libs").mkdir()
    (tmp_path / "Libs" / "vtkMRMLNode.h").write_text(VTK_HEADER.replace("vtkFedNode", "vtkMRMLNode"))
    (tmp_path / "Libs" / "ctkCheckBox.h").write_text(QT_HEADER.replace("fedButton", "ctkCheckBox"))
    found = extract_facts.slicer_facts(tmp_path, tmp_path)
    assert set(found["names"]) >= {"app", "util", "i18n", "vtkMRMLNode", "modules"}
    assert found["functions"]["util"] == {"exportNode": "node, filename, properties=None, world=None"}
    assert found["bindings"] == {"QCheckBox": ["bool"], "ctkCheckBox": ["bool"]}
    assert set(found["classes"]) == {"vtkMRMLNode", "ctkCheckBox"}


def test_each_part_says_where_it_is_from() -> None:
    parts = facts.load()
    assert set(parts) == {*facts.SLICERS, *facts.QTS, *facts.VTKS}
    assert all("commit" in parts[name]["source"] for name in facts.SLICERS)
    assert all("through" in parts[name]["source"] for name in facts.QTS)


def test_every_class_is_known_with_all_that_it_is_derived_from() -> None:
    ends = {"QObject", "vtkObjectBase", "qSlicerObject", "Superclass"}
    for pair in facts.PLATFORMS:
        known = facts.platform(*pair, facts.load())
        assert not {
            (name, base)
            for name, found in known.classes.items()
            for base in found.get("bases", ())
            if not known.knows(base) and base not in ends
        }


def test_what_versions_share_is_kept_once_and_read_back_whole() -> None:
    parts = facts.load()
    both = [parts[name]["classes"]["qMRMLNodeComboBox"]["signals"] for name in facts.SLICERS]
    assert "currentNodeChanged(vtkMRMLNode*)" in both[0] and set(both[0]) < set(both[1])
    assert facts.FACTS.stat().st_size < 200_000

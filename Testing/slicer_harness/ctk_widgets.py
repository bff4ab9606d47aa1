"""Stand-ins for CTK's widgets: their properties and signals, and as much of their looks as a picture needs."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtCore

qt: Any = sys.modules["qt"]


def kept(name: str, default: Any) -> property:
    """A property whose value nothing else depends on."""
    field = f"_{name}"
    return property(
        lambda self: self.__dict__.get(field, default),
        lambda self, value: self.__dict__.update({field: value}),
    )


class ctkCollapsibleButton(qt.QWidget):
    """A title that hides and shows what is below it."""

    contentsCollapsed = QtCore.Signal(bool)
    clicked = QtCore.Signal(bool)
    toggled = QtCore.Signal(bool)
    SIGNALS = (
        "contentsCollapsed(bool)",
        "clicked(bool)",
        "toggled(bool)",
    )
    flat = kept("flat", False)
    contentsLineWidth = kept("contentsLineWidth", 1)
    collapsedHeight = kept("collapsedHeight", 10)

    def __init__(self, text: Any = None, parent: Any = None) -> None:
        super().__init__(parent if isinstance(text, str) else text)
        self._title = qt.QToolButton(self)
        self._title.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
        self._title.setToolButtonStyle(qt.Qt.ToolButtonTextBesideIcon)
        self._title.connect("clicked()", self._toggle)
        self._isCollapsed = False
        self._hidden: list[Any] = []
        self.text = text if isinstance(text, str) else ""
        self.setContentsMargins(0, self._titleHeight(), 0, 0)  # the layout comes from outside
        self.setMinimumHeight(self._titleHeight())
        self._showArrow()

    text = property(lambda self: self._title.text, lambda self, value: self._title.setText(value))
    collapsed = property(lambda self: self._isCollapsed, lambda self, value: self._collapse(bool(value)))
    checked = property(lambda self: not self._isCollapsed, lambda self, value: self._collapse(not value))

    def setText(self, text: str) -> None:
        self.text = text

    def click(self) -> None:
        self._title.click()

    def resizeEvent(self, event: Any) -> None:
        self._title.setGeometry(0, 0, self.width, self._titleHeight())
        super().resizeEvent(event)

    def eventFilter(self, child: Any, event: Any) -> bool:
        # What is shown while its section is collapsed appears when that is expanded.
        if event.type() == QtCore.QEvent.ShowToParent and child.parent() is self:
            child.setVisible(False)
            if child not in self._hidden:
                self._hidden.append(child)
        return False

    def _titleHeight(self) -> int:
        return self._title.sizeHint().height()

    def _toggle(self) -> None:
        self.collapsed = not self.collapsed
        self.clicked.emit(self.checked)

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._isCollapsed:
            return
        self._isCollapsed = collapsed
        children = [child for child in self.children() if child.isWidgetType() and child is not self._title]
        if collapsed:
            self._hidden = [child for child in children if not child.isHidden()]
        for child in children:
            if not collapsed:
                child.removeEventFilter(self)
            if child in self._hidden:
                child.setVisible(not collapsed)
            if collapsed:
                child.installEventFilter(self)
        self.setMaximumHeight(self._titleHeight() if collapsed else 16777215)
        self._showArrow()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def _showArrow(self) -> None:
        self._title.setArrowType(qt.Qt.RightArrow if self._isCollapsed else qt.Qt.DownArrow)


class ctkPathLineEdit(qt.QWidget):
    """A path, typed or browsed for."""

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    SIGNALS = (
        "currentPathChanged(QString)",
        "validInputChanged(bool)",
    )
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x1, 0x2, 0x4, 0x8, 0x7
    Readable, Writable, Executable, NoDot, NoDotDot = 0x10, 0x20, 0x40, 0x2000, 0x4000
    filters = kept("filters", 0x7)
    label = kept("label", "")
    nameFilters = kept("nameFilters", [])
    options = kept("options", 0)
    settingKey = kept("settingKey", "")
    showHistoryButton = kept("showHistoryButton", True)
    minimumContentsLength = kept("minimumContentsLength", 0)
    sizeAdjustPolicy = kept("sizeAdjustPolicy", 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit, self._button = qt.QLineEdit(), qt.QToolButton()
        self._button.text = "..."
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(self._button)
        self._edit.connect("textChanged(QString)", self.currentPathChanged.emit)
        self._button.connect("clicked()", self.browse)

    currentPath = property(lambda self: self._edit.text, lambda self, path: self._edit.setText(path))
    showBrowseButton = property(
        lambda self: not self._button.isHidden(), lambda self, value: self._button.setVisible(value)
    )

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def addCurrentPathToHistory(self) -> None:
        pass

    def browse(self) -> None:
        """Asks for a file or a folder, as the filters say."""
        isFolder = (
            "Files" not in self.filters if isinstance(self.filters, str) else not self.filters & self.Files
        )
        ask = qt.QFileDialog.getExistingDirectory if isFolder else qt.QFileDialog.getOpenFileName
        path = ask(self, self.label, self.currentPath)
        if path:
            self.currentPath = path


class ctkDirectoryButton(qt.QWidget):
    """A folder on a button."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)
    SIGNALS = (
        "directoryChanged(QString)",
        "directorySelected(QString)",
    )
    caption = kept("caption", "")
    acceptMode = kept("acceptMode", 0)
    options = kept("options", 0)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._directory = ""
        self._button = qt.QPushButton()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.connect("clicked()", self.browse)

    directory = property(lambda self: self._directory, lambda self, path: self._set(path))
    text = property(lambda self: self._button.text, lambda self, text: self._button.setText(text))

    def browse(self) -> None:
        path = qt.QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if path:
            self.directory = path
            self.directorySelected.emit(path)

    def _set(self, path: str) -> None:
        if path != self._directory:
            self._directory = self._button.text = path
            self.directoryChanged.emit(path)


class ctkSliderWidget(qt.QWidget):
    """A number between two bounds; here without the slider, a spin box."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    SIGNALS = (
        "valueChanged(double)",
        "valueIsChanging(double)",
    )
    pageStep = kept("pageStep", 10.0)
    spinBoxVisible = kept("spinBoxVisible", True)
    tracking = kept("tracking", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = qt.QDoubleSpinBox()
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.connect("valueChanged(double)", self.valueChanged.emit)

    def setValue(self, value: float) -> None:
        self.value = value


def _of_the_box(name: str) -> property:
    return property(
        lambda self: getattr(self._box, name), lambda self, value: setattr(self._box, name, value)
    )


for _name in ("value", "minimum", "maximum", "singleStep", "decimals", "prefix", "suffix"):
    setattr(ctkSliderWidget, _name, _of_the_box(_name))


class ctkComboBox(qt.QComboBox):
    """A combo box with a text for no choice."""

    defaultText = kept("defaultText", "")
    forceDefault = kept("forceDefault", False)


class ctkCheckBox(qt.QCheckBox):
    pass


class ctkMenuButton(qt.QPushButton):
    pass


class ctkMessageBox(qt.QMessageBox):
    """A message box that can be told not to come again."""

    dontShowAgain = kept("dontShowAgain", False)
    dontShowAgainVisible = kept("dontShowAgainVisible", False)
    dontShowAgainSettingsKey = kept("dontShowAgainSettingsKey", "")


class ctkSettings(qt.QSettings):
    pass


def make_ctk() -> types.ModuleType:
    """The module as Slicer's Python sees it."""
    module = types.ModuleType("ctk", "CTK's widgets, as Slicer's Python sees them")
    vars(module).update({name: value for name, value in globals().items() if name.startswith("ctk")})
    return module

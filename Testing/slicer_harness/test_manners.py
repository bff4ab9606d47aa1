"""What a module may do with `qt`, and what it may not, as with PythonQt."""

from __future__ import annotations

from typing import Any

import pytest

from Testing.slicer_harness.app import App


def test_properties_are_attributes_and_setters_work_too(qt: Any) -> None:
    button = qt.QPushButton("Apply")
    button.enabled = False
    button.setText("Cancel")
    assert button.text == "Cancel" and not button.enabled and button.name == ""


def test_what_qt_makes_itself_has_properties_too(qt: Any) -> None:
    table = qt.QTableWidget(2, 3)
    table.horizontalHeader().visible = False
    assert table.rowCount == 2 and not table.horizontalHeader().visible


def test_a_property_that_a_class_lacks_cannot_be_set(qt: Any) -> None:
    with pytest.raises(AttributeError, match="QLabel has no property colour"):
        qt.QLabel().colour = "red"


def test_a_method_cannot_be_overwritten(qt: Any) -> None:
    with pytest.raises(AttributeError, match="setText"):
        qt.QLabel().setText = "text"


def test_a_modules_own_class_has_whatever_attributes_it_likes(qt: Any) -> None:
    class Button(qt.QPushButton):
        pass

    button = Button()
    button.purpose = "apply"
    button.connect("clicked()", lambda: None)
    assert button.purpose == "apply"


def test_every_widget_is_a_widget(qt: Any) -> None:
    parent = qt.QWidget()
    button = qt.QPushButton(parent)
    assert isinstance(button, qt.QWidget) and not isinstance(button, qt.QLabel)
    assert parent.findChildren(qt.QPushButton) == [button]


def test_a_signal_that_a_class_lacks_cannot_be_connected(qt: Any) -> None:
    with pytest.raises(ValueError, match=r"QLabel has no signal clicked\(\)"):
        qt.QLabel().connect("clicked()", print)


def test_a_slot_gets_as_many_arguments_as_it_takes(qt: Any) -> None:
    got: list[Any] = []
    button = qt.QPushButton()
    button.checkable = True
    button.connect("clicked(bool)", lambda: got.append("none"))
    button.connect("clicked(bool)", lambda checked=False: got.append(checked))
    button.connect("clicked(bool)", got.append)
    button.click()
    assert got == ["none", True, True]


def test_a_slot_can_be_disconnected(qt: Any) -> None:
    got: list[Any] = []
    button = qt.QPushButton()
    button.connect("clicked(bool)", got.append)
    assert button.disconnect("clicked(bool)", got.append) and not button.disconnect("clicked(bool)", print)
    button.click()
    assert not got


@pytest.mark.parametrize("name", ["Signal", "Slot", "Property"])
def test_names_that_pyside_alone_has_are_not_there(qt: Any, name: str) -> None:
    assert not hasattr(qt, name)


def test_an_error_in_a_callback_fails_the_test(application: App) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"), application.session() as app:
        timer = app.qt.QTimer()
        timer.connect("timeout()", lambda: 1 / 0)
        timer.start(0)
        app.wait(lambda: app.errors)


def test_an_error_in_an_observer_fails_the_test(application: App) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"), application.session() as app:
        tag = app.scene.AddObserver(app.scene.NodeAddedEvent, lambda _scene, _event: 1 / 0)
        app.scene.AddNewNodeByClass("vtkMRMLTextNode")
        app.scene.RemoveObserver(tag)


def test_a_file_dialog_gives_what_the_test_answers(app: App, qt: Any) -> None:
    app.answers.append("/data")
    assert qt.QFileDialog.getExistingDirectory(None, "Dataset", "") == "/data"
    assert app.asked[0].kind == "QFileDialog.getExistingDirectory" and "Dataset" in app.asked[0].text


def test_a_dialog_that_nobody_answers_is_an_error(qt: Any) -> None:
    with pytest.raises(AssertionError, match="nobody answers"):
        qt.QDialog().exec_()


@pytest.mark.parametrize("answer", [True, False])
def test_a_question_is_answered_by_the_test(app: App, answer: bool) -> None:
    app.answers.append(answer)
    assert app.slicer.util.confirmOkCancelDisplay("Install?") is answer
    assert [(asked.kind, asked.text) for asked in app.asked] == [("question", "Install?")]


def test_what_the_user_is_told_is_recorded(app: App) -> None:
    app.slicer.util.errorDisplay("The disk is full.")
    assert [(asked.kind, asked.text) for asked in app.asked] == [("error", "The disk is full.")]


def test_settings_of_one_test_are_not_those_of_the_next(application: App) -> None:
    for _time in range(2):
        with application.session() as app:
            assert app.slicer.util.settingsValue("FedSeg/command", "none") == "none"
            app.settings.setValue("FedSeg/command", "/opt/fedseg")
            assert app.slicer.util.settingsValue("FedSeg/command", "none") == "/opt/fedseg"


def test_a_scene_is_empty_for_the_next_test(application: App) -> None:
    with application.session() as app:
        before = app.scene.GetNumberOfNodes()
        app.volume()
        app.open()
    with application.session() as app:
        assert app.scene.GetNumberOfNodes() == before


def test_the_application_tells_its_name(app: App) -> None:
    assert app.slicer.app.applicationName == "Slicer"

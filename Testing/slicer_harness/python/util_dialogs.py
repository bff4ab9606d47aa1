"""The part of `slicer.util` that tells and asks the user."""

import contextlib
import logging

import ctk
import qt
import slicer


def delayDisplay(message, autoCloseMsec=1000, parent=None, **kwargs):
    """Shows a message for a while; here no longer than the application needs to do what waits."""
    logging.info(message)
    slicer.app.processEvents()


def messageBox(text, parent=None, **kwargs):
    """Asks the user."""
    box = ctk.ctkMessageBox(parent)
    box.text = text
    for key, value in kwargs.items():
        if hasattr(box, key):
            setattr(box, key, value)
    return box.exec_()


def infoDisplay(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
    """Tells the user something."""
    _messageDisplay(logging.INFO, text, None, mainWindowNeeded=True, **kwargs)


def warningDisplay(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
    """Warns the user."""
    _messageDisplay(logging.WARNING, text, None, mainWindowNeeded=True, **kwargs)


def errorDisplay(text, windowTitle=None, parent=None, standardButtons=None, **kwargs):
    """Tells the user of an error."""
    _messageDisplay(logging.ERROR, text, None, mainWindowNeeded=True, **kwargs)


def confirmOkCancelDisplay(text, windowTitle=None, parent=None, **kwargs):
    """Whether the user says OK."""
    buttons = qt.QMessageBox.Ok | qt.QMessageBox.Cancel
    return _messageDisplay(logging.INFO, text, True, standardButtons=buttons, **kwargs) == qt.QMessageBox.Ok


def confirmYesNoDisplay(text, windowTitle=None, parent=None, **kwargs):
    """Whether the user says yes."""
    buttons = qt.QMessageBox.Yes | qt.QMessageBox.No
    return _messageDisplay(logging.INFO, text, True, standardButtons=buttons, **kwargs) == qt.QMessageBox.Yes


def _messageDisplay(logLevel, text, testingReturnValue, mainWindowNeeded=False, **kwargs):
    logging.log(logLevel, text)
    return None if mainWindowNeeded else messageBox(text, **kwargs)


@contextlib.contextmanager
def tryWithErrorDisplay(message=None, show=True, waitCursor=False):
    """Shows the user an error of the `with`, which goes on."""
    try:
        yield
    except Exception as error:
        if show and not slicer.app.testingEnabled():
            errorDisplay(f"{message}\n\n{error}" if message else str(error))
        raise

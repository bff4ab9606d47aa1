"""A label for messages, and beside it, after an error, the button that copies its details."""

from pathlib import Path

import slicer

from FedSegLib import scene
from FedSegLib.details import detailsOf
from FedSegLib.panels.showing import tell


class Notice:
    """What the user is told in one place.

    :param label: the label, which is not there where nothing is told.
    :param button: "Copy details", which is there after an error alone.
    :param names: gives names and paths that must not be copied besides those of the scene.
    """

    def __init__(self, label, button, names):
        self._label, self._button, self._names = label, button, names
        self._details = None
        button.connect("clicked(bool)", self.onCopyButton)
        self.tell([])

    def tell(self, messages):
        """Messages, none of them an error; none at all: what was told is over."""
        tell(self._label, messages)
        self._details = None
        self.show()

    def fail(self, error, *, among=None, job=None, trace=""):
        """An error, with its fix.

        :param among: all that is to be told, the error among it; none given: the error alone.
        :param job: the run of the command that failed.
        :param trace: the module's own traceback.
        """
        tell(self._label, among or [error])
        self._details = error, job, trace
        self.show()

    def show(self):
        """What was hidden while its section was collapsed has to be hidden again when that is expanded."""
        self._label.visible = bool(self._label.text)
        self._button.visible = self._details is not None

    def onCopyButton(self, checked=False):
        """The user asks somebody for help. The names are looked up only now."""
        error, job, trace = self._details
        names = [*scene.allNames(), str(Path.home()), *self._names()]
        version = slicer.app.applicationVersion
        slicer.app.clipboard().setText(detailsOf(error, names=names, slicer=version, job=job, trace=trace))

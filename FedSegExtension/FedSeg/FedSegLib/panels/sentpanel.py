"""Everything that was sent, message by message, and the models that came back."""

from slicer.i18n import tr as _

from FedSegLib import federationtexts as texts
from FedSegLib.cards import placeOf
from FedSegLib.panels.showing import fillTable, prepareTable


class SentPanel:
    """The sections "Sent from this computer" and "Models of this study".

    :param host: has `useModels(folder, name)`.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._sent, self._models = [], []
        headers = [_("Round"), _("Kind"), _("Tensors"), _("Size"), _("SHA-256")]
        prepareTable(ui.sentTable, headers)
        prepareTable(ui.arrivedTable, [_("Model"), _("Method"), _("Structures")])
        ui.sentTable.connect("cellClicked(int,int)", self.onMessageClicked)
        ui.arrivedTable.connect("cellClicked(int,int)", self.onModelClicked)
        self.clear()

    def clear(self):
        """Of another study nothing is known."""
        self._ui.sentTable.clearSelection()
        self._ui.sentDetails.visible = False
        self._showSent([])
        self._showModels([])

    def show(self, sent, models):
        """What was sent, and what has come, since the study was joined."""
        if len(sent) != len(self._sent):
            self._showSent(sent)
        if models != self._models:
            self._showModels(models)

    def onMessageClicked(self, row, column):
        """The user wants to know what a message held."""
        self._ui.sentDetails.setPlainText(texts.sentText(self._sent[row]))
        self._ui.sentDetails.visible = True

    def onModelClicked(self, row, column):
        """The user wants to segment with a model."""
        self._host.useModels(*placeOf(self._models[row].path))

    def _showSent(self, sent):
        self._sent = list(sent)
        self._ui.sentCollapsibleButton.visible = bool(sent)
        self._ui.sentLabel.text = texts.sentTotalText(sent)
        _fill(self._ui.sentTable, [texts.sentRow(message) for message in sent])

    def _showModels(self, models):
        self._models = list(models)
        self._ui.arrivedCollapsibleButton.visible = bool(models)
        _fill(self._ui.arrivedTable, [texts.modelRow(model) for model in models])


def _fill(table, rows):
    fillTable(table, rows)
    table.resizeColumnsToContents()

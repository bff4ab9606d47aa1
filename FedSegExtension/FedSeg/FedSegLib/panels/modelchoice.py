"""A folder of published models, the list of them, and the card of the one that is chosen."""

from slicer.i18n import tr as _

from FedSegLib import texts
from FedSegLib.cards import MIXTURE
from FedSegLib.events import Message
from FedSegLib.gallery import Gallery
from FedSegLib.identity import identityOf, studyOf
from FedSegLib.panels.showing import fillList


class ModelChoice:
    """What is chosen is kept in the parameter node: the folder, the model's key, and which model that is.

    :param widgets: the line of the folder, the list, its title, and the label of the card.
    :param names: the parameters' names of folder, model and identity.
    :param host: has `logic`, `parameterNode` and `startTimer()`.
    :param tell: called with the messages for the user; none: what was told is over.
    :param isMixable: whether all models of a folder together are a choice.
    """

    def __init__(self, widgets, names, host, tell, *, isMixable):
        self._folderLine, self._box, self._title, self._cardLabel = widgets
        self._folder, self._model, self._identity = names
        self._host, self._tell, self._isMixable = host, tell, isMixable
        self._gallery = Gallery(host.logic.startInfo)
        self._listedFolder = None
        self._listed = []
        self._folderLine.connect("currentPathChanged(QString)", self.onFolderChanged)
        self._box.connect("currentIndexChanged(int)", self.onModelChosen)

    @property
    def isAsking(self):
        """Whether a card is being read."""
        return self._gallery.isAsking

    def onFolderChanged(self, path):
        """The user named a folder."""
        if self._host.parameterNode and path != self._told(self._folder):
            self._tell([])
            self._remember(self._model, "")
            self._remember(self._identity, "")
            self._remember(self._folder, path)

    def onModelChosen(self, index):
        """The user chose a line of the list."""
        if self._host.parameterNode:
            self._tell([])
            self._take(self._listed[index] if index >= 0 else None)

    def reload(self):
        """Models may have come since; another command may know more."""
        self._listedFolder = None
        self._gallery.forget()

    def refresh(self):
        """Show what the parameters say."""
        folder = self._told(self._folder)
        if folder != self._listedFolder:
            self._listedFolder = folder
            if self._folderLine.currentPath != folder:
                self._folderLine.currentPath = folder
            self._list(folder)
        self._showCard()

    def choice(self):
        """What is chosen, or None."""
        if self._host.parameterNode is None:
            return None
        key = self._told(self._model)
        return next((choice for choice in self._listed if choice.key == key), None)

    def card(self):
        """The card of what is chosen, if it is known."""
        return self._gallery.card(self.choice())

    def isUsable(self):
        """Whether something is chosen that is a model, as far as is known."""
        choice = self.choice()
        return choice is not None and not self._gallery.isUnreadable(choice)

    def poll(self):
        """Take in a card; whether one has come, or is known not to."""
        if not self._gallery.isAsking:
            return False
        message = self._gallery.poll()
        if message is not None:
            self._tell([message])
        return not self._gallery.isAsking

    def abandon(self):
        """End what runs."""
        self._gallery.close()

    def _list(self, folder):
        self._gallery.open(folder)
        self._listed = [c for c in self._gallery.choices if self._isMixable or c.key != MIXTURE]
        chosen = self._found()
        fillList(
            self._box,
            [texts.choiceText(choice) for choice in self._listed],
            self._listed.index(chosen) if chosen else 0,
        )
        self._box.visible = self._title.visible = bool(self._listed)
        if self._listed and chosen is None:
            self._take(self._listed[0])
        elif chosen is not None and chosen.key != self._told(self._model):
            self._take(chosen)
        elif chosen is not None and not self._told(self._identity):
            self._remember(self._identity, identityOf(chosen))

    def _found(self):
        """The model that the parameters name: the same one, whatever it is called now; else the one of its name."""
        key, identity = self._told(self._model), self._told(self._identity)
        named = next((choice for choice in self._listed if choice.key == key), None)
        if not identity or (named is not None and identityOf(named) == identity):
            return named
        same = next((choice for choice in self._listed if identityOf(choice) == identity), None)
        if same is None and self._listed:
            self._tell([_lost(key, studyOf(identity), isNamed=named is not None)])
        return same or named

    def _take(self, choice):
        self._remember(self._identity, identityOf(choice) if choice else "")
        self._remember(self._model, choice.key if choice else "")

    def _showCard(self):
        choice, card = self.choice(), self.card()
        if choice is not None and card is None:
            message = self._gallery.ask(choice)
            if message is not None:
                self._tell([message])
            if self._gallery.isAsking:
                self._host.startTimer()
        self._cardLabel.text = texts.cardText(card) if card else ""
        self._cardLabel.visible = card is not None

    def _told(self, name):
        return getattr(self._host.parameterNode, name)

    def _remember(self, name, value):
        setattr(self._host.parameterNode, name, value)


def _lost(key, study, *, isNamed):
    """A scene's model that is no longer what it was."""
    if isNamed:
        told = _("{model} has changed since it was chosen: it is no longer the model of the study {study}.")
        return Message(told.format(model=key, study=study), _("Read its card before you use it."))
    told = _("The model that was chosen, {model} of the study {study}, is not in this folder.")
    return Message(told.format(model=key, study=study), _("Choose its folder, or another model."))

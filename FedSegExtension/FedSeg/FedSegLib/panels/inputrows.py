"""A selector of a volume for each modality."""

import slicer


class InputRows:
    """Rows of a form, one a modality; what is selected is kept as node references of the parameter node.

    :param layout: the QFormLayout that receives the rows.
    :param place: the first row of theirs; what stood there follows them.
    :param role: the references' prefix.
    :param onChanged: called after the user selected another volume.
    """

    def __init__(self, layout, place, role, onChanged):
        self._layout, self._place = layout, place
        self._role = role
        self._onChanged = onChanged
        self._node = None
        self._selectors = {}

    def show(self, modalities, parameterNode):
        """Rows for these modalities, with the volumes that the scene remembers for them."""
        self._node = parameterNode
        if list(modalities) != list(self._selectors):
            for _selector in self._selectors:
                self._layout.removeRow(self._place)
            self._selectors = {}
            for name in modalities:
                self._selectors[name] = self._addRow(name)
        for name, selector in self._selectors.items():
            wasBlocked = selector.blockSignals(True)
            selector.setCurrentNode(
                parameterNode.GetNodeReference(self._role + name) if parameterNode else None
            )
            selector.blockSignals(wasBlocked)

    def volumes(self):
        """Modality -> volume, where one is selected."""
        if self._node is None:
            return {}
        found = {name: self._node.GetNodeReference(self._role + name) for name in self._selectors}
        return {name: volume for name, volume in found.items() if volume is not None}

    def select(self, modality, volume):
        """As if the user had selected the volume."""
        self._node.SetNodeReferenceID(self._role + modality, volume.GetID() if volume else None)
        self._onChanged()

    def _addRow(self, modality):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False
        selector.noneEnabled = True
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._onSelected(modality, node))
        self._layout.insertRow(self._place + len(self._selectors), f"{modality}:", selector)
        return selector

    def _onSelected(self, modality, node):
        if self._node is not None:
            self.select(modality, node)

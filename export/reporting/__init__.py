"""The command `report`: the document of a run and its pages."""

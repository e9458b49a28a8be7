"""The verb `report`: the document of a run and its pages."""

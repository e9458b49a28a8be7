"""Networks: backbones by name, the model of all regions, the foundation model."""

"""New runs from a finished one by adding, removing or fine-tuning regions; cleaning up after runs."""

from lorkit.decompose.lifecycle.adding import add_region
from lorkit.decompose.lifecycle.cleaning import clean
from lorkit.decompose.lifecycle.dispatch import train_from
from lorkit.decompose.lifecycle.finetuning import finetune_expert
from lorkit.decompose.lifecycle.removing import remove_region

__all__ = ["add_region", "clean", "finetune_expert", "remove_region", "train_from"]

"""Graphs as data: nodes with features and labels, and the relations between them. Importing it loads no torch."""

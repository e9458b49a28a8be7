"""Formats of single images: what a file holds, and what a network gets of it. Pictures, DICOM and NIfTI."""

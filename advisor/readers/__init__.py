"""Artefacts people already have -> profiles: recognised by content, one file or folder per kind.

Reading never touches the live machine. Nothing is imported here: a question pays for the reader it needs only.
"""

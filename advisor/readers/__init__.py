"""Artefacts people already have -> profiles: recognised by content, one file per kind.

Reading never touches the live machine. Now: the Diagnosis and profile documents of advisor itself.
"""

from advisor.readers.document import read_document, read_file

__all__ = ["read_document", "read_file"]

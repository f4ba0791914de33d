"""Artefacts people already have -> profiles: recognised by content, one file or folder per kind.

Reading never touches the live machine.
"""

from advisor.readers.document import read_document, read_file
from advisor.readers.recognise import recognise
from advisor.readers.scrapes import read_scrapes, read_targets

__all__ = ["read_document", "read_file", "read_scrapes", "read_targets", "recognise"]

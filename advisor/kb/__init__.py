"""Knowledge files to objects: load, lint, prove (`gate.check`), scaffold.

The folder is the registry: a rule is one file under ``rules/<area>/``, and adding it
touches no list. YAML is read nowhere else. Only loading is imported here, because every
command pays for it; the gate and the scaffold are imported by who needs them.
"""

from advisor.kb.load import default_folder, load

__all__ = ["default_folder", "load"]

"""Output of host tools and files of /proc -> facts about one machine, one module per subject.

A parser gets one `Part` (the output of one command, or one file) and yields rows. Numbers
are the tool's own; what a tool does not say (units it does not print, a window it does not
name) is left out rather than guessed.
"""

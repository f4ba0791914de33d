"""Profilers of GPUs other than PyTorch's own: one file or folder for each, and the timeline they all become.

Every one of them gives kernels, copies, calls and marks; `timeline` holds these, `timeline_facts`
says what they mean, and `kernels` what a kernel does, for PyTorch's traces too.
"""

"""What nvidia-smi, rocm-smi and the tools around them print -> facts about GPUs.

Every form (the table, ``-q`` as text and as XML, CSV queries, ``dmon``, ``pmon``, ``topo``, ``nvlink``, JSON
of rocm-smi and amd-smi) becomes *looks*: what one command said about which GPU, in base units.
`choose` finds those that show the load, `facts` turns them into facts by the formulas that the
exporters' metrics use too.
"""

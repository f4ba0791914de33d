"""A model of healthy machines and jobs: hardware, environment, load, and the facts that follow from them.

Nothing here knows the limits of a rule. Values come from data sheets and from how such systems behave; each
module says where its numbers are from.
"""

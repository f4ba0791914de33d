"""Logs of model servers and outputs of their load generators -> facts, one file per program.

They give the facts that the metrics of the same servers give: means over the time in which
requests were there, sums over the engines of one service, and the cache of the fullest engine.
"""

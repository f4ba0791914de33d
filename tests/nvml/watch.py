"""Run the GPU collector against the stand-in library, once per scenario line on stdin, and print what it found.

Each line of stdin is JSON: the text that the stand-in answers from, and the time of that sample.
The arguments are the process of the job (- for none), and what to read for /proc and /sys.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from advisor.collect import gpu_counters
from advisor.collect.gpu import Gpu

pid, proc, system = None if sys.argv[1] == "-" else int(sys.argv[1]), sys.argv[2], sys.argv[3]
collector, samples = Gpu(pid, proc, system), []
gpu_counters.GPM_PAUSE, gpu_counters.LINK_BUDGET = 0.0, 1e9  # the stand-in has something new at every call
for number, line in enumerate(sys.stdin, 1):
    step = json.loads(line)
    Path(os.environ["STANDIN_NVML"]).write_text(step["answers"], encoding="utf-8")
    os.utime(os.environ["STANDIN_NVML"], ns=(number, number))  # so that the stand-in sees it is another one
    samples.append({**collector.read(), "t": step["t"]})
samples = json.loads(json.dumps(samples))  # what a stored capture would hold
facts, series = collector.parse(samples)
print(json.dumps({"facts": [asdict(f) for f in facts], "series": list(series), "note": samples[-1]["note"]}))

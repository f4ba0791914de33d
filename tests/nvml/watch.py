"""Run the GPU collector against the stand-in library, once per scenario line on stdin, and print what it found.

Each line of stdin is JSON: the text that the stand-in answers from, and the time of that sample.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from advisor.collect.gpu import Gpu

pid = int(sys.argv[1]) if len(sys.argv) > 1 else None
collector, samples = Gpu(pid), []
for line in sys.stdin:
    step = json.loads(line)
    Path(os.environ["STANDIN_NVML"]).write_text(step["answers"], encoding="utf-8")
    samples.append({**collector.read(), "t": step["t"]})
samples = json.loads(json.dumps(samples))  # what a stored capture would hold
facts, series = collector.parse(samples)
print(json.dumps({"facts": [asdict(f) for f in facts], "series": list(series), "note": samples[-1]["note"]}))

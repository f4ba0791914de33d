"""A small valid artefact of every kind that the readers know: what the fuzz tests start from."""

from __future__ import annotations

import json

SEEDS: dict[str, bytes] = {
    "metrics page": b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 4
vllm:num_requests_waiting{model_name="m"} 0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="m"} 1000
""",
    "profile": json.dumps({"subject": "a", "facts": {"ml.step.time": 0.31, "run.phase": "training"}}).encode(),
}

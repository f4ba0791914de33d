"""Odd but healthy model servers: name -> level of traffic, and the facts that differ."""

from __future__ import annotations

from bench.accuracy.baseline.draw import Facts

# fmt: off
SERVERS: dict[str, tuple[str, Facts]] = {
    "nothing shared between prompts": ("day", {
        "gen_ai.server.prefix_cache.hit_rate": 0.01, "gen_ai.server.prompt.shared_prefix.fraction": 0.01,
            "config.prefix_caching": False}),
    "four replicas share one request": ("night", {"gen_ai.server.replica.load.imbalance": 4.0,
        "gen_ai.server.requests.running": 0.25}),
    "no request for an hour": ("night", {
        "gen_ai.server.requests.running": 0.0, "gen_ai.server.requests.rate": 0.0,
            "gen_ai.server.generation_tokens.rate": 0.0,
        "gen_ai.server.prompt_tokens.rate": 0.0, "gen_ai.server.kv_cache.utilization": 0.0, "hw.gpu.utilization": 0.0,
        **dict.fromkeys(f"gen_ai.server.{x}" for x in (
            "time_to_first_token", "time_per_output_token", "request.duration", "queue.time", "prefill.time",
                "inference.time",
            "prompt_tokens.mean", "max_tokens.ratio", "batch.size.mean", "inter_token_latency",
                "inter_token_latency.p99",
            "inter_token_latency.tail_ratio", "prefix_cache.hit_rate", "engine.idle.fraction",
                "cuda_graph.fraction"))}),
    "a rare preemption on a full server": ("full", {"gen_ai.server.preemptions.rate": 0.002,
        "gen_ai.server.kv_cache.utilization.peak": 0.99}),
    "long prompts between short ones": ("day", {
        "gen_ai.server.inter_token_latency.tail_ratio": 4.5, "gen_ai.server.inter_token_latency": 0.012,
            "gen_ai.server.inter_token_latency.p99": 0.05}),
    "clients far away": ("day", {"gen_ai.server.ttft_client_gap": 0.08}),
    "answers of a few words": ("day", {"gen_ai.server.max_tokens.ratio": 0.02}),
    "a short queue in a burst": ("full", {
        "gen_ai.server.requests.waiting": 3.0, "gen_ai.server.requests.waiting.trend": 0.001,
            "gen_ai.server.queue.time": 0.02}),
    "schemas compiled once": ("day", {"gen_ai.server.grammar.time": 0.015}),
    "weights of 400 GB": ("day", {"gen_ai.server.startup.time": 700.0, "gen_ai.server.weights.load.time": 520.0}),
    "a cache pinned in host memory": ("day", {"system.memory.locked.fraction": 0.45,
        "system.memory.available.fraction": 0.4}),
    "two servers on one card": ("day", {"hw.gpu.process.count": 2, "hw.gpu.memory.peak_utilization": 0.96}),
    "a slice of a card": ("day", {  # no utilization is told for MIG slices
        "hw.gpu.mig.mode": True, "hw.gpu.mig.instance.count": 2, "hw.gpu.utilization": None,
            "hw.gpu.utilization.p5": None,
        "hw.gpu.utilization.p95": None}),
    "drafts that are mostly right": ("day", {"gen_ai.server.spec.acceptance_rate": 0.62,
        "gen_ai.server.spec.accept_length": 2.2}),
    "drivers and weights load from a slow disk once": ("day", {"system.disk.utilization": 0.6,
        "process.wait.io.fraction": 0.0}),
    "a model on all layers of the card, in llama.cpp": ("night", {"run.framework": "llama.cpp",
        "gen_ai.server.gpu_layers.fraction": 1.0}),
    "a small model on the CPU of a machine without a card": ("night", {
        "run.framework": "llama.cpp", "run.gpu.used": False, "hw.gpu.count": 0,
        "config.model.device": "cpu", "gen_ai.server.time_per_output_token": 0.07,
        **dict.fromkeys(("hw.gpu.utilization", "hw.gpu.model", "hw.gpu.memory.peak_utilization", "hw.gpu.dram.active",
            "hw.gpu.mig.mode"))}),
}
# fmt: on

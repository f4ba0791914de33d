"""Calculators in chat: messages that ask for a number get it, messages that ask for a cause do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.answer.sizing import KINDS, SOURCES, Calculation, calculation, parse
from advisor.answer.sizing.families import SHAPES
from advisor.answer.sizing.formulas import activation_bytes, bytes_per_parameter, kv_bytes, model_states
from advisor.answer.sizing.shapes import by_name
from advisor.answer.understand import normalise
from advisor.pipeline import Advisor
from advisor.text import detect

GIB = 2.0**30
MIB = 2.0**20


def worked(message: str, carried: Calculation | None = None) -> Calculation | None:
    return calculation(normalise(message), detect(message), carried.known if carried else None)


# Expected values are written out from the formulas by hand, in the unit of the result (bytes, seconds, shares, counts).
ASKED = [
    # training: 16 bytes per parameter of AdamW in mixed precision (2 + 2 + 12)
    ("can I full fine-tune a 7B with AdamW on 2x24GB?", "training_memory", "optimizer", 7e9 * 12 / 2),
    ("can I full fine-tune a 7B with AdamW on 2x24GB?", "training_memory", "weights", 7e9 * 2 / 2),
    ("70b 全参微调要多少显存", "training_memory", "optimizer", 70e9 * 12),
    ("7B 全参微调 4x24G 会爆显存吗", "training_memory", "gradients", 7e9 * 2 / 4),
    ("will a 7b model OOM on a 24gb card with full fine-tuning?", "training_memory", "weights", 14e9),
    ("單卡24G能微調7B模型嗎", "training_memory", "usable_per_gpu", 24 * GIB * 0.95),
    ("does full training of 7.5B with zero-1 on 64 V100 32g fit?", "training_memory", "optimizer", 7.5e9 * 12 / 64),
    ("does full training of 7.5B with zero-2 on 64 V100 32g fit?", "training_memory", "gradients", 7.5e9 * 2 / 64),
    ("does full training of 7.5B with zero-2 on 64 V100 32g fit?", "training_memory", "weights", 15e9),
    ("will 13b full fine-tuning with fsdp fit on 8 A100 40GB", "training_memory", "weights", 26e9 / 8),
    ("will 13b full fine-tuning with fsdp fit on 8 A100 40GB", "training_memory", "usable_per_gpu", 40 * GIB * 0.95),
    ("can I train a 1.5b model with sgd in fp32 on one 24 GB gpu", "training_memory", "optimizer", 0.0),
    ("can I train a 1.5b model with sgd in fp32 on one 24 GB gpu", "training_memory", "weights", 6e9),
    ("full fine-tune 3B with 8-bit adam on a 4090, enough?", "training_memory", "optimizer", 3e9 * 6),
    ("full fine-tune 3B with lion on a 4090, enough?", "training_memory", "optimizer", 3e9 * 8),
    ("full fine-tune 3B with adafactor on a 4090, enough?", "training_memory", "optimizer", 3e9 * 4),
    ("纯bf16 adamw 全参训练 3B 模型, 4090 够吗", "training_memory", "optimizer", 3e9 * 4),
    ("双卡3090 能微调 llama2-13b qlora 吗", "training_memory", "trained_parameters", 62_586_880.0),
    ("will lora on llama-2-7b fit on a 4090", "training_memory", "trained_parameters", 39_976_960.0),
    ("will lora on llama-2-7b fit on a 4090", "training_memory", "base", 6_738_149_376.0 * 2),
    ("largest batch for full fine-tuning of tinyllama-1.1b on a 4090 seq 2048?", "training_memory", "largest_batch",
     9.0),
    ("gpt-3 training without activation checkpointing, without flash attention, how much memory", "training_memory",
     "activations", 2048 * 12288 * 96 * (34 + 80) + 4 * 2048 * 50257),
    ("4张A800训得动7B全参吗", "training_memory", "optimizer", 7e9 * 12 / 4),
    ("how many 80 GB gpus does full training of 70b need?", "training_memory", "weights", 140e9),
    # inference
    ("qwen2.5-72b int4 单卡 80G 能跑吗, 上下文 32k", "inference_memory", "kv_per_sequence",
     32768 * 2 * 80 * 8 * 128 * 2.0),
    ("can two 4090s run llama-3.1-70b q4_k_m?", "inference_memory", "usable_per_gpu", 24 * GIB * 0.9),
    ("deepseek-r1 671b 满血版需要几张 H20", "inference_memory", "gpus_needed", 8.0),
    ("全參數微調 Llama3-8B 需要幾張 A100 80G？", "training_memory", "gpus_needed", 2.0),
    ("how many A100 80GB to fully fine-tune llama3-70b with adamw?", "training_memory", "gpus_needed", 16.0),
    ("qwen3-32b fp8 两张 4090 上下文最长能到多少", "inference_memory", "kv_per_token", 2 * 64 * 8 * 128 * 2.0),
    ("what batch size can I use for a 7b full finetune on 8xH100 with zero3, seq len 4096", "training_memory",
     "weights",
     14e9 / 8),
    ("how much vram for llama-2-7b", "inference_memory", "weights", 6_738_149_376.0 * 2),
    ("how much vram for 7b int8", "inference_memory", "needed_per_gpu", 7e9 + 4096 * 2 * 33 * 8 * 128 * 2 + GIB),
    ("does mixtral 8x7b fp16 fit on 2 a100?", "inference_memory", "kv_per_token", 128 * 1024.0),
    ("4×A800 跑 deepseek-v3 够吗", "inference_memory", "kv_per_token", 61 * 576 * 2.0),
    ("llama3-70b fp16 8×A100 80G 能同时跑多少并发 4k", "inference_memory", "kv_per_sequence", 4096 * 320 * 1024.0),
    ("yi-34b 4bit 能在 24g 显卡上跑吗", "inference_memory", "kv_per_token", 2 * 60 * 8 * 128 * 2.0),
    ("用 vllm 部署 qwen2.5-32b 需要几张 4090", "inference_memory", "kv_per_token", 2 * 64 * 8 * 128 * 2.0),
    ("is 24 GB enough for gemma-2-9b at 8k context", "inference_memory", "kv_per_sequence",
     2 * 8 * 256 * 2.0 * (21 * 8192 + 21 * 4096)),
    ("longest context of llama3-8b on one A10", "inference_memory", "usable_per_gpu", 24 * GIB * 0.9),
    ("can a 4090 run gpt-oss-20b", "inference_memory", "kv_per_token", 2 * 8 * 64 * 24 * 2.0),
    ("想部署 70 亿参数模型，16G 显存够用吗", "inference_memory", "usable_per_gpu", 16 * GIB * 0.9),
    # KV cache
    ("KV cache of llama3-8b at 8k batch 32?", "kv_cache", "kv_total", 32 * GIB),
    ("how big is the kv cache per token of llama-2-7b", "kv_cache", "kv_per_token", 0.5 * MIB),
    ("llama-2-13b 的 kv cache 每个 token 占多少", "kv_cache", "kv_per_token", 800 * 1024.0),
    ("kv cache size for deepseek-v3 at 128k", "kv_cache", "kv_per_sequence", 131072 * 61 * 576 * 2.0),
    ("fp8 kv cache of llama3-70b, 32k context, how much memory", "kv_cache", "kv_per_sequence",
     32768 * 160 * 1024.0),
    ("qwen2.5-7b 的 KV 缓存 在 4096 长度 batch 16 多大", "kv_cache", "kv_total", 16 * 4096 * 2 * 28 * 4 * 128 * 2.0),
    # rates
    ("MFU: 3,200 tokens/s on 8 A100 for 13B", "mfu", "mfu", 0.1),
    ("mfu of llama-2-7b at 2500 tokens/s per gpu on 16 h100?", "mfu", "mfu", 2500 * 6 * 6_738_149_376 / 989e12),
    ("8卡A800训7B, 每秒 2.4万 token, MFU 多少", "mfu", "mfu", 24000 * 42e9 / (8 * 312e12)),
    ("what is the mfu: 70B, 400 tokens/s/gpu on 512 H100", "mfu", "mfu", 400 * 420e9 / 989e12),
    ("max tokens/s for llama3-8b on a 4090?", "decode_speed", "tokens_per_second",
     1008e9 / (8_029_995_008 * 2 + 4096 * 131072)),
    ("H100 上 llama-2-70b fp8 解码速度理论上限是多少", "decode_speed", "tokens_per_second",
     3.35e12 / (68_976_377_856 + 4096 * 327680)),
    ("how long to train 7B on 1T tokens with 64 H100?", "training_time", "seconds", 42e21 / (64 * 989e12 * 0.4)),
    ("GPT-3 175b training on 300B tokens with 1024 A100 at 45% mfu: how long?", "training_time", "flops", 3.143e23),
    ("用 8 张 A100 预训练 1B 模型 200亿 tokens 要多久", "training_time", "seconds",
     6 * 1e9 * 20e9 / (8 * 312e12 * 0.4)),
    ("train 7b on 2T tokens with 256 H100 at $2 per gpu hour, how much does it cost?", "training_time", "cost",
     6 * 7e9 * 2e12 / (989e12 * 0.4) / 3600 * 2),
    # exchange, pipeline, checkpoint, loading
    ("一次 allreduce 7B 的梯度 在 25G 网卡要多久", "all_reduce", "seconds", 2 * 1 / 2 * 14e9 / 3.125e9),
    ("how long does an all-reduce of 7B gradients take over nvlink on 8 A100?", "all_reduce", "seconds",
     2 * 7 / 8 * 14e9 / 300e9),
    ("time to all-reduce 1 GB of gradients over pcie 4.0 x16 with 4 gpus", "all_reduce", "seconds", 1.5 * 1e9 / 31.5e9),
    ("4 nodes, 100 Gbps ethernet: how long does the gradient sync of 1.5B in fp32 take?", "all_reduce", "seconds",
     2 * 3 / 4 * 6e9 / 12.5e9),
    ("2机16卡 A100, HDR IB, 13B 梯度同步要多久", "all_reduce", "seconds", 26e9 / 25e9 + 2 * 7 / 8 * 26e9 / 300e9),
    ("bubble with pp=8 and 32 microbatches?", "pipeline_bubble", "bubble", 7 / 39),
    ("流水线 8 级 32 个微批 气泡占多少", "pipeline_bubble", "bubble", 7 / 39),
    ("pipeline bubble for 4 stages, 8 microbatches, interleaved 2", "pipeline_bubble", "bubble", 3 / 19),
    ("how big is a checkpoint of 70B with Adam, and how long to write at 2 GB/s, MTBF 12 h?", "checkpoint", "seconds",
     490.0),
    ("how big is a checkpoint of 70B with Adam, and how long to write at 2 GB/s, MTBF 12 h?", "checkpoint", "interval",
     (2 * 490 * 43200) ** 0.5),
    ("176B 模型的检查点多大", "checkpoint", "bytes", 176e9 * 14),
    ("how many workers if a batch takes 400 ms to load and a step takes 100 ms?", "loader_workers", "workers", 5.0),
    ("每张图片解码 12ms, batch 64, 每步 200ms, 需要几个 worker?", "loader_workers", "workers", 5.0),
]  # fmt: skip


@pytest.mark.parametrize(("message", "kind", "name", "expected"), ASKED)
def test_a_question_for_a_number_gets_it(message: str, kind: str, name: str, expected: float) -> None:
    answer = worked(message)

    assert answer is not None
    assert answer.kind == kind
    assert answer.results[name][0] == pytest.approx(expected, rel=2e-3)
    assert answer.blocks[0]["kind"] == "headline"


NOT_ASKED = [
    "out of memory with 7B on 24 GB, why?",
    "how many workers should I use",
    "why is my MFU only 20%?",
    "CUDA OOM when training llama-2-7b on a 4090",
    "training llama3-8b on 8 A100 is slow",
    "my 7b model crashes with 24 GB",
    "why does the kv cache of llama3-8b fill up at 8k?",
    "how do I run qwen2.5-7b on 2 GPUs with vllm",
    "how to fine-tune a 7b with lora on a 4090",
    "what is a kv cache",
    "what is zero stage 3",
    "explain pipeline bubbles",
    "difference between lora and qlora",
    "how does gradient checkpointing work",
    "GPU utilization is 30% with 8 A100",
    "num_workers=8 and the loader is still the bottleneck",
    "a batch takes 400 ms, why is loading slow?",
    "all-reduce takes 4 s for 7B over 25G ethernet, why so slow",
    "NCCL all-reduce hangs on 8 H100",
    "checkpoint saving of a 70B model fails at 2 GB/s",
    "saving the checkpoint takes too long",
    "gradient checkpointing for 7B, is it worth it",
    "throughput dropped from 3200 to 2000 tokens/s",
    "I get 3200 tokens/s on 8 A100 for 13B, is that low?",
    "vllm with llama3-8b: preemption warnings",
    "use int4 or int8?",
    "batch size 32 vs 64",
    "my GPU has 80 GB but only 40 are used",
    "is the disk slow? NVMe 3 GB/s",
    "the 25G link is saturated",
    "PCIe 3.0 x8 on a 3090, is that a problem?",
    "training stuck at step 100 after 3 h",
    "loss is nan with bf16 on H100",
    "which strategies reduce communication for 8 nodes",
    "pipeline parallel 8 stages has uneven stage times",
    "nvidia-smi shows 79/80 GB used",
    "torch.cuda.OutOfMemoryError: tried to allocate 2.00 GiB (GPU 0; 23.65 GiB total capacity)",
    "how can I reduce memory of a 13B on 2x24GB",
    "does flash attention help on 4090",
    "hello",
    "7B",
    "is NVLink enough for 8 H100 training of 70B or do I need infiniband?",
    "Will increasing num_workers from 4 to 8 help? each step is 300 ms and loading is 200 ms",
    "should I use zero2 or zero3 for 13B on 8 A100?",
    "训练 7B 模型用 8 张 A100, 每秒 3000 token, 瓶颈在哪",
    "为什么 7B 在 24G 上爆显存",
    "训练 llama3-8b 报错 out of memory",
    "8卡A100训练很慢",
    "显存占用 79/80G",
    "GPU 利用率只有 30%",
    "num_workers 应该设多少",
    "怎么在 4090 上微调 7b",
    "如何部署 qwen2.5-72b int4",
    "KV cache 是什么",
    "ZeRO 和 FSDP 有什么区别",
    "流水线气泡怎么优化",
    "allreduce 卡住了, 8 张 H100",
    "7B 梯度同步为什么要 5 秒",
    "保存检查点失败 70B",
    "checkpoint 太慢了",
    "每步 200ms 加载 100ms 为什么还等数据",
    "vllm 吞吐上不去 4090 7b",
    "單卡 24G 訓練 7B 顯存溢出怎麼回事",
    "训练到一半显存越来越多, 80G",
    "多卡扩展效率低 8 卡只有 4 倍",
    "bf16 和 fp16 选哪个",
]


@pytest.mark.parametrize("message", NOT_ASKED)
def test_a_question_for_a_cause_or_a_way_is_not_calculated(message: str) -> None:
    assert worked(message) is None


# --- conversation ---


def follow(*messages: str) -> Calculation:
    answer: Calculation | None = None
    for message in messages:
        answer = worked(message, answer)
        assert answer is not None, message
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("messages", "name", "expected"),
    [
        (("can I full fine-tune a 7B on a 4090?", "and on 8 GPUs?"), "weights", 14e9 / 8),
        (("can I full fine-tune llama-2-7b on a 4090?", "with LoRA?"), "trained_parameters", 39_976_960.0),
        (("7B 全参微调 4x24G 够吗", "换成 80G 呢"), "usable_per_gpu", 80 * GIB * 0.95),
        (("7B 全參微調 4x24G 夠嗎", "13B 呢"), "weights", 26e9 / 4),
        (("KV cache of llama3-8b at 8k batch 32?", "and at 32k?"), "kv_total", 128 * GIB),
        (("KV cache of llama3-8b at 8k?", "what about llama-2-7b?"), "kv_per_token", 0.5 * MIB),
        (("MFU: 3200 tokens/s for 13B", "on 8 A100"), "mfu", 0.1),
        (("bubble with pp=8 and 32 microbatches?", "with 64 microbatches"), "bubble", 7 / 71),
    ],
)
def test_a_fragment_changes_the_calculation_before(messages: tuple[str, ...], name: str, expected: float) -> None:
    assert follow(*messages).results[name][0] == pytest.approx(expected, rel=2e-3)


def test_a_fragment_without_a_calculation_before_is_none() -> None:
    assert worked("and on 8 GPUs?") is None


def test_a_new_question_keeps_the_hardware_only() -> None:
    answer = follow("can I full fine-tune 7B with batch 8 on 2 A100?", "can i run llama3-8b in int4? enough?")

    assert answer.kind == "inference_memory"
    assert dict(answer.known) == {
        "kind": "inference_memory",
        "gpu": "A100",
        "gpus": 2.0,
        "model": "Llama-3-8B",
        "quant": "int4",
    }


def test_inputs_say_where_they_come_from() -> None:
    answer = follow("can I full fine-tune a 7B on a 4090?", "and on 8 GPUs?")

    assert answer.inputs["gpus"] == (8.0, "stated")
    assert answer.inputs["params"] == (7e9, "carried")
    assert answer.inputs["seq"] == (2048.0, "assumed")
    assert "seq" not in answer.known


# --- published figures ---


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_the_example_of_the_zero_paper(stage: int, gigabytes: float) -> None:
    states = model_states(7.5e9, bytes_per_parameter("adamw", "mixed"), stage, 64)
    assert round(sum(states) / 1e9, 1) == gigabytes


# Parameters in billions as the publishers state them (model cards and papers).
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Llama-2-7B", 6.74), ("Llama-3-8B", 8.03), ("Llama-3-70B", 70.6), ("Llama-3.1-405B", 405.0),
        ("Mistral-7B", 7.24), ("Mixtral-8x7B", 46.7), ("Mixtral-8x22B", 141.0), ("Qwen2.5-7B", 7.61),
        ("Qwen2.5-72B", 72.7), ("Qwen3-30B-A3B", 30.5), ("Qwen3-235B-A22B", 235.0), ("DeepSeek-V2", 236.0),
        ("DeepSeek-V3", 671.0), ("gpt-oss-20B", 20.9), ("gpt-oss-120B", 116.8), ("GPT-3-175B", 175.0),
        ("Falcon-180B", 179.0), ("Phi-4", 14.7), ("Gemma-2-9B", 9.24), ("Yi-34B", 34.4),
    ],
)  # fmt: skip
def test_shapes_give_the_published_parameter_counts(name: str, billions: float) -> None:
    assert by_name(name).parameters / 1e9 == pytest.approx(billions, rel=0.006)


@pytest.mark.parametrize(
    ("name", "billions"), [("Mixtral-8x7B", 12.9), ("DeepSeek-V3", 37.0), ("Qwen3-235B-A22B", 22.0)]
)
def test_active_parameters_of_experts(name: str, billions: float) -> None:
    assert by_name(name).active / 1e9 == pytest.approx(billions, rel=0.02)


def test_the_attention_part_of_activations_is_80_for_gpt_3() -> None:
    shape = by_name("GPT-3-175B")
    unit = 2048 * shape.hidden * shape.layers
    plain = activation_bytes(shape, 2048, 1, recompute=False, flash=False)
    assert plain / unit == pytest.approx(114)  # arXiv 2205.05198, section 4.1: 34 + 80


# --- properties ---

MODELS = st.sampled_from(["llama-2-7b", "llama3-70b", "mixtral 8x7b", "deepseek-v3", "gemma-2-27b", "7b", "33b"])


def needed(message: str) -> float:
    answer = worked(message)
    assert answer is not None
    return answer.results["needed_per_gpu"][0]


@settings(max_examples=40, deadline=None)
@given(MODELS, st.sampled_from([1, 2, 4, 8, 16, 64]), st.sampled_from(["zero-1", "zero-2", "zero-3"]))
def test_more_gpus_never_need_more_memory_each(model: str, gpus: int, stage: str) -> None:
    one = needed(f"full fine-tune {model} with {stage} on {gpus} H100, enough?")
    assert needed(f"full fine-tune {model} with {stage} on {2 * gpus} H100, enough?") <= one


@settings(max_examples=40, deadline=None)
@given(MODELS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([2048, 4096, 8192, 32768]))
def test_serving_grows_with_the_context_and_shrinks_with_the_split(model: str, gpus: int, tokens: int) -> None:
    at = needed(f"can i run {model} on {gpus} H100 with context {tokens}, enough?")
    assert needed(f"can i run {model} on {gpus} H100 with context {2 * tokens}, enough?") >= at
    assert needed(f"can i run {model} on {2 * gpus} H100 with context {tokens}, enough?") <= at


@settings(max_examples=40, deadline=None)
@given(MODELS, st.sampled_from([1, 2, 8]))
def test_qlora_needs_less_than_lora_and_lora_less_than_all(model: str, gpus: int) -> None:
    by = [needed(f"{how} of {model} with fsdp on {gpus} H100 enough?") for how in ("qlora", "lora", "full training")]
    assert by == sorted(by)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="7b 8xa100h40902gk微调能跑吗多少显存mfu/stokenloraint4,.=?", max_size=60))
def test_no_message_breaks_a_calculator(message: str) -> None:
    answer = worked(message)
    assert answer is None or answer.blocks


@pytest.mark.parametrize(
    ("messages", "expected"), [("7B on 0 GPUs fits?", "0"), ("999999b on a 4090 enough?", "9.99999e+14")]
)
def test_what_cannot_be_ends_in_one_sentence(messages: str, expected: str) -> None:
    answer = worked(messages)

    assert answer is not None
    assert [b["kind"] for b in answer.blocks] == ["prose"]
    assert expected in answer.blocks[0]["paragraphs"][0]
    assert not answer.results


# --- what is asked back, and what is shown ---


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("MFU at 3200 tokens/s for 13B?", "Which GPUs"),
        ("how long to train 7B on 1T tokens?", "Which GPUs"),
        ("how long does an all-reduce of 7B gradients take?", "Over which link"),
        ("7B 在 3200 tokens/s 时 MFU 是多少", "什么 GPU"),
    ],
)
def test_one_question_back_when_the_result_hangs_on_it(message: str, asked: str) -> None:
    answer = worked(message)
    assert answer is not None
    assert answer.question is not None
    assert asked in answer.question


def test_a_model_without_a_name_is_said_to_be_an_estimate() -> None:
    answer = worked("KV cache of a 7b model at 8k?")
    assert answer is not None
    notes = next(b for b in answer.blocks if b.get("title") == "Assumptions")
    assert "estimate" in notes["points"][0]["text"]


def test_what_does_not_fit_comes_with_changes_that_do() -> None:
    answer = worked("can I full fine-tune a 7B with AdamW on 2x24GB?")
    assert answer is not None
    changes = next(b for b in answer.blocks if b.get("title") == "What would make it fit")
    assert any("LoRA" in point["text"] for point in changes["points"])
    assert answer.results["gpus_needed"][0] == 8
    assert needed("can I full fine-tune a 7B with AdamW on 8x24GB?") <= 24 * GIB * 0.95


def test_the_answer_is_a_calculation_with_its_sources() -> None:
    advisor = Advisor()
    answer = advisor.ask("KV cache of llama3-8b at 8k batch 32?")

    assert answer.kind == "calculation"
    assert "32 GiB" in answer.text
    assert [c.id for c in answer.citations] == list(SOURCES["kv_cache"])
    assert len(answer.topics) == 5
    assert advisor.ask("KV cache of llama3-8b at 8k batch 32?") == answer


def test_every_kind_cites_what_the_knowledge_base_knows() -> None:
    references = Advisor().knowledge.references
    assert set(SOURCES) == set(KINDS)
    assert all(ref in references for refs in SOURCES.values() for ref in refs)


def test_traditional_chinese_is_answered_in_traditional() -> None:
    answer = worked("單卡24G能微調7B模型嗎")
    assert answer is not None
    assert "訓練" in answer.blocks[0]["title"]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
def test_every_shape_is_found_by_its_name(shape: object) -> None:
    name = shape.name  # type: ignore[attr-defined]
    assert parse(normalise(f"kv cache of {name} at 8k")).values["model"] == name
    assert kv_bytes(by_name(name), 1, 2) > 0

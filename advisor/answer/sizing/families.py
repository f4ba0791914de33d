"""Well-known decoders, from the config.json that each publisher gives on Hugging Face (read through the sources named).

Where a comment says "listed", a shape comes from public listings of the publisher's config.json, not the file itself.

Sources: [1] litgpt/config.py (Lightning AI), which links the config.json of every entry; [2] NVIDIA NeMo,
nemo/collections/llm/gpt/model; [3] the model's paper. The order of the numbers: layers, hidden size, heads, key-value
heads, width of the MLP (of one expert), vocabulary as padded in the weights.
"""

from __future__ import annotations

from advisor.answer.sizing.shapes import Shape

# fmt: off
_LLAMA = (  # [1] meta-llama; Llama 1 and 2 share their shapes up to 13B
    Shape("Llama-2-7B", 32, 4096, 32, 32, 11008, 32000), Shape("Llama-2-13B", 40, 5120, 40, 40, 13824, 32000),
    Shape("Llama-2-70B", 80, 8192, 64, 8, 28672, 32000), Shape("CodeLlama-34B", 48, 8192, 64, 8, 22016, 32000),
    Shape("Llama-3-8B", 32, 4096, 32, 8, 14336, 128256), Shape("Llama-3-70B", 80, 8192, 64, 8, 28672, 128256),
    Shape("Llama-3.1-405B", 126, 16384, 128, 8, 53248, 128256),
    Shape("Llama-3.2-1B", 16, 2048, 32, 8, 8192, 128256, tied=True),
    Shape("Llama-3.2-3B", 28, 3072, 24, 8, 8192, 128256, tied=True),
    Shape("TinyLlama-1.1B", 22, 2048, 32, 4, 5632, 32000),
)
_MISTRAL = (  # [1] mistralai
    Shape("Mistral-7B", 32, 4096, 32, 8, 14336, 32000),
    Shape("Mistral-Small-24B", 40, 5120, 32, 8, 32768, 131072, head_dim=128),
    Shape("Mistral-Large-123B", 88, 12288, 96, 8, 28672, 32768),
    Shape("Mixtral-8x7B", 32, 4096, 32, 8, 14336, 32000, experts=8, active_experts=2),
    Shape("Mixtral-8x22B", 56, 6144, 48, 8, 16384, 32768, experts=8, active_experts=2),
)
_QWEN = (  # Qwen2.5 and Qwen3: [1]; Qwen2: [2]; Qwen1.5: listed
    Shape("Qwen1.5-0.5B", 24, 1024, 16, 16, 2816, 151936, tied=True),
    Shape("Qwen1.5-1.8B", 24, 2048, 16, 16, 5504, 151936), Shape("Qwen1.5-4B", 40, 2560, 20, 20, 6912, 151936),
    Shape("Qwen1.5-7B", 32, 4096, 32, 32, 11008, 151936), Shape("Qwen1.5-14B", 40, 5120, 40, 40, 13696, 152064),
    Shape("Qwen1.5-32B", 64, 5120, 40, 8, 27392, 152064), Shape("Qwen1.5-72B", 80, 8192, 64, 64, 24576, 152064),
    Shape("Qwen1.5-110B", 80, 8192, 64, 8, 49152, 152064),
    Shape("Qwen2.5-0.5B", 24, 896, 14, 2, 4864, 151936, tied=True),
    Shape("Qwen2.5-1.5B", 28, 1536, 12, 2, 8960, 151936, tied=True),
    Shape("Qwen2.5-3B", 36, 2048, 16, 2, 11008, 151936, tied=True),
    Shape("Qwen2.5-7B", 28, 3584, 28, 4, 18944, 152064), Shape("Qwen2.5-14B", 48, 5120, 40, 8, 13824, 152064),
    Shape("Qwen2.5-32B", 64, 5120, 40, 8, 27648, 152064), Shape("Qwen2.5-72B", 80, 8192, 64, 8, 29568, 152064),
    Shape("Qwen3-0.6B", 28, 1024, 16, 8, 3072, 151936, head_dim=128, tied=True),
    Shape("Qwen3-1.7B", 28, 2048, 16, 8, 6144, 151936, tied=True),
    Shape("Qwen3-4B", 36, 2560, 32, 8, 9728, 151936, head_dim=128, tied=True),
    Shape("Qwen3-8B", 36, 4096, 32, 8, 12288, 151936), Shape("Qwen3-14B", 40, 5120, 40, 8, 17408, 151936),
    Shape("Qwen3-32B", 64, 5120, 64, 8, 25600, 151936, head_dim=128),
    Shape("Qwen3-30B-A3B", 48, 2048, 32, 4, 768, 151936, head_dim=128, experts=128, active_experts=8),
    Shape("Qwen3-235B-A22B", 94, 4096, 64, 4, 1536, 151936, head_dim=128, experts=128, active_experts=8),
)
_DEEPSEEK = (  # V2, V3, R1: [2] and arXiv 2405.04434, 2412.19437 (R1 is trained from V3); LLM: listed
    Shape("DeepSeek-LLM-7B", 30, 4096, 32, 32, 11008, 102400),
    Shape("DeepSeek-LLM-67B", 95, 8192, 64, 8, 22016, 102400),
    Shape("DeepSeek-V2-Lite", 27, 2048, 16, 16, 1408, 102400, experts=64, active_experts=6, shared=2816, dense_layers=1,
          dense_ffn=10944, latent=True),
    Shape("DeepSeek-V2", 60, 5120, 128, 128, 1536, 102400, experts=160, active_experts=6, shared=3072, dense_layers=1,
          dense_ffn=12288, latent=True, q_rank=1536),
    Shape("DeepSeek-V3", 61, 7168, 128, 128, 2048, 129280, experts=256, active_experts=8, shared=2048, dense_layers=3,
          dense_ffn=18432, latent=True, q_rank=1536, released="fp8"),
)
_GEMMA = (  # [1] google; every second layer of Gemma 2 and five of six of Gemma 3 attend to a window only
    Shape("Gemma-2B", 18, 2048, 8, 1, 16384, 256000, tied=True),
    Shape("Gemma-7B", 28, 3072, 16, 16, 24576, 256000, head_dim=256, tied=True),
    Shape("Gemma-2-2B", 26, 2304, 8, 4, 9216, 256000, head_dim=256, tied=True, window=4096, local_layers=13),
    Shape("Gemma-2-9B", 42, 3584, 16, 8, 14336, 256000, head_dim=256, tied=True, window=4096, local_layers=21),
    Shape("Gemma-2-27B", 46, 4608, 32, 16, 36864, 256000, head_dim=128, tied=True, window=4096, local_layers=23),
    Shape("Gemma-3-1B", 26, 1152, 4, 1, 6912, 262144, head_dim=256, tied=True, window=512, local_layers=22),
    Shape("Gemma-3-4B", 34, 2560, 8, 4, 10240, 262144, head_dim=256, tied=True, window=1024, local_layers=29),
    Shape("Gemma-3-12B", 48, 3840, 16, 8, 15360, 262144, head_dim=256, tied=True, window=1024, local_layers=40),
    Shape("Gemma-3-27B", 62, 5376, 32, 16, 21504, 262144, head_dim=128, tied=True, window=1024, local_layers=52),
)
_PHI = (  # [1] microsoft
    Shape("Phi-2", 32, 2560, 32, 32, 10240, 51200, gated=False), Shape("Phi-3-mini", 32, 3072, 32, 32, 8192, 32064),
    Shape("Phi-4", 40, 5120, 40, 10, 17920, 100352), Shape("Phi-4-mini", 32, 3072, 24, 8, 8192, 200064, tied=True),
)
_CHINESE = (  # ChatGLM and Baichuan2-7B: [2]; the others: listed
    Shape("ChatGLM3-6B", 28, 4096, 32, 2, 13696, 65024), Shape("GLM-4-9B", 40, 4096, 32, 2, 13696, 151552),
    Shape("Yi-34B", 60, 7168, 56, 8, 20480, 64000),
    Shape("Baichuan2-7B", 32, 4096, 32, 32, 11008, 125696), Shape("Baichuan2-13B", 40, 5120, 40, 40, 13696, 125696),
    Shape("InternLM2.5-7B", 32, 4096, 32, 8, 14336, 92544),
)
_EARLIER = (  # Falcon, Pythia: [1]; gpt-oss: github.com/openai/gpt-oss; OPT, GPT-3: listed
    Shape("GPT-3-175B", 96, 12288, 96, 96, 49152, 50257, gated=False, tied=True, positions=2048),
    Shape("OPT-1.3B", 24, 2048, 32, 32, 8192, 50272, gated=False, tied=True, positions=2048),
    Shape("OPT-13B", 40, 5120, 40, 40, 20480, 50272, gated=False, tied=True, positions=2048),
    Shape("OPT-30B", 48, 7168, 56, 56, 28672, 50272, gated=False, tied=True, positions=2048),
    Shape("OPT-66B", 64, 9216, 72, 72, 36864, 50272, gated=False, tied=True, positions=2048),
    Shape("OPT-175B", 96, 12288, 96, 96, 49152, 50272, gated=False, tied=True, positions=2048),
    Shape("Pythia-6.9B", 32, 4096, 32, 32, 16384, 50432, gated=False),
    Shape("Pythia-12B", 36, 5120, 40, 40, 20480, 50688, gated=False),
    Shape("Falcon-7B", 32, 4544, 71, 1, 18176, 65024, gated=False, tied=True),
    Shape("Falcon-40B", 60, 8192, 128, 8, 32768, 65024, gated=False, tied=True),
    Shape("Falcon-180B", 80, 14848, 232, 8, 59392, 65024, gated=False, tied=True),
    Shape("gpt-oss-20B", 24, 2880, 64, 8, 2880, 201088, head_dim=64, experts=32, active_experts=4, window=128,
          local_layers=12, released="mxfp4"),
    Shape("gpt-oss-120B", 36, 2880, 64, 8, 2880, 201088, head_dim=64, experts=128, active_experts=4, window=128,
          local_layers=18, released="mxfp4"),
)
# fmt: on
SHAPES = (*_LLAMA, *_MISTRAL, *_QWEN, *_DEEPSEEK, *_GEMMA, *_PHI, *_CHINESE, *_EARLIER)

# Names under which a shape of the table also goes: other versions of the same size, and short forms.
_ALSO = {
    "Llama-2-7B": "llama-7b llama-1-7b code-llama-7b vicuna-7b deepseek-coder-6.7b",
    "Llama-2-13B": "llama-13b llama-1-13b code-llama-13b vicuna-13b",
    "Llama-2-70B": "code-llama-70b",
    "CodeLlama-34B": "code-llama-34b",
    "Llama-3-8B": "llama-3.1-8b llama-8b deepseek-r1-8b deepseek-r1-distill-llama-8b",
    "Llama-3-70B": "llama-3.1-70b llama-3.3-70b deepseek-r1-70b deepseek-r1-distill-llama-70b llama-70b",
    "Llama-3.1-405B": "llama-3-405b llama-405b",
    "Llama-3.2-1B": "llama-1b",
    "Llama-3.2-3B": "llama-3b",
    "Mistral-Large-123B": "mistral-large",
    "Mistral-Small-24B": "mistral-24b",
    "Qwen1.5-7B": "qwen-7b",
    "Qwen1.5-14B": "qwen-14b",
    "Qwen1.5-72B": "qwen-72b",
    "Qwen1.5-110B": "qwen-110b",
    "Qwen2.5-0.5B": "qwen2-0.5b",
    "Qwen2.5-1.5B": "qwen2-1.5b deepseek-r1-1.5b deepseek-r1-distill-qwen-1.5b",
    "Qwen2.5-7B": "qwen2-7b deepseek-r1-7b deepseek-r1-distill-qwen-7b",
    "Qwen2.5-14B": "deepseek-r1-14b deepseek-r1-distill-qwen-14b",
    "Qwen2.5-32B": "qwq-32b deepseek-r1-32b deepseek-r1-distill-qwen-32b",
    "Qwen2.5-72B": "qwen2-72b",
    "Qwen3-30B-A3B": "qwen3-30b",
    "Qwen3-235B-A22B": "qwen3-235b",
    "DeepSeek-LLM-7B": "deepseek-7b",
    "DeepSeek-LLM-67B": "deepseek-67b",
    "DeepSeek-V2": "deepseek-v2.5",
    "DeepSeek-V3": "deepseek-r1 deepseek-v3-671b deepseek-r1-671b deepseek-671b",
    "Phi-4": "phi-4-14b",
    "Phi-3-mini": "phi-3.5-mini phi-3-3.8b",
    "ChatGLM3-6B": "chatglm-6b chatglm2-6b",
    "GLM-4-9B": "glm4-9b",
    "Baichuan2-7B": "baichuan-7b",
    "Baichuan2-13B": "baichuan-13b",
    "Yi-34B": "yi-1.5-34b",
    "InternLM2.5-7B": "internlm2-7b internlm-7b",
    "GPT-3-175B": "gpt-3",
}
NAMED: dict[str, Shape] = {shape.name.lower(): shape for shape in SHAPES} | {
    alias: shape for shape in SHAPES for alias in _ALSO.get(shape.name, "").split()
}

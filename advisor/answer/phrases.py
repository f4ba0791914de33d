"""How people put a follow-up: one pattern per line, each the whole of a message; in both languages.

The first kind with a pattern that fits is meant. At the end, the parts that people suspect by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from advisor.models import Lang

Aspect = Literal[
    "all", "verify", "missing", "why", "how", "numbers", "more", "shorter",
    "others", "next", "failed", "check", "greeting", "thanks", "restart", "unclear",
]  # fmt: skip

ASPECTS: Mapping[Aspect, str] = {
    "greeting": r"""
        (?:hi|hello|hey|hiya|yo)(?: there| advisor| all)?
        good (?:morning|afternoon|evening)
        (?:你|您|大家)好[啊呀]?
        嗨
        哈喽
        在吗
        早上好
        下午好
        晚上好
    """,
    "thanks": r"""
        (?:great|cool|perfect|nice|awesome)?[, ]*(?:thanks|thank you|thx|cheers|ty)\b.{0,40}
        (?:太好了|明白了|懂了|行)?[, ]*(?:谢谢|多谢|感谢|谢了|谢啦|辛苦了).{0,15}
        (?:great|perfect|got it|that helped|that (?:worked|fixed it)|it works(?: now)?)(?: a lot)?
        明白了
        懂了
        知道了
        搞定了
        解决了
        太好了
    """,
    "restart": r"""
        (?:let'?s )?start (?:over|again|fresh)
        reset
        restart
        clear
        new (?:chat|conversation|topic)
        forget (?:it all|everything|all (?:of )?(?:that|this))
        (?:我们)?(?:重新开始|重新来(?:过)?|重来|从头(?:来|开始)|清空(?:对话)?|换个新(?:话题|对话))(?:吧)?
    """,
    "failed": r"""
        (?:i )?(?:already )?(?:tried|did) (?:that|this|it)(?: already)?
        (?:i )?(?:tried|did) (?:that|this|it),? (?:no (?:change|difference|luck)|still slow|it didn'?t help)
        (?:that|this|it) (?:did(?:n'?t| not)|does(?:n'?t| not)) (?:help|work|change anything)
        no (?:change|difference|luck|effect)
        still (?:the same|(?:as )?slow)
        我?(?:已经)?(?:试|改|做)过了?
        (?:我?(?:已经)?(?:试|改|做)过了?|改了)?[, ]*(?:没有?(?:用|效果|变化)|不管用|还是(?:一样|很?慢))
    """,
    "others": r"""
        (?:what|anything|something) else(?: (?:could|can|might) (?:it|this) be)?
        is (?:that|this) (?:all|everything)
        (?:are there |any |what )?(?:are )?(?:the )?other (?:possible )?(?:causes?|reasons?|problems?|options?)
        还有(?:没有)?(?:别的|其他的?|其它的?|什么(?:别的|其他)?|哪些)?(?:可能|原因|问题|瓶颈|可能的原因|可能性)*[吗呢]?
        (?:其他|别的)(?:原因|可能|问题)呢?
        就这些吗
    """,
    "verify": r"""
        how (?:do|can|would|should) (?:i|we) (?:verify|check|confirm|test)(?: (?:it|that|this|the fix))?
        how (?:do|can|would|should) (?:i|we) (?:verify|check|know)(?: (?:if|that))? it (?:works|worked|helps|helped)
        (?:and )?verify(?: it)?
        how to verify(?: (?:it|the fix))?
        怎么(?:验证|确认|知道)(?:修好了|有效|有没有效果?|修复有效|改好了|改对了|起作用了?)?[呢吗]?
        如何验证
        怎样验证
        (?:how (?:do|can) i )?(?:roll ?back|undo|revert)(?: (?:it|that|this))?
        怎么(?:回退|回滚|撤销|改回去)
    """,
    "missing": r"""
        what (?:could not|couldn'?t|was not|wasn'?t) (?:be )?measured
        what(?: else)? (?:is|was) missing
        what do you (?:still )?need(?: from me)?
        (?:还)?缺(?:什么|少什么|哪些)(?:数据|信息)?
        还有什么没测到
        还需要(?:我提供)?什么(?:信息|数据)?
    """,
    "numbers": r"""
        (?:show (?:me )?|give me |what are )?(?:the )?(?:numbers|evidence|proof|measurements|data|figures|limits?)
        how do you know(?: that)?
        what makes you (?:think|say) (?:so|that)
        based on what
        prove it
        on what evidence
        (?:依据|证据|数据|数字|具体数(?:据|字|值)|阈值)(?:呢|是什么|有吗|给我看看|是多少)?
        (?:给我)?看看?(?:数据|数字|依据|证据)
        (?:你)?(?:怎么|凭什么)(?:知道|看出来|判断|得出)的?
        有(?:什么)?依据吗
    """,
    "why": r"""
        (?:but )?why(?: (?:is|does) (?:that|it|this)(?: (?:so|happen|matter|the case))?| so| this one)?
        how come
        what does (?:that|it|this) mean
        i don'?t (?:get|understand) (?:it|that)
        what'?s the reason
        为什么(?:呢|会这样|这样|是这个)?
        为啥(?:呢|会这样)?
        这是为什么
        什么意思
        这是什么意思
        没(?:看|听)懂
        不(?:太)?(?:懂|明白)
        原因(?:呢|是什么|是啥)
    """,
    "how": r"""
        (?:show (?:me )?|tell me )?how(?: exactly| do i do (?:that|it))?
        how (?:do|can|should) i (?:fix|change|solve) (?:it|that|this)
        how to (?:fix|change|do|solve)(?: (?:it|that|this))?
        what (?:should|do|can) i (?:do|change|try)(?: (?:about it|first|next|now))?
        (?:and )?the fix
        fix it
        what'?s the fix
        show me the (?:fix|code|setting)
        (?:具体)?(?:要|该|应该)?(?:怎么|如何|怎样)去?(?:[改修办做弄调设]|解决|设置|处理|优化|操作|修[改复])(?:它|这个)?[呢啊]?
        那?我?(?:该|应该)(?:怎么(?:办|做|改)|做什么|改什么|改哪里)
        (?:给我)?(?:看看|给出)?(?:解决)?(?:办法|方案|代码|改法)(?:呢)?
    """,
    "more": r"""
        (?:tell me |show me |give me )?more(?: (?:detail|details|info|information|about (?:it|that|this)))?
        (?:in )?(?:more )?detail(?:s|ed)?
        elaborate
        go deeper
        explain (?:it |that |this )?(?:more|in (?:more )?detail)
        go on
        continue
        (?:再|更|能|可以)?(?:说)?(?:详细|具体)(?:一?点|一?些|说说|说明|解释|讲讲|介绍)?(?:的)?[吗吧]?
        展开(?:说说|讲讲|讲|说)?
        多(?:说|讲)(?:一?点|一?些)
        继续(?:说)?
    """,
    "shorter": r"""
        (?:make it )?(?:short(?:er)?|brief(?:er)?|simpler)
        briefly
        in (?:short|brief|one (?:line|sentence)|a nutshell)
        tl;?dr
        too long
        (?:give me )?(?:the|a) (?:short version|summary)
        sum(?:marise|marize)? (?:it )?(?:up)?
        keep it short
        (?:能|可以|请)?(?:说)?(?:简短|简单|简洁|精简|短)(?:一?点|一?些|说说|说|讲)?[吗吧]?
        太长了?
        太长了?[,， ]*(?:简单|简短|精简)(?:一?点|一?些)?
        一句话(?:总结|概括|说明|说)?(?:一下)?
        (?:总结|概括)(?:一下)?
        长话短说
    """,
}

# What asks for a language; the traditional script before the simplified one, which its words contain.
LANGUAGES: Mapping[Lang, str] = {
    "zh-Hant": r"""
        (?:请|麻烦)?(?:用|以|换成|说|讲)?(?:繁体)(?:中文|字)?(?:说|回答|显示)?
        (?:in )?traditional chinese
    """,
    "zh-Hans": r"""
        (?:请|麻烦|可以|能)?(?:改?用|以|换成|切换到|说|讲)(?:简体)?(?:中文|汉语)(?:[说讲]|回答|回复|解释|再说)?(?:一[下遍])?[吗吧]?
        中文(?:回答|呢)?
        (?:answer |say (?:it|that) |reply |speak )?(?:in )?(?:chinese|mandarin|simplified chinese)
    """,
    "en": r"""
        (?:answer |say (?:it|that) |reply |speak |switch to )?(?:in )?english
        (?:请|麻烦|可以|能)?(?:改?用|以|换成|切换到|说|讲)(?:英文|英语)(?:说|讲|回答|回复|解释)?(?:一下)?(?:吗|吧)?
    """,
}

MAX_WORDS = 3  # of what is suspected by name; more of them are a question of their own
# What a person suspects by one word, and the topic that holds the rules about it.
COMPONENTS: Mapping[str, str] = {
    "storage_slow_read": r"\b(?:disks?|storage|nvme|ssd|hdd|nfs|i/?o|s3|lustre)\b|磁盘|硬盘|存储|读盘",
    "network_slow_multinode": r"\b(?:network|infiniband|ethernet|nccl|multi[- ]?node)\b|网络|网卡|通信|多机",
    "dataloader_bottleneck": r"\b(?:data ?load(?:er|ing)|loader|augmentations?)\b|数据(?:加载|读取|预处理)",
    "thermal_power_throttling": r"\b(?:temperature|thermal|throttl\w+|heat|cooling|power)\b|温度|散热|过热|降频|功耗",
    "multi_gpu_scaling": r"\bmulti(?:ple)?[- ]?gpus?\b|多卡",
    "numa_pcie_topology": r"\b(?:pcie|numa|topology)\b|拓扑",
    "host_ram_growth": r"\b(?:ram|host memory|system memory|swap)\b|内存",
    "gpu_oom": r"\b(?:vram|gpu memory|oom|out of memory|memory)\b|显存",
    "cpu_bound": r"\b(?:cpu|cores?|gil|python)\b",
    "gpu_capability": r"\b(?:gpu|card)(?: itself)?$|显卡",
    "container_limits": r"\b(?:container|docker|cgroup|kubernetes|k8s|quota)\b|容器|配额",
}


def component(thing: str) -> str | None:
    """The topic of a part of the machine or of the run that is suspected by name.

    >>> component("the disk"), component("网络"), component("normal")
    ('storage_slow_read', 'network_slow_multinode', None)
    """
    if len(thing.split()) > MAX_WORDS:
        return None
    return next((topic for topic, pattern in COMPONENTS.items() if re.search(pattern, thing)), None)

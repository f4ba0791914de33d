"""Causes that a person rules out ("not the disk, it's NVMe", "跟网络没关系") -> topics.

What is ruled out is asked about later, not believed: people often rule out the very cause.
"""

from __future__ import annotations

import re

# The words for a cause, and the topics that are no likelier after it is ruled out.
_CAUSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"data ?load(?:er|ing)s?|input pipeline|data pipeline|data|数据加载|数据读取|读数据|dataloader|"
     r"数据", ("dataloader_bottleneck",)),
    (r"disks?|storage|ssds?|nvme|hdd|i/?o|file ?systems?|nfs|磁盘|硬盘|存储|io|文件系统|读盘", ("storage_slow_read",)),
    (r"network(?:ing)?|ethernet|infiniband|ib|nics?|网络|网卡|带宽|交换机", ("network_slow_multinode",)),
    (r"nccl|communication|all-?reduce|通信", ("nccl_hang_timeout", "multi_gpu_scaling")),
    (r"cpus?|处理器", ("cpu_bound",)),
    (r"swap(?:ping)?|ram|host memory|(?:system )?memory leaks?|内存泄漏|内存", ("host_ram_growth",)),
    (r"gpu memory|vram|oom|out of memory|显存", ("gpu_oom",)),
    (r"memory leak|显存泄漏", ("gpu_mem_growth",)),
    (r"(?:thermal )?throttling|temperatures?|heat|overheating|power|cooling|温度|过热|降频|散热|"
     r"功耗", ("thermal_power_throttling",)),
    (r"pci-?e|nvlink|topology|numa|拓扑", ("numa_pcie_topology",)),
    (r"hardware|(?:the )?(?:card|gpu) itself|硬件|显卡本身", ("gpu_hardware_fault",)),
    (r"drivers?|versions?|cuda version|驱动|版本", ("version_regression",)),
    (r"batch ?size|batch", ("batch_size_tuning",)),
    (r"checkpoint(?:ing|s)?|saving|保存|存盘", ("checkpoint_save_slow",)),
    (r"tokeni[sz](?:er|ation)|分词", ("tokenization_slow",)),
    (r"shm|shared memory|共享内存", ("shm_docker",)),
    (r"docker|containers?|cgroups?|容器", ("container_limits",)),
    (r"eval(?:uation)?|logging|validation|验证|日志", ("eval_logging_overhead",)),
    (r"compil(?:e|ation)|编译", ("compile_warmup",)),
    (r"threads?|线程", ("thread_oversubscription",)),
    (r"kv[ -]?cache|kv缓存", ("kv_cache_capacity",)),
)  # fmt: skip
_NAME = "(?:" + "|".join(f"(?P<{{0}}{i}>{words})" for i, (words, _) in enumerate(_CAUSES)) + ")"
_FINE = (
    r"fine|ok(?:ay)?|good|great|healthy|idle|normal|not (?:the |a |an )?(?:problem|issue|bottleneck|cause|culprit|"
    r"limit\w*|saturated|busy|slow|full|it)|no (?:problem|issue)|ruled out|irrelevant|unrelated|nothing to do"
)
_FINE_ZH = (
    r"没(?:有)?(?:问题|毛病|瓶颈|关系|影响|异常)|正常|无关|很快|够快|够用|不是(?:瓶颈|问题|原因)|"
    r"已(?:经)?排除|排除了|不慢|没关系"
)
_THE = r"(?:the |a |an |my |our |any |due to |because of |caused by |about )*"
_TAIL = r"(?![a-z])"
# What to look for first, because it is cheap, and the pattern itself.
_PATTERNS = tuple(
    (needed, re.compile(pattern))
    for needed, pattern in (
        # "not the disk"; never "why not", "not only", nor a question such as "isn't it the disk?"
        (("not ", "n't "),
         rf"(?<!why )(?<!whether or )(?<![a-z])(?:(?:it(?:'s| is)|that(?:'s| is)|definitely|certainly|clearly|"
         rf"surely) )?(?:not|isn't|wasn't|ain't) "
        rf"(?!only|just|sure|even){_THE}{_NAME.format('a')}{_TAIL}"),
        ((" is", " are", " was", " were", " look", " seem", " should be"),
         rf"(?<![a-z]){_NAME.format('b')}(?: (?:usage|util\w*|speed|side|itself|bandwidth|loading|"
         rf"latency)){{0,2}} (?:is|are|was|were|looks?|seems?|should be)"
        rf"(?:n't| not)?(?: also| all| totally| perfectly| completely)* (?:{_FINE})(?![a-z])"),
        (("n't ", "cannot "),
         rf"(?<![a-z]){_NAME.format('c')} (?:isn't|aren't|wasn't|can't be|cannot be) (?:the |a )?(?:problem|issue|"
         rf"bottleneck|cause|culprit|slow|saturated|it)"),
        (("no ", "without "),
         rf"(?<![a-z])(?:no|without(?: any)?) {_NAME.format('d')}(?: (?:problems?|issues?|errors?|usage|activity|"
         rf"pressure|bottleneck))?(?![a-z0-9_])"),
        (("rule", "excluded", "nothing to do", "unrelated"),
         rf"(?:ruled out|rule out|excluded|nothing to do with|unrelated to|"
         rf"has nothing to do with) {_THE}{_NAME.format('e')}{_TAIL}"),
        (("不",),
         rf"(?<!是)不(?:应该|可能|会)?是(?:因为|由于)?{_NAME.format('f')}"),
        (("关系", "无关"),
         rf"(?:跟|和|与|同){_NAME.format('g')}(?:应该|肯定)?(?:没(?:有)?(?:什么|啥)?关系|无关)"),
        (("没", "正常", "无关", "快", "够", "不是", "排除", "不慢"),
         rf"{_NAME.format('h')}(?:利用率|速度|带宽|方面|这块|也|都|肯定|应该|看起来|本身)*(?:{_FINE_ZH})"),
        (("排除", "没有", "没用"),
         rf"(?:排除了?|没有|没用到?|没用){_NAME.format('i')}(?:的)?(?:问题|原因|因素|瓶颈)"),
        (("没",),
         rf"(?:没有?用?|没开){_NAME.format('j')}(?=[,。;!]|$)"),
    )
)  # fmt: skip
_ASKS = re.compile(
    r"^\W*(?:isn't|is it not|is not|aren't|is|are|could|might|why)\b[^.!]*\?|不是[^,。]{1,14}(?:吗|吧|么)|是不是|难道"
)


def ruled_out(plain: str) -> tuple[str, ...]:
    """The topics that the words rule out, in the order in which they are named.

    Args:
        plain: the normalised question.

    >>> ruled_out("it's not the disk, it is nvme"), ruled_out("why not the disk?")
    (('storage_slow_read',), ())
    """
    found: dict[str, int] = {}
    for sentence in re.finditer(r"[^.?!。;]+(?:[.?!。;]|$)", plain):
        if _ASKS.search(sentence[0].strip()):
            continue
        for pattern in (p for needed, p in _PATTERNS if any(word in sentence[0] for word in needed)):
            for match in pattern.finditer(sentence[0]):
                group = next(k for k, v in match.groupdict().items() if v is not None)
                for topic in _CAUSES[int(group[1:])][1]:
                    found.setdefault(topic, sentence.start() + match.start())
    return tuple(sorted(found, key=lambda t: found[t]))

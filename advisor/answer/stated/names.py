"""What numbers are of: the words for every fact that people state with an amount, most specific words first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from advisor.answer.stated.quantities import Kind

Side = Literal["both", "before", "after"]
_UTIL = r"(?:ut[il]{2,4}[a-z]{0,9}|usage|load|busy|activity)"
_ZH_UTIL = r"(?:的)?(?:利用[率律绿]?|使用[率律]|占用[率律]?|负载)"
_STEP = r"(?:step|iteration|iter|training step|optimi[sz]er step|batch|mini-?batch)"


@dataclass(frozen=True, slots=True)
class Name:
    """Words for a fact, the kinds of amount that it takes, and on which side of the amount they stand.

    `convert` makes the fact's value of an amount. A `fact` that begins with ``@`` is worked out from several by
    `read`.
    """

    words: str
    fact: str
    unit: str
    kinds: tuple[Kind, ...]
    side: Side = "both"
    convert: Callable[[float], float] = float


def _one_minus(share: float) -> float:
    return 1.0 - share


NAMES: tuple[Name, ...] = (
    # --- memory: before the words for GPU and CPU alone ---
    Name(r"(?:gpu|cuda|device|graphics|video)[ -]?(?:memory|mem|ram|内存)(?: usage| use| used| utili[sz]ation|"
         r" consumption"
         r"| allocation)?|v-?ram(?: usage| use)?|显存(?:占用率?|使用率?|利用率|用量|已用|只?用了|占了|吃了)?|"
         r"显卡内存|显示内存(?:占用率?|使用率?|用了)?|gpu显存",
         "@gpu.memory", "By", ("share", "bytes", "part")),
    Name(r"memory limits?|limits\.memory|mem(?:ory)?[ _-]limit|--memory|内存(?:限制|上限|limit)|容器内存",
         "container.memory.limit", "By", ("bytes",), "before"),
    Name(r"/dev/shm|shm[-_ ]size|shm|shared memory|共享内存", "@shm", "By", ("bytes", "share")),
    Name(r"(?:host|system|cpu|main) (?:ram|memory)|ram(?: usage)?|(?:物理|系统|主机|机器)?内存(?:占用|使用率?|用了)?",
         "@host.memory", "By", ("share", "bytes", "part")),
    Name(r"swap(?: usage| space)?|交换(?:分区|空间)", "system.paging.utilization", "1", ("share",)),
    # --- GPU ---
    Name(r"tensor cores? (?:ut\w+|active|activity)|tensor active", "hw.gpu.tensor.active", "1", ("share",)),
    Name(r"sm (?:activity|active|efficiency)|sm利用率", "hw.gpu.sm.active", "1", ("share",)),
    Name(r"(?:gpus?|显卡|graphics cards?|cards?) ?(?:is |are |was |sits? |sitting |stays? )?(?:idle|idling|空闲|"
         r"空转|闲置)",
         "hw.gpu.utilization", "1", ("share",), "both", _one_minus),
    Name(rf"(?:volatile )?(?:gpus?|nvidia-smi|graphics cards?|显卡|卡|sm|cuda)[ _-]?(?:core )?(?:{_UTIL}|{_ZH_UTIL})"
         r"|ut[il]{2,4}[a-z]{3,9} of (?:the |my |our )?gpus?|volatile[ -]ut\w+",
         "hw.gpu.utilization", "1", ("share",)),
    Name(r"(?<!memory )(?<!mem )(?<!disk )(?<!network )(?<!link )(?<!bandwidth )(?<!swap )"
         r"(?<!core )ut[il]{2,4}(?:[a-z]{3,9}|(?![a-z]))|利用[率律]"
         r"|使用率(?=只|才|很|不|一直)", "hw.gpu.utilization", "1", ("share",)),
    Name(r"mfu|model flops? util\w*", "ml.mfu", "1", ("share",)),
    Name(r"power (?:limit|cap)|功耗(?:墙|上限|限制)|功率(?:上限|限制)|power ?limited to|capped (?:to|at)|"
         r"限(?:制)?功耗(?:到)?",
         "hw.gpu.power.limit", "W", ("power",)),
    Name(r"power(?: draw| usage| consumption)?|draw(?:s|ing)?|功耗|功率", "@power", "W", ("power",)),
    Name(r"(?<!cpu )temp(?:erature)?s?|(?<!cpu)温度", "hw.gpu.temperature", "Cel", ("temperature",)),
    Name(r"(?<!cpu )(?:(?:sm|gpu|graphics|core) )?(?:clocks?(?: speed)?|frequency)|(?<!cpu)(?:核心)?频率|sm频率",
         "hw.gpu.clock.sm", "Hz", ("clock",)),
    # --- CPU, container ---
    Name(r"(?:a |one |single |1 )(?:cpu )?core|(?:单|一个|1个|某个)核心?|单核(?:cpu)?|one cpu core",
         "system.cpu.core.utilization.max", "1", ("share",)),
    Name(r"main (?:thread|process)|主线程|主进程", "process.cpu.main_thread.utilization", "{cpu}", ("share",)),
    Name(r"io[- ]?wait|wa(?=[:= ]?\d)|%wa", "system.cpu.iowait.utilization", "1", ("share",)),
    Name(r"cpu steal|steal(?: time)?", "system.cpu.steal.utilization", "1", ("share",)),
    Name(r"cpu[ _-]?(?:limits?|quota)|limits\.cpu|--cpus|cpu ?(?:限额|限制|配额)", "container.cpu.limit", "{cpu}",
         ("count",), "before"),
    Name(r"load(?: average| avg)|系统负载|平均负载", "@load", "1", ("count",), "before"),
    Name(r"(?:physical |logical |cpu )?cores?|vcpus?|(?:个)?(?:逻辑|物理)?核心?(?:cpu)?|"
         r"线程的cpu", "system.cpu.logical.count",
         "{cpu}", ("count",), "after"),
    Name(rf"(?<!on )(?<!the )cpus?(?: ?{_UTIL}| ?{_ZH_UTIL})?", "@cpu", "1", ("share",)),
    Name(rf"(?<=the )cpus?(?: ?{_UTIL}| ?{_ZH_UTIL})?", "@cpu", "1", ("share",)),
    # --- storage, network ---
    Name(r"(?:disk|ssd|nvme|hdd) (?:util\w*|busy)|%util|磁盘(?: ?io|利用率|繁忙度?| ?util)|硬盘(?:利用率| ?io)",
         "system.disk.utilization", "1", ("share",)),
    Name(r"(?:disk|ssd|nvme|hdd|nfs|storage|sequential)? ?(?:writes?|writing|"
         r"写入?(?:速度)?)", "system.disk.write.rate", "By/s",
         ("byte_rate",)),
    Name(r"(?:disk|ssd|nvme|hdd|nfs|storage|lustre|gpfs|ceph)(?: reads?| read speed| throughput| i/?o| rate)?|"
         r"(?:磁盘|硬盘|存储|"
         r"云盘|机械盘)(?:读取?)?(?:速度|速率|吞吐)?|读(?:取)?(?:速度|速率|带宽|吞吐)|read(?:s|ing)?(?: speed| rate)?",
         "system.disk.read.rate", "By/s", ("byte_rate",)),
    Name(r"ping|rtt|round[- ]trip(?: time)?|网络延迟|网络时延", "system.network.rtt", "s", ("time",)),
    Name(r"network|ethernet|nics?|infiniband|ib|roce|interconnect|links?|网络|网卡|以太网|带宽|万兆|网口",
         "@network", "By/s", ("bit_rate", "byte_rate")),
    # --- loop ---
    Name(r"(?:global|total|effective|全局|总)[ _-]?batch(?:[ _-]?size)?|"
         r"全局批大小", "ml.batch.global", "{sample}", ("count",),
         "before"),
    Name(r"(?:micro|per[ _-](?:device|gpu)(?:[ _-]train)?)[ _-]?batch(?:[ _-]?size)?|(?:单卡|"
         r"每卡)(?: ?batch(?:[ _-]?size)?|批大小)",
         "ml.microbatch.size", "{sample}", ("count",), "before"),
    Name(r"batch[ _-]?size|batchsize|\bbs|batch大小|批(?:次|量)?大小|"
         r"batch(?=[ :=为是]{1,3}\d)", "config.dataloader.batch_size",
         "{sample}", ("count",), "before"),
    Name(r"prefetch[ _-]?factor|预取", "config.dataloader.prefetch_factor", "{batch}", ("count",), "before"),
    Name(r"(?:num|n|dataloader|data loader|loader)[_ -]?w(?:or|ro|o)?ke?r?s?(?: processes)?|"
         r"(?<!ray )(?<!gunicorn )(?<!uvicorn )"
         r"workers?(?: processes)?|个 ?workers?|worker ?数|加载进程",
         "config.dataloader.num_workers", "{worker}", ("count",)),
    Name(r"(?:gradient|grad)[ _-]?accum\w*(?:[ _-]steps?)?|梯度累[积计加](?:步数)?", "ml.gradient_accumulation.steps",
         "{step}", ("count",), "before"),
    Name(r"data[ _-]?(?:loading[ _-])?time|dataloader[ _-]time|数据(?:加载|读取)(?:时间|耗时)|取数据(?:时间|"
         r"耗时)", "ml.step.data_wait.time",
         "s", ("time",)),
    Name(r"data[ -]?load(?:ing|ers?)|dataloaders?|input pipeline|(?:loading|fetching|reading) (?:the )?(?:data|"
         r"batch\w*|images)"
         r"|wait(?:ing|s)? (?:for|on) (?:the )?(?:data\w*|next batch|batch\w*|input|loader)|(?:数据)?(?:加载|"
         r"读取)数据?|(?:等|读|取)(?:待)?数据"
         r"|数据加载|data ?loader|next\(.{0,20}\)|enumerate\(.{0,20}\)", "@data_share", "1", ("share",)),
    Name(r"all-?reduce|nccl|communication|comms?|gradient sync\w*|通信|梯度同步|allreduce|"
         r"集合通信", "ml.step.gradient_sync.fraction",
         "1", ("share",)),
    Name(r"padding|pad tokens?|填充", "ml.padding.fraction", "1", ("share",)),
    Name(r"scaling efficiency|加速比效率|扩展效率|线性度", "ml.scaling.efficiency", "1", ("share",)),
    Name(r"(?<!gradient )(?<!activation )(?:(?:saving|save|writing)(?: of)?(?: a| the| each)? )?(?:checkpoint|"
         r"ckpt)s?(?: sav(?:e|es|ing))?"
         r"|保存(?:检查点|checkpoint|模型|ckpt|权重)|存(?:一次)?(?:ckpt|checkpoint|"
         r"模型)", "ml.checkpoint.time", "s", ("time",)),
    Name(r"eval(?:uation)?s?|validation|验证|评估", "@evaluation", "s", ("time", "share")),
    Name(r"torch\.compile|compil(?:ation|ing|e)|编译", "ml.compile.time", "s", ("time",)),
    Name(r"epochs?|每轮|一轮|每个epoch", "ml.epoch.time", "s", ("time",)),
    Name(rf"(?:each |per |one |every |a |single )?{_STEP}(?:[ _-]times?|s)?|每(?:一)?(?:步|个? ?(?:step|iter\w*|"
         rf"迭代|batch))|一步|单步|"
         r"一(?:个|次) ?(?:step|iter\w*|迭代|batch)|step ?耗时|迭代时间|迭代一次", "ml.step.time", "s", ("time",)),
    Name(r"seq(?:uence)?[ _-]?len(?:gth)?s?|max[_ ]?seq[_ ]?len\w*|序列长度|句长", "ml.sequence_length.max", "{token}",
         ("tokens", "count")),
    # --- serving ---
    Name(r"ttft|time to first token|first[- ]token(?: latency| time)?|首 ?(?:token|字|包)(?:的)?(?:延迟|时延|时间|"
         r"耗时)?",
         "gen_ai.server.time_to_first_token", "s", ("time",)),
    Name(r"tpot|time per (?:output )?token|inter[- ]token(?: latency)?|itl|per (?:output )?token|每个? ?token|"
         r"一个token",
         "gen_ai.server.time_per_output_token", "s", ("time",)),
    Name(r"kv[ -]?cache(?: usage| util\w*| is)?|kv ?缓存(?:使用率|占用率?|"
         r"利用率)?", "gen_ai.server.kv_cache.utilization", "1",
         ("share",)),
    Name(r"prefix cach\w+(?: hit(?: rate)?)?|cache hit(?: rate)?|前缀缓存(?:命中率)?|"
         r"缓存命中率", "gen_ai.server.prefix_cache.hit_rate",
         "1", ("share",)),
    Name(r"accept(?:ance|ed)?(?: rate| ratio)?|接受率", "gen_ai.server.spec.acceptance_rate", "1", ("share",)),
    Name(r"(?:(?:reqs?|requests?)[ _])?(?:waiting|queued|pending)(?: reqs?| requests?)?|"
         r"(?:requests? )?(?:sitting )?in (?:the )?queue|(?:个请求)?(?:在)?排队(?:的?请求)?",
         "gen_ai.server.requests.waiting", "{request}", ("count",)),
    Name(r"(?:(?:reqs?|requests?)[ _])?running(?: reqs?| requests?)|running(?=[:= ]{1,3}\d)|running requests?|"
         r"(?:个请求)?(?:正在|在)(?:跑|运行|处理)(?:的?请求)?",
         "gen_ai.server.requests.running", "{request}", ("count",)),
    Name(r"running(?! on| with| at| a | the )", "gen_ai.server.requests.running", "{request}", ("count",), "after"),
    Name(r"max[_ -]model[_ -]len|context(?: length| window| size)?|ctx(?:[_ -]?len(?:gth)?)?|上下文(?:长度|窗口)?",
         "config.context.length", "{token}", ("tokens", "count")),
    Name(r"prompts?(?: length| len)?|input (?:length|prompt)|输入长度|提示词(?:长度)?|"
         r"prompt长度", "gen_ai.server.prompt_tokens.mean",
         "{token}", ("tokens",)),
    # --- sizes of the job ---
    Name(r"world[ _-]?size", "config.distributed.world_size", "{rank}", ("count",), "before"),
    Name(r"ranks\b", "config.distributed.world_size", "{rank}", ("count",), "after"),
    Name(r"omp[_ ]num[_ ]threads", "config.omp_num_threads", "{thread}", ("count",), "before"),
    Name(r"ulimit -n|nofile", "process.open_file_descriptor.limit", "{file_descriptor}", ("count",), "before"),
    Name(r"tensor[ _-]parallel(?:ism)?(?:[ _-]size)?|"
         r"张量并行(?:度)?", "config.tensor_parallel.size", "{gpu}", ("count",), "before"),
    Name(r"pipeline (?:stages|parallel(?:ism)?(?:[ _-]size)?)|"
         r"流水线并行(?:度)?", "config.pipeline.stages", "{stage}", ("count",)),
    Name(r"(?:gpu |compute |worker )?(?:nodes|node|machines?|servers|hosts)\b|(?:台|个)(?:gpu)?(?:机器|服务器|"
         r"节点|主机|机子)|机(?= ?[一二两三四五六七八九十\d]{1,3} ?卡)|台机",
         "@nodes", "{host}", ("count",), "after"),
    Name(r"gpus?|(?:张|块|个) ?(?:gpu|显卡|卡)|显卡|卡(?!住|死|顿|了|在)|(?:graphics )?cards?", "@gpu", "1",
         ("count", "share", "temperature", "power", "bytes")),
    Name(r"qps|rps|requests per second", "gen_ai.server.requests.rate", "{request}/s", ("count",), "before"),
)  # fmt: skip
# A name begins where a word begins; most places are ruled out by that alone.
FOUND = re.compile(
    "(?:(?<![a-z_])|(?![a-z]))(?=[a-z/%-]|[^\\x00-\\x7f])(?:"
    + "|".join(f"(?P<n{i}>{n.words})" for i, n in enumerate(NAMES))
    + ")"
)

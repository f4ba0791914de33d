"""What a person wants of an answer, as far as the words tell."""

from __future__ import annotations

import re
from typing import Literal

Intent = Literal["greeting", "thanks", "error", "fit", "compare", "normal", "explain", "how", "diagnose", "open"]

# In this order: a greeting is nothing but a greeting, and "why is ..." about a number that looks odd is a diagnosis.
_INTENTS: tuple[tuple[Intent, str], ...] = (
    ("greeting", r"^\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|你好|您好|在吗|哈喽|嗨)(?: there|"
                 r" advisor)?\W*$"),
    ("thanks", r"^\W*(?:thanks?(?: you)?|thx|ty|great|perfect|cheers|that (?:helped|worked)|谢谢|多谢|感谢|好的|"
               r"明白了|懂了|搞定)"
               r"(?:[ ,]{0,2}(?:a lot|so much|very much|you|that (?:worked|helped)|it works|了|你|啦))*\W*$"),
    ("error", r"what does .{0,120}\b(?:error|message|warning|exception|mean)\b.{0,60}\b(?:error|mean)|\b(?:error|"
              r"exception|traceback|errno|xid|"
              r"failed with|segfault|core dumped|assert(?:ion)?|killed|exit code|oomkilled)\b|\w(?:error|"
              r"exception):|报错|错误码|异常退出|崩溃|退出码"),
    ("fit", r"\b(?:fit|fits|fitting)\b.{0,60}\b(?:in|on|into|gpu|card|memory|vram|\d+ ?gb?)\b|\bhow much (?:v?ram|"
            r"gpu memory|memory|video memory)\b|"
            r"\bcan (?:i|we) (?:train|run|fine-?tune|load|serve|host)\b|\benough (?:v?ram|memory)\b|\b(?:largest|"
            r"biggest|max(?:imum)?) (?:model|batch)\b"
            r"|放得下|装得下|跑得(?:动|起来)|能不能(?:跑|训|放|装|带)|要多少(?:显存|内存)|需要多(?:少|"
            r"大)(?:的)?(?:显存|内存)|显存够(?:吗|不够)|够不够|带得动|能跑多大"),
    ("compare", r"\b(?:vs\.?|versus|compared? (?:to|with)|difference between|which (?:is|one is|"
                r"of) .{0,30}\b(?:better|faster)|better than|faster than|"
                r"slower than|should i (?:use|choose|buy) .{1,40} or )\b|\bor\b.{1,40}\bwhich\b|区别|对比|"
                r"哪个(?:好|快|更)|还是.{1,20}(?:好|快)|比.{1,16}(?:慢|快)"),
    ("normal", r"\b(?:is (?:it|this|that|\d).{0,60}\b(?:normal|ok(?:ay)?|expected|good|bad|reasonable|typical|"
               r"too (?:low|high|slow))|normal\?|"
               r"what is a (?:good|normal|typical)|what(?:'s| is) (?:normal|typical)|supposed to be)\b|正常(?:吗|"
               r"么|嘛)|正常不|算(?:正常|高|低|慢|快)|合理吗|多少(?:算|才)(?:正常|合理|好)"),
    ("diagnose", r"\b(?:why|what'?s wrong|bottleneck|slow(?:er|ly|ness)?|stuck|hang(?:s|ing)?|idle|"
                 r"low (?:gpu )?util\w*|diagnose|what (?:is|could be) "
                 r"(?:the|causing)|not (?:using|used))\b|为什么|为何|怎么(?:这么|那么|回事|会)|瓶颈|卡(?:住|死|"
                 r"顿)|慢|上不去|跑不满|利用率低|诊断|排查|原因"),
    ("how", r"\b(?:how (?:do|can|to|should|would|does one)|what should i|ways? to|best way|steps? to|recommend\w*|"
            r"tips?|should i)\b|怎么|如何|怎样|有什么办法|"
            r"怎么办|设(?:置)?(?:成|为)?多少|该不该|要不要|咋"),
    ("explain", r"\b(?:what (?:is|are|does|do)|explain|meaning|mean(?:s)?|tell me (?:more )?about|define|"
                r"definition|understand)\b|是什么|什么是|什么意思|解释|含义|原理|说明一下|介绍"),
)  # fmt: skip
_COMPILED = tuple((intent, re.compile(pattern)) for intent, pattern in _INTENTS)


def intent(plain: str) -> Intent:
    """The intent of a normalised question; ``open`` when the words leave it to the context.

    Whether a question is about anything else than performance is decided by the topics, not here.

    >>> intent("will a 7b model fit on a 24 gb card?"), intent("why is training slow?"), intent("谢谢")
    ('fit', 'diagnose', 'thanks')
    """
    return next((name for name, pattern in _COMPILED if pattern.search(plain)), "open")

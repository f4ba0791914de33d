"""What in a kernel log is about performance or health: one pattern per kind of event.

The wording is that of the kernel's and the drivers' own print statements, old and new; where
it comes from stands beside it. A pattern begins with fixed text, so that a line without an event
is left quickly, and no part of one can match in more than one way.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Event(NamedTuple):
    """A kind of event: the fact that counts it, its unit, and how a line of it is known."""

    fact: str
    unit: str
    pattern: str


# Counted as they come: one line is one event.
COUNTED = (
    # kernel/hung_task.c; at most ten are printed since boot
    Event(
        "system.kernel.hung_tasks", "{task}", r"INFO: task [^\n]{1,80} blocked (?:in I/O wait )?for more than \d+ sec"
    ),
    # kernel/watchdog.c, kernel/rcu/tree_stall.h
    Event(
        "system.kernel.lockups",
        "{event}",
        r"soft lockup - CPU#\d+ stuck|hard LOCKUP on cpu"
        r"|INFO: rcu\w{0,20} (?:self-)?detected (?:expedited )?stalls? on CPU",
    ),
    # drivers/nvme/host/pci.c; drivers/ata/libata-eh.c; drivers/scsi
    Event(
        "system.disk.timeouts",
        "{event}",
        r"nvme\d+: I/O [^\n]{1,80} timeout, |nvme\d+: controller is down; will reset"
        r"|ata[\d.]+: exception Emask [^\n]{1,120} frozen|hostbyte=DID_TIME_OUT",
    ),
    # block/blk-core.c: the name of the function stood in front until 5.18. Media that can be taken out are no disks.
    Event(
        "system.disk.errors",
        "{error}",
        r"(?:I/O error|critical (?:medium|target|space allocation|nexus) error|protection error)"
        r", dev (?!fd\d|sr\d|loop\d)\w{1,40}, sector",
    ),
    Event(
        "system.filesystem.errors",
        "{error}",
        r"EXT[234]-fs (?:error|\([^)\n]{1,60}\): Remounting filesystem read-only)"
        r"|XFS \([^)\n]{1,60}\): (?:Corruption|Internal error|[Mm]etadata (?:I/O error|corruption)|[Ll]og I/O error"
        r"|Filesystem has been shut down|[\w ]{0,30}[Ss]hutting down filesystem)"
        r"|BTRFS (?:critical|error) \(|Aborting journal on device|JBD2: Detected IO errors",
    ),
    # fs/nfs, net/sunrpc/clnt.c; fs/smb/client; Lustre's ptlrpc
    Event(
        "system.filesystem.server_timeouts",
        "{event}",
        r"nfs: server [^\n]{1,120} not responding|has not responded in \d+ seconds. Reconnecting"
        r"|in progress operations using this service will wait for recovery",
    ),
    # drivers/edac, and arch/x86/kernel/cpu/mce
    Event(
        "system.kernel.machine_checks",
        "{event}",
        r"Machine check events logged|\bCPU ?\d+: Machine Check(?: Exception)?:",
    ),
    Event("hw.pcie.errors.corrected", "{error}", r"PCIe Bus Error: severity=Correct"),
    Event("hw.pcie.errors.uncorrected", "{error}", r"PCIe Bus Error: severity=(?:Uncorrect|Fatal|Non-?[Ff]atal)"),
    Event("hw.gpu.peermem.errors", "{error}", r"nvidia[-_]peermem[^\n]{0,60}(?:ERROR|detected invalid context)"),
)

# A fixed string in every line that matters: they are found first, since that is far faster than patterns are.
WORDS = (
    "blocked for more than |blocked in I/O wait for more|soft lockup|hard LOCKUP|detected stall|"
    "detected expedited stall| timeout, |controller is down|exception Emask|DID_TIME_OUT|error, dev |"
    "EXT4-fs |EXT3-fs |EXT2-fs |XFS (|BTRFS |Aborting journal|JBD2: Det| not responding|"
    "has not responded|operations using this service|Machine check events|Machine Check|"
    "PCIe Bus Error|peermem|Xid (PCI|NVRM: Xid (|Kill process |Killed process |oom-kill:constraint|"
    "off the bus|RmInitAdapter failed|NVRM: The NVIDIA GPU |Kernel panic|Oops|general protection|"
    "invalid opcode|throttled (total|EDAC |ink is |Link up|Link down|link becomes ready|"
    "bandwidth, limited by |] type 0"
).split("|")
KINDS = tuple((event, re.compile(event.pattern)) for event in COUNTED)

SXID = re.compile(
    r"nvswitch\d{1,3}: SXid \(PCI:(?P<switch>[0-9A-Fa-f:.]{1,20})\): (?P<code>\d{1,6}), (?P<fatal>Fatal|Non-fatal)?"
)
OOM = re.compile(
    r"(?P<group>Memory cgroup )?(?P<first>[Oo]ut of memory[^:\n]{0,80}: )?"
    r"Kill(?:ed)? process (?P<pid>\d{1,10})[^(\n]{0,40}\((?P<name>[^)\n]{1,40})\)"
)
OOM_CONSTRAINT = re.compile(
    r"oom-kill:constraint=(?P<kind>CONSTRAINT_\w+),[^\n]*?\btask=(?P<name>[^,\n]{1,40}),pid=(?P<pid>\d{1,10})"
)
RSS = re.compile(r"(?:anon|file|shmem)-rss:(\d{1,15})kB")
LOST = re.compile(
    r"NVRM:? [^\n]{0,40}?(?P<gpu>[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}(?:\.\d)?)[^\n]{0,80}"
    r"(?:fallen off the bus|RmInitAdapter failed)"
)
NAMED = re.compile(r"NVRM: The NVIDIA GPU (?P<gpu>[0-9A-Fa-f:.]{7,16})")
OOPS = re.compile(
    r"(?:Oops(?: - BUG)?: |general protection fault|invalid opcode: )[^\n]{0,80}\[#\d+\]"
    r"|Kernel panic - not syncing: (?!Fatal (?:hardware error|machine check|exception))"
)
PANIC = re.compile(r"Kernel panic - not syncing: ?(?P<why>[^\n]{0,100})")
THROTTLE = re.compile(
    r"CPU ?(?P<cpu>\d{1,5}): [^\n]{0,60}cpu clock (?:is )?throttled \(total events = (?P<total>\d{1,12})"
)
EDAC = re.compile(r"EDAC (?:\w+ )?MC\d+: (?P<count>\d{1,9}) (?P<kind>[CU])E ")
LINK = re.compile(r"(?P<name>\w[\w.@-]{0,30}):? (?:NIC )?[Ll]ink (?:is )?(?P<state>[Uu]p|[Dd]own|becomes ready)\b")
NARROW = re.compile(
    r"(?P<device>[0-9a-f]{4,6}:[0-9a-f]{2}:[0-9a-f]{2}\.\d):? [\d.]{1,12} Gb/s available PCIe bandwidth, limited by "
    r"[\d.]{1,6} GT/s PCIe x(?P<got>\d{1,2}) link at [^(\n]{1,40}\(capable of [\d.]{1,12} Gb/s with "
    r"[\d.]{1,6} GT/s PCIe x(?P<can>\d{1,2}) link"
)
CLASS = re.compile(
    r"pci (?P<device>[0-9a-f]{4,6}:[0-9a-f]{2}:[0-9a-f]{2}\.\d): "
    r"\[(?P<vendor>[0-9a-f]{4}):[0-9a-f]{4}\] type \d\d class 0x(?P<kind>[0-9a-f]{4})"
)

# Lines of a kernel log, by what stands before the text: seconds since boot, a date, a level, a record of /dev/kmsg.
UPTIME = re.compile(r"\[ {0,6}(\d{1,10}\.\d{3,9})\]")
RECORD = re.compile(r"^\d{1,4},\d{1,12},(\d{1,18}),[-c+]", re.MULTILINE)
DATE = re.compile(
    r"^[^\[\n]{0,25}?\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.MULTILINE
)
CTIME = re.compile(r"\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\]")
LINE = re.compile(
    r"^(?:<\d{1,3}>)?\[ {0,6}\d{1,10}\.\d{3,9}\]|^\d{1,4},\d{1,12},\d{1,18},[-c+][^;\n]{0,60};"
    r"|^\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] |^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{6}[+-]\d\d:\d\d "
    r"|^(?:kern|user|daemon|syslog) {0,4}:\w+ {0,4}: |\bkernel: ",
    re.MULTILINE,
)

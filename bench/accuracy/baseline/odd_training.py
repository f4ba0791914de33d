"""Odd but healthy training runs: name -> base job, and the facts that differ. Comments say why it is healthy."""

from __future__ import annotations

from bench.accuracy.baseline.draw import Facts

MIB = 2.0**20
_BUSY: Facts = {"hw.gpu.utilization": 0.99, "hw.gpu.utilization.p5": 0.96}

# fmt: off
RUNS: dict[str, tuple[str, Facts]] = {
    # --- the card ---
    "a 72 W card at its power limit all the time": ("small", {
        "hw.gpu.clock.sm.ratio": 0.44, "hw.gpu.clock.sm": 0.9e9, "hw.gpu.throttle.power_cap.fraction": 1.0,
            "hw.gpu.power": 72.0}),
    "H100s at 700 W": ("node", {  # large matrix products at full power lower the clock on every sound H100
        "hw.gpu.clock.sm.ratio": 0.71, "hw.gpu.clock.sm": 1.41e9, "hw.gpu.throttle.power_cap.fraction": 0.97,
            "hw.gpu.power": 697.0}),
    "application clocks at their highest": ("old", {  # the reason bit is set although nothing is held back
        "hw.gpu.throttle.app_clocks.fraction": 1.0, "hw.gpu.clock.sm.ratio": 1.0, "hw.gpu.clock.sm": 1.53e9}),
    "silicon differs between GPUs of a node": ("node", {"hw.gpu.clock.spread": 0.09,
        "hw.gpu.throttle.power_cap.fraction": 0.6}),
    "a warm desk in summer": ("desk", {
        "hw.gpu.temperature": 82, "hw.gpu.temperature.margin": 6, "hw.gpu.throttle.sw_thermal.fraction": 0.01}),
    "a card in the second slot of a desktop board": ("desk", {  # 8 lanes are plenty for images of one card
        "hw.gpu.pcie.link.width": 8, "hw.gpu.pcie.link.width.max": 16, "hw.gpu.pcie.link.width.ratio": 0.5,
            "hw.pcie.link.narrow.count": 1}),
    "a remapped row of last year": ("gpu", {"hw.gpu.row_remap.uncorrectable": 1}),
    "a notebook of another user was stopped": ("gpu", {"hw.gpu.xid.last": 45, "hw.gpu.xid.count": 1}),
    "retired pages long ago": ("old", {"hw.gpu.retired_pages.count": 6}),
    "exclusive compute mode": ("gpu", {"hw.gpu.compute_mode": "exclusive_process"}),
    "no RDMA adapter is near, and none is used": ("gpu", {
        "hw.gpu.nic.worst_path": "SYS", "hw.network.rdma.port.active": False, "process.memlock.limit": 65536.0}),
    # a DGX has storage ports to spare
    "a spare InfiniBand port without a cable": ("many", {"hw.network.rdma.port.active": False}),
    "video decoded on the card": ("gpu", {"hw.gpu.decoder.utilization": 0.55, "hw.gpu.pcie.rx.rate": 6e9}),
    # --- the host ---
    # that governor raises the clock with the load, unlike the old one of its name
    "powersave governor of intel_pstate": ("gpu", {
        "system.cpu.frequency.governor": "powersave", "system.cpu.frequency": 3.3e9}),
    "CPUs doze while the GPU works": ("gpu", {"system.cpu.frequency": 1.2e9,
        "system.cpu.frequency.governor": "schedutil"}),
    "neighbours fill the other cores of a Slurm node": ("gpu", {
        "container.cpuset.count": 16, "system.cpu.utilization": 0.93, "system.cpu.user.utilization": 0.87,
            "system.load.per_cpu": 1.1,
        "system.pressure.cpu.some": 0.45, "system.cpu.saturated.count": 230, "process.cpu.utilization": 9.0,
        "process.thread.runnable.per_cpu": 0.6, "process.run_delay.fraction": 0.02}),
    "two percent stolen": ("small", {"system.cpu.steal.utilization": 0.02}),
    "bursts against a CPU quota": ("pod", {"container.cpu.throttled.fraction": 0.04,
        "container.pressure.cpu.some": 0.05}),
    "memory.high was touched once": ("pod", {"container.memory.high_events": 12}),
    "a pod as large as its limit": ("pod", {"container.memory.utilization": 0.9,
        "container.pressure.memory.full": 0.0}),
    "memory that ZFS gives back": ("gpu", {  # its cache counts as used
        "system.memory.available.fraction": 0.08, "system.memory.available": 1.7e11}),
    "cold pages of a desktop in swap": ("desk", {"system.paging.utilization": 0.6,
        "system.paging.swap_in.rate": 2.0}),
    # every epoch reads what the kernel dropped since; reads are ahead of the step
    "a data set twice the memory": ("gpu", {
        "system.paging.refault.rate": 120e3, "process.disk.read.rate": 5e8, "system.disk.read.rate": 5e8,
            "system.memory.cached": 1.7e12}),
    "tokens read through a memory map": ("many", {"system.paging.major_faults.rate": 900.0}),
    "a flash array that is never without a request": ("gpu", {
        "system.disk.utilization": 0.97, "system.disk.queue_depth": 6.0, "system.disk.read.latency": 2.5e-4,
        "system.disk.read.rate": 9e8, "system.pressure.io.some": 0.35, "system.pressure.io.full": 0.02}),
    "a checkpoint is being flushed": ("node", {"system.memory.dirty": 4e10, "system.disk.write.latency": 0.02,
        "system.disk.write.rate": 2.5e9}),
    "the monthly check of the RAID": ("desk", {"system.disk.raid.rebuilding.count": 1}),
    "a large volume nine tenths full": ("gpu", {"system.filesystem.utilization": 0.89,
        "process.data.filesystem.utilization": 0.89}),
    "workers that wait for storage, enough of them": ("gpu", {
        "process.wait.io.fraction": 0.6, "ml.dataloader.batch.time": 1.1, "ml.dataloader.batch.cpu_time": 0.4,
        "config.dataloader.num_workers": 16, "system.pressure.io.some": 0.5}),
    "NFS of the cloud behind a deep prefetch": ("pod", {
        "nfs.client.rpc.rtt": 0.006, "nfs.client.getattr_lookup.fraction": 0.55, "process.wait.nfs.fraction": 0.3}),
    "objects streamed ahead": ("gpu", {
        "config.dataset.format": "stream", "object_store.request.latency": 0.08, "object_store.throttle.rate": 0.02,
        "process.data.filesystem.type": "fuse.gcsfuse", "process.wait.fuse.fraction": 0.4,
            "config.dataloader.prefetch_factor": 8,
        "config.dataset.shards": 2048}),
    "interleaved memory": ("gpu", {"system.numa.remote.fraction": 0.45, "config.numa_bound": False}),
    "many threads that sleep": ("node", {"process.thread.count": 1900, "process.thread.runnable.per_cpu": 0.1}),
    "seven hundred shards open": ("gpu", {
        "process.open_file_descriptor.count": 700, "process.open_file_descriptor.limit": 1024,
            "process.open_file_descriptor.utilization": 0.684}),
    "Docker's small shared memory without workers": ("desk", {
        "system.filesystem.shm.limit": 64 * MIB, "config.dataloader.num_workers": 0,
            "ml.dataloader.batch.time": 0.0012,
        "ml.dataloader.batch.cpu_time": 0.0012, "ml.dataloader.alone.batch.time": 0.0012,
            "config.dataloader.pin_memory": False,
        "config.dataloader.persistent_workers": False, "config.dataloader.dataset": "TensorDataset",
        "process.stack.worker.samples": None, "process.stack.worker.idle.fraction": None}),
    "shared memory half full of batches": ("gpu", {"system.filesystem.shm.utilization": 0.55,
        "config.dataloader.prefetch_factor": 8}),
    # --- Python and the step ---
    "a loop that reads the loss in every step": ("gpu", _BUSY | {
        "ml.step.sync.count": 1, "ml.step.sync.fraction": 0.94, "trace.item.count.per_step": 1,
            "trace.sync.fraction": 0.93,
        "process.code.hotspot.fraction": 0.91, "process.code.interpreter.fraction": 0.12,
            "process.cpu.main_thread.utilization": 1.0}),
    "a loop that runs ahead into a full launch queue": ("gpu", _BUSY | {
        "trace.launch.fraction": 0.88, "trace.stream.queue_length.max": 1024, "ml.step.sync.fraction": 0.0,
        "process.cpu.main_thread.utilization": 1.0, "process.code.hotspot.fraction": 0.5}),
    "threads beside the step want the interpreter": ("gpu", {"process.gil.wait.fraction": 0.3,
        "process.gc.pause.fraction": 0.015}),
    "sequences of all lengths in buckets": ("small", {
        "ml.step.time.cv": 0.42, "ml.step.time.p95": None, "ml.batch.tokens.cv": 0.4, "ml.padding.fraction": 0.07}),
    "logged data time of a loop that runs ahead": ("gpu", _BUSY | {
        "ml.step.data_wait.logged.fraction": 0.25, "ml.step.data_wait.fraction": 0.25,
            "ml.step.data_wait.exposed.fraction": 0.001}),
    "validation after each short epoch": ("gpu", {"ml.evaluation.fraction": 0.08, "ml.evaluation.count": 12}),
    "the first minutes of a compiled run": ("many", {
        "ml.step.count": 25, "ml.initialization.time": 170.0, "ml.compile.time": 110.0, "run.duration": 260.0,
            "process.uptime": 270.0,
        "ml.step.time.cv": 0.3, "ml.step.time.outlier.fraction": None, "ml.step.time.trend": -0.08,
            "process.memory.usage.growth": 0.06,
        "config.compile.enabled": True}),
    "a short run to see whether it starts": ("desk", {
        "ml.step.count": 12, "ml.initialization.time": 14.0, "run.duration": 20.0, "process.uptime": 21.0,
            "ml.step.time.cv": 0.35,
        "ml.step.time.outlier.fraction": None}),
    "a tenth of the step in the optimizer": ("small", {"ml.step.optimizer.fraction": 0.09,
        "trace.optimizer.fraction": 0.09}),
    # --- device memory ---
    "memory taken in advance": ("gpu", {  # JAX and TensorFlow take most of the card when they start
        "run.framework": "jax", "hw.gpu.memory.peak_utilization": 0.97, "hw.gpu.memory.utilization": 0.97,
        **dict.fromkeys(("torch.cuda.memory.allocated.peak", "torch.cuda.memory.reserved.peak",
            "torch.cuda.memory.non_torch"))}),
    "one retry of the allocator in the first validation": ("gpu", {"torch.cuda.memory.alloc_retries": 1}),
    "some allocations for new shapes": ("small", {"torch.cuda.memory.device_alloc.rate": 0.02}),
    "buffers of NCCL on many ranks": ("many", {"torch.cuda.memory.non_torch": 5.5e9}),
    # --- many ranks ---
    "a thousand ranks": ("many", {
        "config.distributed.world_size": 1024, "config.distributed.nodes": 128, "ml.scaling.efficiency": 0.87,
            "ml.lost_time.fraction": 0.05,
        "comm.init.time": 45.0, "ml.rank.step_time.spread": 0.03, "hw.network.rdma.link_downed": 2,
            "hw.network.rdma.symbol_errors": 2}),
    "an interleaved pipeline": ("many", {
        "config.distributed.strategy": "TP+PP", "config.pipeline.stages": 8, "config.pipeline.microbatches": 64,
        "config.pipeline.virtual_stages": 2, "ml.pipeline.wait.fraction": 0.05}),
    "a switch that marks packets": ("many", {"hw.network.roce.cnp_handled.rate": 60.0,
        "hw.network.roce.out_of_sequence.rate": 0.0}),
    "adapters over TCP, gradients of a few megabytes": ("two", {  # only adapters train: little to send
        "config.distributed.nodes": 2, "config.distributed.world_size": 8, "comm.transport": "NET/Socket",
            "comm.interface": "ens5",
        "comm.gdr.enabled": False, "comm.busbw": 1.1e9, "comm.busbw.ratio": 0.8}),
    "small messages far from the link's rate": ("node", {"comm.busbw": 1.4e11, "comm.busbw.ratio": 0.4,
        "comm.busbw.message_size": 8 * MIB, "trace.comm.message_size.median": 8 * MIB}),
    "branches that a batch may skip": ("node", {"config.ddp.find_unused_parameters": True,
        "config.distributed.strategy": "DDP"}),
    "usual variables of NCCL": ("many",
        {"config.nccl.env": "NCCL_DEBUG=WARN NCCL_IB_HCA=mlx5 NCCL_SOCKET_IFNAME=eth0"}),
    # --- choices ---
    "tokenised by the workers": ("small", {"config.tokenize_on_the_fly": True,
        "config.tokenizers.parallelism": False}),
    "an indices mapping nobody waits for": ("small", {"config.dataset.indices_mapping": True,
        "config.dataset.format": "Arrow/Parquet"}),
    "reproducible on purpose": ("gpu", {"config.deterministic": True, "config.cudnn.benchmark": False}),
    # --- small machines ---
    "a hot laptop": ("laptop", {  # passive cooling: the clock settles below what one core reaches
        "system.cpu.frequency": 2.4e9, "system.cpu.throttle.events": 8200, "system.pressure.cpu.some": 0.35,
            "system.load.per_cpu": 1.3}),
    "a laptop on the train": ("laptop", {
        "system.network.tcp.retransmit.fraction": 0.02, "system.network.rtt": 0.08, "system.network.link_downs": 14,
        "system.network.link.speed": 5e6}),
    "a Mac whose GPU computes": ("laptop", {
        "config.model.device": "mps", "process.cpu.utilization": 0.9, "process.cpu.main_thread.utilization": 0.7,
        "system.cpu.utilization": 0.2, "system.cpu.user.utilization": 0.15, "system.load.per_cpu": 0.3,
            "hw.gpu.count": None,
        "process.thread.runnable.per_cpu": 0.15, "system.cpu.saturated.count": 0,
            "torch.cuda.memory.allowed": 1.6e10}),
}
# fmt: on

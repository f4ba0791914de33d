"""How exporters name what they tell about a GPU, and the factor to base units.

DCGM renamed most of its fields; the exporter may use either name, and its releases before 2.0 named them all
in small letters. Its field of the utilization
is in percent under the old name and ambiguous under the new one, so that one is not in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_MIB, _MHZ, _PERCENT = 2.0**20, 1e6, 0.01

# Gauges: key of the state -> factor to base units, then the names, newest first.
Names = Mapping[str, tuple[float, Sequence[str]]]
DCGM: Names = {
    "util": (_PERCENT, ("DCGM_FI_DEV_GPU_UTIL", "dcgm_gpu_utilization")),
    "encoder": (_PERCENT, ("DCGM_FI_DEV_ENC_UTIL", "dcgm_enc_utilization")),
    "decoder": (_PERCENT, ("DCGM_FI_DEV_DEC_UTIL", "dcgm_dec_utilization")),
    "used": (_MIB, ("DCGM_FI_DEV_FB_USED", "dcgm_fb_used")),
    "free": (_MIB, ("DCGM_FI_DEV_FB_FREE", "dcgm_fb_free")),
    "reserved": (_MIB, ("DCGM_FI_DEV_FB_RESERVED",)),
    "total": (_MIB, ("DCGM_FI_DEV_FB_TOTAL",)),
    "power": (1.0, ("DCGM_FI_DEV_BOARD_POWER_WATTS", "DCGM_FI_DEV_POWER_USAGE", "dcgm_power_usage")),
    "limit": (
        1.0,
        (
            "DCGM_FI_DEV_BOARD_POWER_LIMIT_ENFORCED_WATTS",
            "DCGM_FI_DEV_ENFORCED_POWER_LIMIT",
            "DCGM_FI_DEV_BOARD_POWER_LIMIT_REQUESTED_WATTS",
            "DCGM_FI_DEV_POWER_MGMT_LIMIT",
        ),
    ),
    "default": (1.0, ("DCGM_FI_DEV_BOARD_POWER_LIMIT_DEFAULT_WATTS", "DCGM_FI_DEV_POWER_MGMT_LIMIT_DEF")),
    "temperature": (1.0, ("DCGM_FI_DEV_GPU_TEMP_CELSIUS", "DCGM_FI_DEV_GPU_TEMP", "dcgm_gpu_temp")),
    "margin": (1.0, ("DCGM_FI_DEV_GPU_TEMP_MARGIN_CELSIUS", "DCGM_FI_DEV_GPU_TEMP_LIMIT")),
    "sm": (_MHZ, ("DCGM_FI_DEV_SM_CLOCK", "dcgm_sm_clock")),
    "sm_max": (_MHZ, ("DCGM_FI_DEV_MAX_SM_CLOCK",)),
    "gen": (1.0, ("DCGM_FI_DEV_PCIE_LINK_GEN",)),
    "gen_max": (1.0, ("DCGM_FI_DEV_PCIE_MAX_LINK_GEN",)),
    "width": (1.0, ("DCGM_FI_DEV_PCIE_LINK_WIDTH",)),
    "width_max": (1.0, ("DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH",)),
    "persistence": (1.0, ("DCGM_FI_DEV_GPU_PERSISTENCE_MODE", "DCGM_FI_DEV_PERSISTENCE_MODE")),
    "mig": (1.0, ("DCGM_FI_DEV_MIG_MODE",)),
    "ecc": (1.0, ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "dcgm_ecc_dbe_volatile_total")),
    "remap_pending": (1.0, ("DCGM_FI_DEV_ROW_REMAP_PENDING",)),
    "remap_failed": (1.0, ("DCGM_FI_DEV_ROW_REMAP_FAILURE",)),
    "remapped": (1.0, ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",)),
    "xid": (1.0, ("DCGM_FI_DEV_XID_ERROR", "DCGM_FI_DEV_XID_ERRORS", "dcgm_xid_errors")),
    "sm_active": (1.0, ("DCGM_FI_PROF_SM_UTIL_RATIO", "DCGM_FI_PROF_SM_ACTIVE", "dcgm_fi_prof_sm_active")),
    "occupancy": (1.0, ("DCGM_FI_PROF_SM_OCCUPANCY_RATIO", "DCGM_FI_PROF_SM_OCCUPANCY", "dcgm_fi_prof_sm_occupancy")),
    "tensor": (
        1.0,
        ("DCGM_FI_PROF_TENSOR_UTIL_RATIO", "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "dcgm_fi_prof_pipe_tensor_active"),
    ),
    "fp64": (1.0, ("DCGM_FI_PROF_FP64_UTIL_RATIO", "DCGM_FI_PROF_PIPE_FP64_ACTIVE", "dcgm_fi_prof_pipe_fp64_active")),
    "dram": (1.0, ("DCGM_FI_PROF_DRAM_UTIL_RATIO", "DCGM_FI_PROF_DRAM_ACTIVE", "dcgm_fi_prof_dram_active")),
    "engine": (1.0, ("DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")),
    "compute_mode": (1.0, ("DCGM_FI_DEV_COMPUTE_MODE",)),
    # Rates in bytes per second, whatever the exporter's TYPE line says.
    "tx": (1.0, ("DCGM_FI_PROF_PCIE_TX_BYTES", "dcgm_fi_prof_pcie_tx_bytes")),
    "rx": (1.0, ("DCGM_FI_PROF_PCIE_RX_BYTES", "dcgm_fi_prof_pcie_rx_bytes")),
    "nvlink": (1.0, ("DCGM_FI_PROF_NVLINK_TX_BYTES", "dcgm_fi_prof_nvlink_tx_bytes")),
}
SMI: Names = {
    "util": (1.0, ("nvidia_smi_utilization_gpu_ratio",)),
    "encoder": (1.0, ("nvidia_smi_utilization_encoder_ratio",)),
    "decoder": (1.0, ("nvidia_smi_utilization_decoder_ratio",)),
    "used": (1.0, ("nvidia_smi_memory_used_bytes",)),
    "total": (1.0, ("nvidia_smi_memory_total_bytes",)),
    "power": (1.0, ("nvidia_smi_power_draw_watts", "nvidia_smi_power_draw_average_watts")),
    "limit": (1.0, ("nvidia_smi_enforced_power_limit_watts", "nvidia_smi_power_limit_watts")),
    "default": (1.0, ("nvidia_smi_power_default_limit_watts",)),
    "temperature": (1.0, ("nvidia_smi_temperature_gpu",)),
    "margin": (1.0, ("nvidia_smi_temperature_gpu_tlimit",)),
    "sm": (1.0, ("nvidia_smi_clocks_current_sm_clock_hz",)),
    "sm_max": (1.0, ("nvidia_smi_clocks_max_sm_clock_hz",)),
    "gen": (1.0, ("nvidia_smi_pcie_link_gen_gpucurrent", "nvidia_smi_pcie_link_gen_current")),
    "gen_max": (1.0, ("nvidia_smi_pcie_link_gen_max",)),
    "width": (1.0, ("nvidia_smi_pcie_link_width_current",)),
    "width_max": (1.0, ("nvidia_smi_pcie_link_width_max",)),
    "persistence": (1.0, ("nvidia_smi_persistence_mode",)),
    "mig": (1.0, ("nvidia_smi_mig_mode_current",)),
    "ecc": (1.0, ("nvidia_smi_ecc_errors_uncorrected_volatile_total",)),
    "sram": (1.0, ("nvidia_smi_ecc_errors_uncorrected_aggregate_sram",)),
    "remap_pending": (1.0, ("nvidia_smi_remapped_rows_pending",)),
    "remap_failed": (1.0, ("nvidia_smi_remapped_rows_failure",)),
    "remapped": (1.0, ("nvidia_smi_remapped_rows_uncorrectable",)),
    "processes": (1.0, ("nvidia_smi_compute_apps",)),
    "compute_mode": (1.0, ("nvidia_smi_compute_mode",)),
    "tx": (1.0, ("nvidia_smi_pcie_throughput_tx_bytes_per_second",)),
    "rx": (1.0, ("nvidia_smi_pcie_throughput_rx_bytes_per_second",)),
}
TRITON: Names = {
    "util": (1.0, ("nv_gpu_utilization",)),
    "used": (1.0, ("nv_gpu_memory_used_bytes",)),
    "total": (1.0, ("nv_gpu_memory_total_bytes",)),
    "power": (1.0, ("nv_gpu_power_usage",)),
    "limit": (1.0, ("nv_gpu_power_limit",)),
}
# Reasons for low clocks: fact, DCGM's bit, nvidia-smi's word for it.
THROTTLES = (
    ("power_cap", 0x4, "sw_power_cap"),
    ("hw_slowdown", 0x8, "hw_slowdown"),
    ("thermal", 0x20 | 0x40, "thermal"),
    ("sw_thermal", 0x20, "sw_thermal_slowdown"),
    ("hw_thermal", 0x40, "hw_thermal_slowdown"),
    ("power_brake", 0x80, "hw_power_brake_slowdown"),
    ("app_clocks", 0x2, "applications_clocks_setting"),
)
# States rather than levels: a mean over the window of an error code or a mode means nothing.
LATEST = frozenset(
    (
        "xid",
        "ecc",
        "sram",
        "remap_pending",
        "remap_failed",
        "remapped",
        "persistence",
        "mig",
        "processes",
        "compute_mode",
    )
)
# An idle GPU lowers its clocks and its link to save power.
WHILE_BUSY = frozenset(("sm", "sm_max", "gen", "gen_max", "width", "width_max"))

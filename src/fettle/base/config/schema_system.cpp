// Options about the machine: threads, devices, several processes.
#include "fettle/base/config/schema.h"

namespace fettle::schema {
using enum OptionType;
using enum OptionStatus;

Options system_options() {
  return {
      {.name = "threads",
       .aliases = {"num_threads"},
       .type = kInt,
       .help =
           "Threads; unset: OMP_NUM_THREADS, or the cores this process may use. Results do not depend on it",
       .min = 1,
       .max = 4096},
      {.name = "memory_check",
       .type = kChoice,
       .fallback = "refuse",
       .help = "What happens when the predicted memory exceeds what is free",
       .choices = {"refuse", "warn"}},
      {.name = "use_cpu",
       .aliases = {"no_cuda"},
       .type = kBool,
       .fallback = "false",
       .help = "Compute on the CPU (HF)",
       .status = kNoEffect,
       .reason = "computation is on the CPU"},
      refused("use_mps_device", kBool, "false", "Compute on an Apple GPU (old HF)",
              "not available: computation is on the CPU"),
      no_effect("device_map", kString, "null", "Placement of the model", "computation is on the CPU"),
  };
}

Options distributed_options() {
  constexpr std::string_view kOneProcess = "not available yet: training runs in one process";
  constexpr std::string_view kOnlyDistributed = "there is one process";
  constexpr std::string_view kNoRay = "there is no Ray inside";
  return {
      {.name = "deepspeed",
       .type = kString,
       .help = "DeepSpeed settings (HF)",
       .status = kRefused,
       .reason = kOneProcess},
      {.name = "fsdp",
       .type = kString,
       .help = "FSDP (HF)",
       .status = kRefused,
       .reason = kOneProcess,
       .accepted = {"false"}},
      no_effect("fsdp_config", kObject, "null", "FSDP: settings (HF)", kOnlyDistributed),
      no_effect("fsdp_min_num_params", kInt, "0", "FSDP: smallest module (old HF)", kOnlyDistributed),
      no_effect("fsdp_transformer_layer_cls_to_wrap", kString, "null", "FSDP: layer (old HF)",
                kOnlyDistributed),
      no_effect("accelerator_config", kObject, "null", "Accelerate: settings (HF)", kOnlyDistributed),
      refused("parallelism_config", kObject, "null", "Accelerate: parallelism (HF)", kOneProcess),
      no_effect("master_addr", kString, "null", "Address of the first process", kOnlyDistributed),
      no_effect("master_port", kInt, "null", "Port of the first process", kOnlyDistributed),
      no_effect("local_rank", kInt, "-1", "Number of this process (HF)", kOnlyDistributed),
      no_effect("ddp_backend", kString, "null", "DDP: transport (HF)", kOnlyDistributed),
      no_effect("ddp_timeout", kInt, "1800", "DDP: timeout (HF)", kOnlyDistributed),
      no_effect("ddp_find_unused_parameters", kBool, "null", "DDP: unused parameters (HF)", kOnlyDistributed),
      no_effect("ddp_bucket_cap_mb", kInt, "null", "DDP: bucket (HF)", kOnlyDistributed),
      no_effect("ddp_broadcast_buffers", kBool, "null", "DDP: buffers (HF)", kOnlyDistributed),
      no_effect("ddp_static_graph", kBool, "null", "DDP: static graph (HF)", kOnlyDistributed),
      no_effect("dispatch_batches", kBool, "null", "Batches from one process (old HF)", kOnlyDistributed),
      no_effect("split_batches", kBool, "null", "Split batches (old HF)", kOnlyDistributed),
      no_effect("tpu_num_cores", kInt, "null", "TPU cores (old HF)", kOnlyDistributed),
      no_effect("tpu_metrics_debug", kBool, "false", "TPU metrics (old HF)", kOnlyDistributed),
      no_effect("mp_parameters", kString, "null", "SageMaker (old HF)", kOnlyDistributed),
      no_effect("ray_scope", kString, "last", "Ray: result of a search (old HF)", kNoRay),
      no_effect("ray_run_name", kString, "null", "Ray: name of the run", kNoRay),
      no_effect("ray_storage_path", kString, "./saves", "Ray: folder", kNoRay),
      no_effect("ray_storage_filesystem", kString, "null", "Ray: storage", kNoRay),
      no_effect("ray_num_workers", kInt, "1", "Ray: workers", kNoRay),
      no_effect("resources_per_worker", kObject, "null", "Ray: resources", kNoRay),
      no_effect("placement_strategy", kString, "PACK", "Ray: placement", kNoRay),
      no_effect("ray_init_kwargs", kObject, "null", "Ray: arguments", kNoRay),
  };
}

}  // namespace fettle::schema

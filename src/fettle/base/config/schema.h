// The tables behind all_options(), one function a theme. Internal to base/config.
#pragma once
#include <vector>

#include "fettle/base/config/options.h"

namespace fettle::schema {

using Options = std::vector<Option>;

Options model_options();
Options data_options();
Options method_options();
Options lora_options();
Options adapter_options();
Options training_options();
Options optimizer_options();
Options precision_options();
Options logging_options();
Options saving_options();
Options evaluation_options();
Options generation_options();
Options export_options();
Options system_options();
Options quantization_options();
Options preference_options();
Options multimodal_options();
Options tracking_options();
Options distributed_options();
Options other_engine_options();

/// Short forms for keys that exist so that a YAML file of another tool is understood.
inline Option no_effect(std::string_view name, OptionType type, std::string_view fallback,
                        std::string_view help, std::string_view reason) {
  return {.name = name,
          .type = type,
          .fallback = fallback,
          .help = help,
          .status = OptionStatus::kNoEffect,
          .reason = reason};
}
inline Option refused(std::string_view name, OptionType type, std::string_view fallback,
                      std::string_view help, std::string_view reason) {
  return {.name = name,
          .type = type,
          .fallback = fallback,
          .help = help,
          .status = OptionStatus::kRefused,
          .reason = reason};
}

inline constexpr double kMaxCount = 1e9;  ///< steps, samples, tokens: beyond this a number is a mistake

}  // namespace fettle::schema

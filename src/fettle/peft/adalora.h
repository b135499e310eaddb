// What AdaLoRA needs beside its parameters.
#pragma once
#include "fettle/peft/adapter.h"

namespace fettle {

/// Bytes of the smoothed importance of every weight and its spread, which AdaLoRA keeps while it trains; 0
/// for other methods.
uint64_t adalora_state_bytes(const Adapter& adapter);

}  // namespace fettle

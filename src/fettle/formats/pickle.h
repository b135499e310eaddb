// A pickle interpreter that executes nothing: it knows the opcodes that torch.save emits and builds plain
// values. Names of Python objects stay names; the caller decides which calls it understands.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fettle {

struct PickleValue {
  enum class Kind { kNone, kBool, kInt, kFloat, kString, kTuple, kList, kDict, kGlobal, kPersistent, kCall };
  Kind kind = Kind::kNone;
  int64_t integer = 0;              ///< kInt, kBool
  double real = 0;                  ///< kFloat
  std::string text;                 ///< kString; kGlobal and kCall: "module.name"
  std::vector<PickleValue*> items;  ///< kTuple, kList; kCall: arguments; kPersistent: the id
  std::vector<std::pair<PickleValue*, PickleValue*>> pairs;  ///< kDict, and kCall of OrderedDict
};

/// Values live here and are freed together, so a hostile chain of containers cannot recurse in destructors.
using PickleArena = std::deque<PickleValue>;

/// Runs one pickle that starts at `at`; returns its result and moves `at` behind its STOP. Only globals and
/// calls of globals that `allowed` accepts may appear. Error(kBadInput) with the byte offset and the opcode
/// or name refused.
const PickleValue* run_pickle(std::span<const std::byte> data, uint64_t& at, const std::string& origin,
                              PickleArena& arena, const std::function<bool(const std::string&)>& allowed);

}  // namespace fettle

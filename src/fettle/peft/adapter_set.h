// Several adapters on one model by name: loaded, switched, stacked, weighted and unloaded while the base
// stays.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fettle/peft/adapter.h"

namespace fettle {

class AdapterSet {
 public:
  explicit AdapterSet(CausalLM& model) : model_(model) {}
  ~AdapterSet();
  AdapterSet(const AdapterSet&) = delete;
  AdapterSet& operator=(const AdapterSet&) = delete;

  /// Mounts the adapter of a folder, inactive. Error(kUsage) when the name is taken.
  Adapter& load(const std::string& name, const std::filesystem::path& folder);
  void unload(const std::string& name);

  struct Choice {
    std::string name;
    double weight = 1;
  };
  /// Exactly these are active, in the order in which they were loaded. Error(kUsage) for an unknown name, and
  /// when two of them act beside linears (prompts, trained embeddings), which would replace each other.
  void use(const std::vector<Choice>& choices);
  const std::vector<Choice>& in_use() const { return in_use_; }

  std::vector<std::string> names() const;
  bool empty() const { return entries_.empty(); }
  Adapter& at(const std::string& name);
  /// For rows up to `end` of a batch that use `names` alone. With `strict` Error(kUsage) for adapters that
  /// act beside linears: they are there for all rows or for none.
  AdapterRoute route(int64_t end, const std::vector<std::string>& names, bool strict = true);

 private:
  struct Entry {
    std::string name;
    std::unique_ptr<Adapter> adapter;
  };
  CausalLM& model_;
  std::vector<Entry> entries_;
  std::vector<Choice> in_use_;
};

}  // namespace fettle

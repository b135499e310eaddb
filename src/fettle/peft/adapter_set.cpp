#include "fettle/peft/adapter_set.h"

#include <algorithm>

#include "fettle/base/error.h"

namespace fettle {

// The last that was mounted goes first: what it put in the place of a base weight may cover another's.
AdapterSet::~AdapterSet() {
  while (!entries_.empty()) entries_.pop_back();
}

Adapter& AdapterSet::load(const std::string& name, const std::filesystem::path& folder) {
  for (const Entry& entry : entries_)
    if (entry.name == name) fail_usage("an adapter named \"{}\" is already loaded", printable(name));
  // Mounted on the plain base, so that nothing of another adapter counts as the base's own.
  std::vector<Choice> before = in_use_;
  use({});
  std::unique_ptr<Adapter> adapter = Adapter::load(model_, folder);
  adapter->set_active(false);
  entries_.push_back({name, std::move(adapter)});
  use(before);
  return *entries_.back().adapter;
}

void AdapterSet::unload(const std::string& name) {
  at(name).set_active(false);
  std::erase_if(in_use_, [&](const Choice& choice) { return choice.name == name; });
  std::erase_if(entries_, [&](const Entry& entry) { return entry.name == name; });
}

void AdapterSet::use(const std::vector<Choice>& choices) {
  const Entry* alone = nullptr;
  for (const Choice& choice : choices) {
    const Adapter& adapter = at(choice.name);
    if (adapter.acts_beside_linears().empty()) continue;
    for (const Entry& entry : entries_) {
      if (entry.adapter.get() != &adapter) continue;
      if (alone)
        fail_usage("\"{}\" ({}) and \"{}\" ({}) cannot be active together", alone->name,
                   alone->adapter->acts_beside_linears(), entry.name, adapter.acts_beside_linears());
      alone = &entry;
    }
  }
  for (Entry& entry : entries_) {
    auto choice =
        std::find_if(choices.begin(), choices.end(), [&](const Choice& c) { return c.name == entry.name; });
    if (choice != choices.end()) entry.adapter->set_weight(choice->weight);
    if (entry.adapter->active() != (choice != choices.end()))
      entry.adapter->set_active(choice != choices.end());
  }
  in_use_ = choices;
}

std::vector<std::string> AdapterSet::names() const {
  std::vector<std::string> all;
  for (const Entry& entry : entries_) all.push_back(entry.name);
  return all;
}

Adapter& AdapterSet::at(const std::string& name) {
  for (Entry& entry : entries_)
    if (entry.name == name) return *entry.adapter;
  fail_usage("no adapter named \"{}\" is loaded; loaded: {}", printable(name),
             entries_.empty() ? "none" : fmt::format("{}", fmt::join(names(), ", ")));
}

AdapterRoute AdapterSet::route(int64_t end, const std::vector<std::string>& names, bool strict) {
  AdapterRoute route{.end = end, .owners = {}};
  for (const std::string& name : names) {
    Adapter& adapter = at(name);
    if (std::string what = adapter.acts_beside_linears(); strict && !what.empty())
      fail_usage("adapter \"{}\" cannot be used by single rows of a batch: {}", printable(name), what);
    route.owners.push_back(adapter.route_owner());
  }
  return route;
}

}  // namespace fettle

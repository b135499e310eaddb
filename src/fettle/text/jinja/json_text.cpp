// json.dumps.
#include <algorithm>
#include <cmath>

#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

class Writer {
 public:
  Writer(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void write(const Value& value, int depth) {
    runtime_.tick();
    // 16 MiB of output bound the work; the namespace is the only value that could recurse, and is refused
    // below.
    if (out.size() > runtime_.limits.max_output) runtime_.reserve(out.size());
    switch (value.kind()) {
      case Kind::kNone:
        out += "null";
        break;
      case Kind::kBool:
        out += value.as_bool() ? "true" : "false";
        break;
      case Kind::kInt:
        out += fmt::format("{}", value.as_int());
        break;
      case Kind::kFloat:
        number(value.as_double());
        break;
      case Kind::kString:
        text(value.text());
        break;
      case Kind::kList:
      case Kind::kTuple:
        array(value.items(), depth);
        break;
      case Kind::kDict:
        object(value, depth);
        break;
      default:
        fail("Object of type {} is not JSON serializable", type_name(value));
    }
  }

  std::string out;

 private:
  void number(double value) {
    if (std::isnan(value))
      out += "NaN";
    else if (std::isinf(value))
      out += value < 0 ? "-Infinity" : "Infinity";
    else
      out += float_repr(value);
  }

  void text(std::string_view text) {
    out += '"';
    for (size_t pos = 0; pos < text.size();) {
      size_t begin = pos;
      char32_t c = next_char(text, pos);
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\f':
          out += "\\f";
          break;
        case '\b':
          out += "\\b";
          break;
        default:
          if (c < 0x20 || (style_.ensure_ascii && c > 0x7E && c < 0x10000 && c != 0x7F)) {
            out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
          } else if (style_.ensure_ascii && c >= 0x10000) {
            uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
            out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
          } else {
            out += text.substr(begin, pos - begin);
          }
      }
    }
    out += '"';
  }

  void line(int depth) {
    if (!style_.pretty) return;
    out += '\n';
    runtime_.tick(1 + style_.indent.size() * static_cast<size_t>(depth) / 64);
    for (int i = 0; i < depth; ++i) out += style_.indent;
  }

  void array(const Values& items, int depth) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) out += style_.item_separator;
      line(depth + 1);
      write(items[i], depth + 1);
    }
    line(depth);
    out += ']';
  }

  static std::string key_text(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        return key.text();
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return key.as_bool() ? "true" : "false";
      case Kind::kInt:
      case Kind::kFloat:
        return str(key);
      default:
        fail("keys must be text, numbers, booleans or none, not {}", type_name(key));
    }
  }

  void object(const Value& dict, int depth) {
    if (dict.entries().empty()) {
      out += "{}";
      return;
    }
    std::vector<const Entry*> entries;
    for (const Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      // Checked first: a comparison must not throw inside the sort.
      for (const Entry* entry : entries) runtime_.compare(entry->first, entries[0]->first);
      std::stable_sort(entries.begin(), entries.end(), [&](const Entry* a, const Entry* b) {
        return runtime_.compare(a->first, b->first) < 0;
      });
    }
    out += '{';
    bool first = true;
    for (const Entry* entry : entries) {
      if (!first) out += style_.item_separator;
      first = false;
      line(depth + 1);
      text(key_text(entry->first));
      out += style_.key_separator;
      write(entry->second, depth + 1);
    }
    line(depth);
    out += '}';
  }

  Runtime& runtime_;
  const JsonStyle& style_;
};

}  // namespace

std::string json_text(Runtime& runtime, const Value& value, const JsonStyle& style) {
  Writer writer(runtime, style);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace fettle::jinja

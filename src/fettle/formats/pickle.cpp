#include "fettle/formats/pickle.h"

#include <bit>
#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/base/utf8.h"

namespace fettle {
namespace {

using Kind = PickleValue::Kind;
constexpr uint64_t kMaxText = 1 << 20;
// A state dict of 10,000 tensors needs about 200,000 values. The bounds keep a hostile program within a few
// hundred megabytes: each value takes about 100 bytes, and a short opcode may copy the items of a long tuple.
constexpr size_t kMaxValues = 2'000'000, kMaxCallItems = 64, kMaxStack = 4'000'000;

class Machine {
 public:
  Machine(std::span<const std::byte> data, uint64_t at, const std::string& origin, PickleArena& arena,
          const std::function<bool(const std::string&)>& allowed)
      : data_(data), at_(at), origin_(origin), arena_(arena), allowed_(allowed) {}

  const PickleValue* run() {
    while (true) {
      start_ = at_;
      int opcode = static_cast<int>(unsigned_number(1));
      if (opcode == '.') return pop();
      execute(opcode);
    }
  }
  uint64_t position() const { return at_; }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_input("{}: pickle at byte {}: {}", origin_, start_,
               fmt::format(format, std::forward<Args>(args)...));
  }

  void execute(int opcode) {
    switch (opcode) {
      case 0x80:
        unsigned_number(1);
        return;  // PROTO
      case 0x95:
        unsigned_number(8);
        return;  // FRAME
      case 'N':
        push(Kind::kNone);
        return;
      case 0x88:
        push(Kind::kBool)->integer = 1;
        return;
      case 0x89:
        push(Kind::kBool);
        return;
      case 'K':
        push(Kind::kInt)->integer = static_cast<int64_t>(unsigned_number(1));
        return;
      case 'M':
        push(Kind::kInt)->integer = static_cast<int64_t>(unsigned_number(2));
        return;
      case 'J':
        push(Kind::kInt)->integer = static_cast<int32_t>(unsigned_number(4));
        return;
      case 0x8a:
        push_long(unsigned_number(1));
        return;  // LONG1
      case 'G':
        push_float();
        return;
      case 'X':
        push(Kind::kString)->text = text(unsigned_number(4));
        return;
      case 0x8c:
        push(Kind::kString)->text = text(unsigned_number(1));
        return;
      case 'T':
        push(Kind::kString)->text = text(unsigned_number(4));
        return;
      case 'U':
        push(Kind::kString)->text = text(unsigned_number(1));
        return;
      case '(':
        if (marks_.size() >= kMaxStack) fail("more than {} open marks", kMaxStack);
        marks_.push_back(stack_.size());
        return;
      case ')':
        push(Kind::kTuple);
        return;
      case 't':
        push_tuple(pop_to_mark());
        return;
      case 0x85:
        push_tuple(pop_many(1));
        return;
      case 0x86:
        push_tuple(pop_many(2));
        return;
      case 0x87:
        push_tuple(pop_many(3));
        return;
      case ']':
        push(Kind::kList);
        return;
      case 'a':
        append(pop_many(1));
        return;
      case 'e':
        append(pop_to_mark());
        return;
      case '}':
        push(Kind::kDict);
        return;
      case 's':
        set_items(pop_many(2));
        return;
      case 'u':
        set_items(pop_to_mark());
        return;
      case 'q':
        memo_[unsigned_number(1)] = top();
        return;
      case 'r':
        memo_[unsigned_number(4)] = top();
        return;
      case 0x94:
        memo_[memo_.size()] = top();
        return;  // MEMOIZE
      case 'h':
        push_memo(unsigned_number(1));
        return;
      case 'j':
        push_memo(unsigned_number(4));
        return;
      case '0':
        pop();
        return;
      case 'c': {
        std::string module = line();
        push_global(module + "." + line());
        return;
      }
      case 0x93: {  // STACK_GLOBAL
        std::vector<PickleValue*> names = pop_many(2);
        if (names[0]->kind != Kind::kString || names[1]->kind != Kind::kString)
          fail("STACK_GLOBAL without names");
        push_global(names[0]->text + "." + names[1]->text);
        return;
      }
      case 'Q': {
        PickleValue* id = pop();
        if (id->kind != Kind::kTuple || id->items.size() > kMaxCallItems)
          fail("persistent id is not a short tuple");
        push(Kind::kPersistent)->items = id->items;
        return;
      }
      case 'R': {
        std::vector<PickleValue*> call = pop_many(2);
        if (call[0]->kind != Kind::kGlobal || call[1]->kind != Kind::kTuple)
          fail("REDUCE of something that is not a named function");
        if (call[1]->items.size() > kMaxCallItems)
          fail("{} called with {} arguments", call[0]->text, call[1]->items.size());
        PickleValue* result = push(Kind::kCall);
        result->text = call[0]->text;
        result->items = call[1]->items;
        return;
      }
      case 'b': {  // BUILD: the state of an OrderedDict is module metadata, which nothing here needs
        PickleValue* state = pop();
        if (state->kind != Kind::kDict || !is_ordered_dict(*top()))
          fail("BUILD of an object; only state dicts of tensors are read");
        return;
      }
      default:
        fail(
            "opcode 0x{:02x} is not one that a state dict of tensors needs; the file is refused, nothing was "
            "run",
            opcode);
    }
  }

  static bool is_ordered_dict(const PickleValue& value) {
    return value.kind == Kind::kCall && value.text == "collections.OrderedDict";
  }
  uint64_t unsigned_number(int width) {
    if (data_.size() - at_ < static_cast<uint64_t>(width)) fail("the data ends here; the file is cut off");
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; --i)
      value = value << 8 | static_cast<uint8_t>(data_[at_ + static_cast<uint64_t>(i)]);
    at_ += static_cast<uint64_t>(width);
    return value;
  }
  std::string text(uint64_t length) {
    if (length > kMaxText || length > data_.size() - at_) fail("a text of {} bytes does not fit", length);
    std::string out(reinterpret_cast<const char*>(data_.data()) + at_, length);
    at_ += length;
    if (first_invalid_utf8(out) != out.npos) fail("a text that is not UTF-8");
    return out;
  }
  std::string line() {
    std::string out;
    while (out.size() <= 1024) {
      char c = static_cast<char>(unsigned_number(1));
      if (c == '\n') return out;
      out += c;
    }
    fail("a name longer than 1024 bytes");
  }
  void push_long(uint64_t length) {
    if (length > data_.size() - at_) fail("the data ends here");
    // The magic number of the legacy format has 10 bytes; its low 64 bits are enough to know it.
    uint64_t value = 0;
    bool negative = false;
    for (uint64_t i = 0; i < length; ++i) {
      uint64_t byte = unsigned_number(1);
      if (i < 8) value |= byte << (8 * i);
      negative = byte & 0x80;
    }
    if (negative && length < 8) value |= length ? ~uint64_t{0} << (8 * length) : 0;
    push(Kind::kInt)->integer = static_cast<int64_t>(value);
  }
  void push_float() {
    uint64_t bits = 0;
    for (int i = 0; i < 8; ++i) bits = bits << 8 | unsigned_number(1);
    push(Kind::kFloat)->real = std::bit_cast<double>(bits);
  }
  void push_global(const std::string& name) {
    if (!allowed_(name))
      fail("\"{}\" is not needed for tensors; the file is refused, nothing was run", printable(name));
    push(Kind::kGlobal)->text = name;
  }
  PickleValue* push(Kind kind) {
    if (arena_.size() >= kMaxValues) fail("more than {} values", kMaxValues);
    arena_.emplace_back().kind = kind;
    push_existing(&arena_.back());
    return stack_.back();
  }
  void push_existing(PickleValue* value) {
    if (stack_.size() >= kMaxStack) fail("more than {} values on the stack", kMaxStack);
    stack_.push_back(value);
  }
  void push_tuple(std::vector<PickleValue*> items) { push(Kind::kTuple)->items = std::move(items); }
  void push_memo(uint64_t key) {
    auto found = memo_.find(key);
    if (found == memo_.end()) fail("memo {} is empty", key);
    push_existing(found->second);
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue* top() {
    if (stack_.size() <= floor()) fail("the stack is empty");
    return stack_.back();
  }
  PickleValue* pop() {
    PickleValue* value = top();
    stack_.pop_back();
    return value;
  }
  std::vector<PickleValue*> pop_many(size_t count) {
    if (stack_.size() < floor() + count) fail("the stack is empty");
    std::vector<PickleValue*> values(stack_.end() - static_cast<ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return values;
  }
  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) fail("no mark on the stack");
    std::vector<PickleValue*> values = pop_many(stack_.size() - marks_.back());
    marks_.pop_back();
    return values;
  }
  void append(const std::vector<PickleValue*>& values) {
    if (top()->kind != Kind::kList) fail("APPEND to something that is not a list");
    top()->items.insert(top()->items.end(), values.begin(), values.end());
  }
  void set_items(const std::vector<PickleValue*>& values) {
    if ((top()->kind != Kind::kDict && !is_ordered_dict(*top())) || values.size() % 2 != 0)
      fail("SETITEMS on something that is not a dict");
    for (size_t i = 0; i < values.size(); i += 2) top()->pairs.emplace_back(values[i], values[i + 1]);
  }

  std::span<const std::byte> data_;
  uint64_t at_, start_ = 0;
  const std::string& origin_;
  PickleArena& arena_;
  const std::function<bool(const std::string&)>& allowed_;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

}  // namespace

const PickleValue* run_pickle(std::span<const std::byte> data, uint64_t& at, const std::string& origin,
                              PickleArena& arena, const std::function<bool(const std::string&)>& allowed) {
  Machine machine(data, at, origin, arena, allowed);
  const PickleValue* result = machine.run();
  at = machine.position();
  return result;
}

}  // namespace fettle

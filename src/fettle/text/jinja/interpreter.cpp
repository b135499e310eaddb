#include <algorithm>
#include <utility>

#include "fettle/base/error.h"
#include "fettle/text/jinja/jinja.h"
#include "fettle/text/jinja/lexer.h"
#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"
#include "fettle/text/jinja/syntax.h"

namespace fettle::jinja {

/// Variables of one block, with the block around it.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<Symbol, Value>> variables;
  bool is_captured = false;

  explicit Scope(std::shared_ptr<Scope> parent) : parent(std::move(parent)) {}
  void set(Symbol symbol, Value value) {
    for (auto& [name, old] : variables)
      if (name == symbol) return void(old = std::move(value));
    variables.emplace_back(symbol, std::move(value));
  }
};

namespace {

using ScopePtr = std::shared_ptr<Scope>;

constexpr uint32_t kMaxEvalDepth = 3000;  // about 1 KiB of stack each

enum class Flow : uint8_t { kNext, kBreak, kContinue };

class Interpreter;

/// A macro or the `caller` of a call block.
struct Macro : Callable {
  Interpreter* interpreter = nullptr;
  const Stmt* definition = nullptr;
  ScopePtr scope;
  Value call(Runtime& runtime, Arguments& arguments) override;
  Value attribute(std::string_view name) override;
};

class Interpreter : public Runtime {
 public:
  Interpreter(const Program& program, const Limits& limits, const RenderOptions& options)
      : Runtime(limits, options), program_(program) {}

  ~Interpreter() override {
    // Scopes, namespaces and loops may refer to each other in circles: empty them one by one.
    for (const auto& scope : captured) scope->variables.clear();
    for (const auto& space : namespaces) space->attributes.clear();
    for (const auto& loop : remembering_loops) loop->last_changed.clear();
    for (const auto& scope : captured) scope->parent.reset();
  }

  Rendered run(const Value& context) {
    Rendered out;
    ScopePtr root = std::make_shared<Scope>(nullptr);
    for (const Entry& entry : context.entries()) {
      if (!entry.first.is_string()) continue;
      auto it = program_.symbol_of.find(entry.first.text());
      if (it != program_.symbol_of.end()) root->set(it->second, entry.second);
    }
    root_out_ = &out.text;
    spans_ = &out.generation;
    block(program_.body, root, out.text);
    return out;
  }

  Value call_macro(const Macro& macro, Arguments& arguments);
  Value call_loop(Loop& loop, const Value& items) override {
    std::string out;
    run_loop(*loop.statement, loop.scope, items, loop.nesting + 1, out);
    return text(std::move(out));
  }

 private:
  struct Level {
    explicit Level(Interpreter& interpreter) : interpreter(interpreter) {
      interpreter.tick();
      if (++interpreter.eval_depth > kMaxEvalDepth) fail("the template's evaluation is nested too deeply");
    }
    ~Level() { --interpreter.eval_depth; }
    Interpreter& interpreter;
  };

  void append(std::string& out, std::string_view piece) {
    if (out.size() + piece.size() > limits.max_output)
      fail("the template writes more than {} bytes", limits.max_output);
    memory += piece.size();
    if (memory > limits.max_memory)
      fail("the template needs more than {} bytes of memory", limits.max_memory);
    tick(piece.size() / 256);
    out += piece;
  }

  // ---- statements
  Flow block(const Body& body, const ScopePtr& scope, std::string& out) {
    for (const auto& node : body) {
      Flow flow = statement(*node, scope, out);
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow statement(const Stmt& node, const ScopePtr& scope, std::string& out) {
    Level level(*this);
    at = node.at;
    switch (node.kind) {
      case StmtKind::kText:
        append(out, node.text);
        return Flow::kNext;
      case StmtKind::kPrint:
        print(node, scope, out);
        return Flow::kNext;
      case StmtKind::kIf:
        for (size_t i = 0; i < node.exprs.size(); ++i)
          if (truthy(eval(*node.exprs[i], scope))) return block(node.bodies[i], scope, out);
        return node.bodies.size() > node.exprs.size() ? block(node.bodies.back(), scope, out) : Flow::kNext;
      case StmtKind::kFor:
        run_loop(node, scope, eval(*node.exprs[0], scope), 0, out);
        return Flow::kNext;
      case StmtKind::kSet:
        assign(node.targets[0], eval(*node.exprs[0], scope), scope);
        return Flow::kNext;
      case StmtKind::kSetBlock: {
        Value value = text(captured_block(node, scope));
        if (node.exprs[0]) value = eval_filters(*node.exprs[0], scope, value);
        assign(node.targets[0], std::move(value), scope);
        return Flow::kNext;
      }
      case StmtKind::kFilterBlock: {
        Value value = text(captured_block(node, scope));
        append(out, str(eval_filters(*node.exprs[0], scope, value)));
        return Flow::kNext;
      }
      case StmtKind::kMacro:
        scope->set(node.symbol, make_macro(node, scope));
        return Flow::kNext;
      case StmtKind::kCallBlock: {
        Value caller = make_macro(node, scope);
        append(out, str(eval_call(*node.exprs[0], scope, &caller)));
        return Flow::kNext;
      }
      case StmtKind::kWith: {
        ScopePtr inner = std::make_shared<Scope>(scope);
        for (size_t i = 0; i < node.targets.size(); ++i)
          assign(node.targets[i], eval(*node.exprs[i], scope), inner);
        return block(node.bodies[0], inner, out);
      }
      case StmtKind::kScope:
        return block(node.bodies[0], std::make_shared<Scope>(scope), out);
      case StmtKind::kGeneration: {
        size_t begin = root_out_->size();
        std::string inside = captured_block(node, scope);
        spans_->push_back({begin, begin + inside.size(), 0, 0});
        append(out, inside);
        return Flow::kNext;
      }
      case StmtKind::kBreak:
        return Flow::kBreak;
      case StmtKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  void print(const Stmt& node, const ScopePtr& scope, std::string& out) {
    Value value = eval(*node.exprs[0], scope);
    if (value.is_string())
      append(out, value.text());
    else
      append(out, str(value));
  }

  std::string captured_block(const Stmt& node, const ScopePtr& scope) {
    std::string out;
    block(node.bodies[0], std::make_shared<Scope>(scope), out);
    return out;
  }

  Value make_macro(const Stmt& node, const ScopePtr& scope) {
    auto macro = std::make_shared<Macro>();
    macro->interpreter = this;
    macro->definition = &node;
    macro->scope = scope;
    for (ScopePtr s = scope; s && !s->is_captured; s = s->parent) {
      s->is_captured = true;
      captured.push_back(s);
      tick(8);
    }
    return Value::object(Kind::kCallable, std::move(macro));
  }

  void assign(const Target& target, Value value, const ScopePtr& scope) {
    at = target.at;
    if (target.is_tuple) {
      Values items = unpack(value, target.parts.size());
      for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], std::move(items[i]), scope);
    } else if (target.attribute.empty()) {
      scope->set(target.symbol, std::move(value));
    } else {
      assign_attribute(target, std::move(value), scope);
    }
  }

  Values unpack(const Value& value, size_t count) {
    require_defined(value);
    Values items = iterate(value);
    if (items.size() != count)
      fail("{} values to unpack ({} expected, {} found)", items.size() > count ? "too many" : "not enough",
           count, items.size());
    return items;
  }

  void assign_attribute(const Target& target, Value value, const ScopePtr& scope) {
    Value space = lookup(target.symbol, scope);
    if (space.kind() != Kind::kNamespace)
      fail("cannot assign attribute '{}' on a non-namespace", target.attribute);
    if (target.attribute[0] == '_')
      fail("a namespace cannot hold the underscore name '{}'", target.attribute);
    auto& attributes = space.as<Namespace>().attributes;
    for (auto& [name, old] : attributes)
      if (name == target.attribute) return void(old = std::move(value));
    attributes.emplace_back(target.attribute, std::move(value));
  }

  void run_loop(const Stmt& node, const ScopePtr& scope, const Value& iterable, uint32_t nesting,
                std::string& out) {
    Values items = iterate(iterable);
    if (node.condition) {
      Values kept;
      for (Value& item : items) {
        ScopePtr inner = std::make_shared<Scope>(scope);
        assign(node.targets[0], item, inner);
        if (truthy(eval(*node.condition, inner))) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    auto loop = std::make_shared<Loop>();
    loop->depth = container_depth(items);
    loop->items = std::move(items);
    loop->nesting = nesting;
    if (node.recursive) {
      loop->statement = &node;
      loop->scope = scope;
    }
    Value loop_value = Value::object(Kind::kLoop, loop);
    for (size_t i = 0; i < loop->items.size(); ++i) {
      loop->index = i;
      ScopePtr inner = std::make_shared<Scope>(scope);
      inner->set(kLoopSymbol, loop_value);
      assign(node.targets[0], loop->items[i], inner);
      if (block(node.bodies[0], inner, out) == Flow::kBreak) break;
    }
    if (loop->items.empty() && node.bodies.size() > 1)
      block(node.bodies[1], std::make_shared<Scope>(scope), out);
  }

  // ---- expressions
  Value lookup(Symbol symbol, const ScopePtr& scope) {
    for (const Scope* s = scope.get(); s; s = s->parent.get())
      for (const auto& [name, value] : s->variables)
        if (name == symbol) return value;
    const std::string& name = program_.symbols[symbol];
    Value global = find_global(name);
    return global.is_undefined() ? Value::undefined(fmt::format("'{}' is undefined", printable(name, 60)))
                                 : global;
  }

  Value eval(const Expr& node, const ScopePtr& scope) {
    Level level(*this);
    switch (node.kind) {
      case ExprKind::kConst:
        return node.constant;
      case ExprKind::kName:
        at = node.at;
        return lookup(node.symbol, scope);
      case ExprKind::kList:
      case ExprKind::kTuple:
        return eval_sequence(node, scope);
      case ExprKind::kDict:
        return eval_dict(node, scope);
      case ExprKind::kAttribute: {
        Value object = eval(*node.operands[0], scope);
        at = node.at;
        return attribute(object, node.name);
      }
      case ExprKind::kItem:
        return eval_item(node, scope);
      case ExprKind::kCall:
        return eval_call(node, scope, nullptr);
      case ExprKind::kFilter:
        return eval_filters(node, scope, Value());
      case ExprKind::kTest:
        return eval_test(node, scope);
      case ExprKind::kUnary: {
        Value operand = eval(*node.operands[0], scope);
        at = node.at;
        return unary(node.op, operand);
      }
      case ExprKind::kBinary: {
        Value left = eval(*node.operands[0], scope), right = eval(*node.operands[1], scope);
        at = node.at;
        return binary(node.op, left, right);
      }
      case ExprKind::kConcat:
        return eval_concat(node, scope);
      case ExprKind::kCompare:
        return eval_compare(node, scope);
      case ExprKind::kAnd: {
        Value left = eval(*node.operands[0], scope);
        return truthy(left) ? eval(*node.operands[1], scope) : left;
      }
      case ExprKind::kOr: {
        Value left = eval(*node.operands[0], scope);
        return truthy(left) ? left : eval(*node.operands[1], scope);
      }
      case ExprKind::kNot:
        return Value(!truthy(eval(*node.operands[0], scope)));
      case ExprKind::kConditional:
        if (truthy(eval(*node.operands[0], scope))) return eval(*node.operands[1], scope);
        if (node.operands[2]) return eval(*node.operands[2], scope);
        return Value::undefined("the inline if-expression has no else and its condition is false");
      case ExprKind::kSlice:
        fail("a slice can only stand inside []");
    }
    return Value();
  }

  Value eval_sequence(const Expr& node, const ScopePtr& scope) {
    Values items;
    items.reserve(node.operands.size());
    for (const ExprPtr& operand : node.operands) items.push_back(eval(*operand, scope));
    at = node.at;
    reserve(items.size() * sizeof(Value));
    return node.kind == ExprKind::kList ? Value::list(std::move(items)) : Value::tuple(std::move(items));
  }

  Value eval_dict(const Expr& node, const ScopePtr& scope) {
    std::vector<Entry> entries;
    for (size_t i = 0; i + 1 < node.operands.size(); i += 2) {
      Value key = eval(*node.operands[i], scope);
      if (!hashable(key)) fail("unhashable type: '{}'", type_name(key));
      entries.emplace_back(std::move(key), eval(*node.operands[i + 1], scope));
    }
    at = node.at;
    reserve(entries.size() * sizeof(Entry));
    return Value::dict(std::move(entries));
  }

  Value eval_item(const Expr& node, const ScopePtr& scope) {
    Value object = eval(*node.operands[0], scope);
    const Expr& index = *node.operands[1];
    if (index.kind != ExprKind::kSlice) {
      Value key = eval(index, scope);
      at = node.at;
      return item(object, key);
    }
    Value bounds[3];
    for (int i = 0; i < 3; ++i)
      bounds[i] = index.operands[static_cast<size_t>(i)]
                      ? eval(*index.operands[static_cast<size_t>(i)], scope)
                      : Value(nullptr);
    at = node.at;
    return slice(object, bounds[0], bounds[1], bounds[2]);
  }

  Arguments eval_arguments(const std::vector<Argument>& given, const ScopePtr& scope) {
    Arguments out;
    for (const Argument& argument : given) {
      Value value = eval(*argument.value, scope);
      switch (argument.form) {
        case Argument::Form::kPositional:
          out.positional.push_back(std::move(value));
          break;
        case Argument::Form::kKeyword:
          add_keyword(out, argument.name, std::move(value));
          break;
        case Argument::Form::kStar: {
          require_defined(value);
          for (Value& item : iterate(value)) out.positional.push_back(std::move(item));
          break;
        }
        case Argument::Form::kDoubleStar:
          require_defined(value);
          if (!value.is_dict()) fail("the argument after ** must be a mapping, not {}", type_name(value));
          for (const Entry& entry : value.entries())
            add_keyword(out, to_text(entry.first, "a keyword"), entry.second);
      }
    }
    return out;
  }

  static void add_keyword(Arguments& arguments, const std::string& name, Value value) {
    for (const auto& keyword : arguments.keywords)
      if (keyword.first == name) fail("got multiple values for keyword argument '{}'", printable(name, 40));
    arguments.keywords.emplace_back(name, std::move(value));
  }

  Value eval_call(const Expr& node, const ScopePtr& scope, const Value* caller) {
    Value callee = eval(*node.operands[0], scope);
    Arguments arguments = eval_arguments(node.arguments, scope);
    if (caller) add_keyword(arguments, "caller", *caller);
    at = node.at;
    return call(callee, arguments);
  }

  /// A chain of filters whose innermost subject is `subject` when the chain has none of its own.
  Value eval_filters(const Expr& node, const ScopePtr& scope, const Value& subject) {
    Value inner = !node.operands[0] ? subject
                  : node.operands[0]->kind == ExprKind::kFilter
                      ? eval_nested_filter(*node.operands[0], scope, subject)
                      : eval(*node.operands[0], scope);
    Arguments arguments = eval_arguments(node.arguments, scope);
    at = node.at;
    if (!node.filter) fail("no filter named '{}'", printable(node.name, 40));
    return node.filter(*this, inner, arguments);
  }
  Value eval_nested_filter(const Expr& node, const ScopePtr& scope, const Value& subject) {
    Level level(*this);
    return eval_filters(node, scope, subject);
  }

  Value eval_test(const Expr& node, const ScopePtr& scope) {
    Value subject = eval(*node.operands[0], scope);
    Arguments arguments = eval_arguments(node.arguments, scope);
    at = node.at;
    if (!node.test) fail("no test named '{}'", printable(node.name, 40));
    return Value(node.test(*this, subject, arguments));
  }

  Value eval_concat(const Expr& node, const ScopePtr& scope) {
    std::string out;
    for (const ExprPtr& operand : node.operands) {
      Value value = eval(*operand, scope);
      at = node.at;
      append(out, value.is_string() ? value.text() : str(value));
    }
    return Value(std::move(out));
  }

  Value eval_compare(const Expr& node, const ScopePtr& scope) {
    Value left = eval(*node.operands[0], scope);
    for (size_t i = 0; i < node.operators.size(); ++i) {
      Value right = eval(*node.operands[i + 1], scope);
      at = node.at;
      if (!holds(node.operators[i], left, right)) return Value(false);
      left = std::move(right);
    }
    return Value(true);
  }

  bool holds(Operator op, const Value& a, const Value& b) {
    switch (op) {
      case Operator::kEq:
        return equal(a, b);
      case Operator::kNe:
        return !equal(a, b);
      case Operator::kIn:
        return contains(b, a);
      case Operator::kNotIn:
        return !contains(b, a);
      default:
        break;
    }
    bool unordered =
        a.is_number() && b.is_number() && (a.as_double() != a.as_double() || b.as_double() != b.as_double());
    if (unordered) return false;
    int order = compare(a, b);
    return op == Operator::kLt   ? order < 0
           : op == Operator::kLe ? order <= 0
           : op == Operator::kGt ? order > 0
                                 : order >= 0;
  }

  const Program& program_;
  std::string* root_out_ = nullptr;
  std::vector<GenerationSpan>* spans_ = nullptr;
};

Value Macro::call(Runtime&, Arguments& arguments) {
  return interpreter->call_macro(*this, arguments);
}

Value Macro::attribute(std::string_view name) {
  if (name == "name") return definition->kind == StmtKind::kMacro ? Value(definition->text) : Value(nullptr);
  if (name == "arguments") {
    Values names;
    for (const Parameter& parameter : definition->parameters) names.emplace_back(parameter.name);
    return Value::tuple(std::move(names));
  }
  if (name == "caller") return Value(definition->uses_caller);
  if (name == "catch_kwargs") return Value(definition->uses_kwargs);
  if (name == "catch_varargs") return Value(definition->uses_varargs);
  return Callable::attribute(name);
}

Value Interpreter::call_macro(const Macro& macro, Arguments& arguments) {
  Level level(*this);
  const Stmt& node = *macro.definition;
  ScopePtr inner = std::make_shared<Scope>(macro.scope);
  std::string_view name = node.kind == StmtKind::kMacro ? std::string_view(node.text) : "caller";
  auto take_keyword = [&](std::string_view wanted) -> std::optional<Value> {
    for (auto it = arguments.keywords.begin(); it != arguments.keywords.end(); ++it) {
      if (it->first != wanted) continue;
      Value value = std::move(it->second);
      arguments.keywords.erase(it);
      return value;
    }
    return std::nullopt;
  };
  bool has_caller_parameter = false;
  for (size_t i = 0; i < node.parameters.size(); ++i) {
    const Parameter& parameter = node.parameters[i];
    has_caller_parameter = has_caller_parameter || parameter.symbol == kCallerSymbol;
    if (i < arguments.positional.size()) {
      inner->set(parameter.symbol, arguments.positional[i]);
    } else if (std::optional<Value> given = take_keyword(parameter.name)) {
      inner->set(parameter.symbol, std::move(*given));
    } else if (parameter.fallback) {
      inner->set(parameter.symbol, eval(*parameter.fallback, inner));
    } else {
      inner->set(parameter.symbol, Value::undefined(fmt::format("parameter '{}' was not provided",
                                                                printable(parameter.name, 40))));
    }
  }
  if (node.uses_caller && !has_caller_parameter) {
    std::optional<Value> caller = take_keyword("caller");
    inner->set(kCallerSymbol,
               caller && !caller->is_none() ? std::move(*caller) : Value::undefined("No caller defined"));
  }
  if (node.uses_kwargs) {
    std::vector<Entry> rest;
    for (auto& [key, value] : arguments.keywords) rest.emplace_back(Value(key), std::move(value));
    inner->set(kKwargsSymbol, Value::dict(std::move(rest)));
  } else if (!arguments.keywords.empty()) {
    fail("macro '{}' takes no keyword argument '{}'", name, printable(arguments.keywords[0].first, 40));
  }
  if (node.uses_varargs) {
    Values rest;
    for (size_t i = node.parameters.size(); i < arguments.positional.size(); ++i)
      rest.push_back(arguments.positional[i]);
    inner->set(kVarargsSymbol, Value::tuple(std::move(rest)));
  } else if (arguments.positional.size() > node.parameters.size()) {
    fail("macro '{}' takes not more than {} argument(s)", name, node.parameters.size());
  }
  std::string out;
  block(node.bodies[0], inner, out);
  return text(std::move(out));
}

/// Character offsets of spans whose byte offsets are known.
void count_characters(Rendered& rendered) {
  for (GenerationSpan& span : rendered.generation) {
    std::string_view whole = rendered.text;
    auto count = [](std::string_view part) {
      return static_cast<size_t>(std::count_if(
          part.begin(), part.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    };
    span.end_byte = std::min(span.end_byte, whole.size());
    span.begin_byte = std::min(span.begin_byte, span.end_byte);
    span.begin_char = count(whole.substr(0, span.begin_byte));
    span.end_char = span.begin_char + count(whole.substr(span.begin_byte, span.end_byte - span.begin_byte));
  }
}

}  // namespace

struct Template::State {
  std::string origin;
  std::unique_ptr<Program> program;
};

Template::Template(std::string_view source, std::string origin) : state_(std::make_unique<State>()) {
  constexpr size_t kMaxSource = size_t{4} << 20;
  if (source.size() > kMaxSource)
    fail_input("{}: {} bytes are too many for a template (at most {})", origin, source.size(), kMaxSource);
  state_->origin = std::move(origin);
  state_->program = parse(source, state_->origin);
}
Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Rendered Template::render(const Value& context, const RenderOptions& options) const {
  FETTLE_CHECK(context.is_dict(), "a template renders with a dict of variables");
  Interpreter interpreter(*state_->program, options.limits, options);
  try {
    Rendered out = interpreter.run(context);
    count_characters(out);
    return out;
  } catch (const Failure& failure) {
    fail_at(state_->origin, interpreter.at, failure.what());
  }
}

bool Template::has_generation() const {
  return state_->program->has_generation;
}

}  // namespace fettle::jinja

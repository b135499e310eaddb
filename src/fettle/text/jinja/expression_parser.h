// The expressions of a template: what both the statements and the prints are made of.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "fettle/base/error.h"
#include "fettle/text/jinja/lexer.h"
#include "fettle/text/jinja/syntax.h"

namespace fettle::jinja {

inline constexpr int kMaxNesting = 200;         ///< of the parser itself: parentheses, unary signs, blocks
inline constexpr uint32_t kMaxTreeDepth = 500;  ///< of the tree: a + b + c … grows to the left

using EndWords = std::vector<std::string_view>;

/// Reads tokens from left to right. Methods of higher precedence stand further down.
class ExpressionParser {
 protected:
  ExpressionParser(std::string_view source, const std::string& origin)
      : origin_(origin), tokens_(tokenize(source, origin)), program_(std::make_unique<Program>()) {
    for (const char* name : {"loop", "caller", "kwargs", "varargs"}) intern(name);
  }

  // ---- tokens
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(next_ + ahead, tokens_.size() - 1)]; }
  const Token& take() {
    const Token& token = peek();
    if (next_ < tokens_.size() - 1) ++next_;
    return token;
  }
  bool at_operator(std::string_view op) const {
    return peek().kind == TokenKind::kOperator && peek().text == op;
  }
  bool at_name(std::string_view name) const { return peek().kind == TokenKind::kName && peek().text == name; }
  bool skip_operator(std::string_view op) { return at_operator(op) && (take(), true); }
  bool skip_name(std::string_view name) { return at_name(name) && (take(), true); }

  static std::string describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kBlockEnd:
        return "end of statement block";
      case TokenKind::kPrintEnd:
        return "end of print statement";
      case TokenKind::kEnd:
        return "end of template";
      case TokenKind::kText:
        return "template text";
      default:
        return fmt::format("'{}'", printable(token.text, 40));
    }
  }
  [[noreturn]] void fail(const Token& token, const std::string& what) const {
    fail_at(origin_, token.at, what);
  }
  void expect_operator(std::string_view op) {
    if (!skip_operator(op)) fail(peek(), fmt::format("expected '{}', got {}", op, describe(peek())));
  }
  std::string expect_name() {
    if (peek().kind != TokenKind::kName)
      fail(peek(), fmt::format("expected a name, got {}", describe(peek())));
    return take().text;
  }
  void expect_block_end() {
    if (peek().kind != TokenKind::kBlockEnd)
      fail(peek(), fmt::format("expected end of statement block, got {}", describe(peek())));
    take();
  }

  struct Nest {
    explicit Nest(ExpressionParser& parser) : parser(parser) {
      if (++parser.nesting_ > kMaxNesting)
        parser.fail(parser.peek(), fmt::format("nested deeper than {} levels", kMaxNesting));
    }
    ~Nest() { --parser.nesting_; }
    ExpressionParser& parser;
  };

  Symbol intern(const std::string& name) {
    auto [it, fresh] = program_->symbol_of.try_emplace(name, static_cast<Symbol>(program_->symbols.size()));
    if (fresh) program_->symbols.push_back(name);
    return it->second;
  }

  // ---- making nodes
  ExprPtr make(ExprKind kind, Position at, std::vector<ExprPtr> operands = {}) {
    auto node = std::make_unique<Expr>();
    node->kind = kind;
    node->at = at;
    node->operands = std::move(operands);
    for (const ExprPtr& operand : node->operands) deepen(*node, operand.get());
    return node;
  }
  template <typename... Operands>
  ExprPtr make_of(ExprKind kind, Position at, Operands... operands) {
    std::vector<ExprPtr> list;
    (list.push_back(std::move(operands)), ...);
    return make(kind, at, std::move(list));
  }
  void deepen(Expr& node, const Expr* child) {
    if (!child) return;
    node.depth = std::max(node.depth, child->depth + 1);
    if (node.depth > kMaxTreeDepth)
      fail_at(origin_, node.at, fmt::format("expression nested deeper than {} levels", kMaxTreeDepth));
  }
  void add_arguments(Expr& node, std::vector<Argument> arguments) {
    for (const Argument& argument : arguments) deepen(node, argument.value.get());
    node.arguments = std::move(arguments);
  }
  ExprPtr constant(Position at, Value value) {
    ExprPtr node = make(ExprKind::kConst, at);
    node->constant = std::move(value);
    return node;
  }

  // ---- expressions
  ExprPtr expression(bool with_conditional = true) {
    Nest nest(*this);
    return with_conditional ? conditional() : disjunction();
  }

  ExprPtr conditional() {
    Position at = peek().at;
    ExprPtr value = disjunction();
    while (skip_name("if")) {
      ExprPtr condition = disjunction();
      ExprPtr otherwise;
      if (skip_name("else")) otherwise = expression();
      value =
          make_of(ExprKind::kConditional, at, std::move(condition), std::move(value), std::move(otherwise));
      at = peek().at;
    }
    return value;
  }

  ExprPtr disjunction() {
    Position at = peek().at;
    ExprPtr left = conjunction();
    while (skip_name("or")) {
      left = make_of(ExprKind::kOr, at, std::move(left), conjunction());
      at = peek().at;
    }
    return left;
  }
  ExprPtr conjunction() {
    Position at = peek().at;
    ExprPtr left = negation();
    while (skip_name("and")) {
      left = make_of(ExprKind::kAnd, at, std::move(left), negation());
      at = peek().at;
    }
    return left;
  }
  ExprPtr negation() {
    if (!at_name("not")) return comparison();
    Nest nest(*this);
    Position at = take().at;
    return make_of(ExprKind::kNot, at, negation());
  }

  ExprPtr comparison() {
    static constexpr std::pair<std::string_view, Operator> kComparisons[] = {
        {"==", Operator::kEq}, {"!=", Operator::kNe}, {"<", Operator::kLt},
        {"<=", Operator::kLe}, {">", Operator::kGt},  {">=", Operator::kGe}};
    Position at = peek().at;
    std::vector<ExprPtr> operands;
    std::vector<Operator> operators;
    operands.push_back(sum());
    for (;;) {
      bool found = false;
      for (const auto& [spelling, op] : kComparisons) {
        if (!at_operator(spelling)) continue;
        operators.push_back(op);
        found = true;
        take();
        break;
      }
      if (!found && skip_name("in")) {
        operators.push_back(Operator::kIn);
        found = true;
      }
      if (!found && at_name("not") && peek(1).kind == TokenKind::kName && peek(1).text == "in") {
        take(), take();
        operators.push_back(Operator::kNotIn);
        found = true;
      }
      if (!found) break;
      operands.push_back(sum());
    }
    if (operators.empty()) return std::move(operands[0]);
    ExprPtr node = make(ExprKind::kCompare, at, std::move(operands));
    node->operators = std::move(operators);
    return node;
  }

  ExprPtr binary(Operator op, Position at, ExprPtr left, ExprPtr right) {
    ExprPtr node = make_of(ExprKind::kBinary, at, std::move(left), std::move(right));
    node->op = op;
    return node;
  }

  ExprPtr sum() {
    Position at = peek().at;
    ExprPtr left = concatenation();
    while (at_operator("+") || at_operator("-")) {
      Operator op = take().text == "+" ? Operator::kAdd : Operator::kSub;
      left = binary(op, at, std::move(left), concatenation());
    }
    return left;
  }
  ExprPtr concatenation() {
    Position at = peek().at;
    ExprPtr first = product();
    if (!at_operator("~")) return first;
    std::vector<ExprPtr> operands;
    operands.push_back(std::move(first));
    while (skip_operator("~")) operands.push_back(product());
    return make(ExprKind::kConcat, at, std::move(operands));
  }
  ExprPtr product() {
    static constexpr std::pair<std::string_view, Operator> kProducts[] = {
        {"*", Operator::kMul}, {"/", Operator::kDiv}, {"//", Operator::kFloorDiv}, {"%", Operator::kMod}};
    Position at = peek().at;
    ExprPtr left = power();
    for (;;) {
      bool found = false;
      for (const auto& [spelling, op] : kProducts) {
        if (!skip_operator(spelling)) continue;
        left = binary(op, at, std::move(left), power());
        found = true;
        break;
      }
      if (!found) return left;
    }
  }
  ExprPtr power() {
    Position at = peek().at;
    ExprPtr left = unary(true);
    while (skip_operator("**")) left = binary(Operator::kPow, at, std::move(left), unary(true));
    return left;
  }
  ExprPtr unary(bool with_filter) {
    Nest nest(*this);
    ExprPtr node;
    if (at_operator("-") || at_operator("+")) {
      const Token sign = take();
      node = make_of(ExprKind::kUnary, sign.at, unary(false));
      node->op = sign.text == "-" ? Operator::kNeg : Operator::kPos;
    } else {
      node = primary();
    }
    node = postfix(std::move(node));
    return with_filter ? filter_expression(std::move(node)) : std::move(node);
  }

  ExprPtr primary() {
    const Token& token = peek();
    Position at = token.at;
    switch (token.kind) {
      case TokenKind::kName: {
        std::string name = take().text;
        if (name == "true" || name == "True") return constant(at, Value(true));
        if (name == "false" || name == "False") return constant(at, Value(false));
        if (name == "none" || name == "None") return constant(at, Value(nullptr));
        ExprPtr node = make(ExprKind::kName, at);
        node->symbol = intern(name);
        used_.insert(node->symbol);
        return node;
      }
      case TokenKind::kString: {
        std::string text = take().text;
        while (peek().kind == TokenKind::kString) text += take().text;
        return constant(at, Value(std::move(text)));
      }
      case TokenKind::kInteger:
        return constant(at, integer(take()));
      case TokenKind::kFloat:
        return constant(at, Value(std::strtod(take().text.c_str(), nullptr)));
      default:
        break;
    }
    if (skip_operator("(")) {
      ExprPtr node = tuple(true, {}, true);
      expect_operator(")");
      return node;
    }
    if (skip_operator("[")) {
      std::vector<ExprPtr> items;
      while (!at_operator("]")) {
        if (!items.empty()) expect_operator(",");
        if (at_operator("]")) break;
        items.push_back(expression());
      }
      expect_operator("]");
      return make(ExprKind::kList, at, std::move(items));
    }
    if (skip_operator("{")) {
      std::vector<ExprPtr> items;
      while (!at_operator("}")) {
        if (!items.empty()) expect_operator(",");
        if (at_operator("}")) break;
        items.push_back(expression());
        expect_operator(":");
        items.push_back(expression());
      }
      expect_operator("}");
      return make(ExprKind::kDict, at, std::move(items));
    }
    fail(token, fmt::format("unexpected {}", describe(token)));
  }

  Value integer(const Token& token) {
    int base = 10;
    std::string_view digits = token.text;
    if (digits.size() > 2 && digits[0] == '0') {
      char kind = static_cast<char>(digits[1] | 0x20);
      base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
      if (base != 10) digits.remove_prefix(2);
    }
    int64_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc() || end != digits.data() + digits.size())
      fail(token, fmt::format("the integer {} exceeds 64 bits", printable(token.text, 40)));
    return Value(value);
  }

  bool tuple_ends(const EndWords& end) const {
    if (peek().kind == TokenKind::kPrintEnd || peek().kind == TokenKind::kBlockEnd || at_operator(")"))
      return true;
    return std::any_of(end.begin(), end.end(), [&](std::string_view word) { return at_name(word); });
  }

  /// One expression, or a tuple when commas follow.
  ExprPtr tuple(bool with_conditional, const EndWords& end = {}, bool in_parentheses = false) {
    Nest nest(*this);
    Position at = peek().at;
    std::vector<ExprPtr> items;
    bool is_tuple = false;
    for (;;) {
      if (!items.empty()) expect_operator(",");
      if (tuple_ends(end)) break;
      items.push_back(expression(with_conditional));
      if (!at_operator(",")) break;
      is_tuple = true;
    }
    if (!is_tuple) {
      if (!items.empty()) return std::move(items[0]);
      if (!in_parentheses) fail(peek(), fmt::format("expected an expression, got {}", describe(peek())));
    }
    return make(ExprKind::kTuple, at, std::move(items));
  }

  ExprPtr postfix(ExprPtr node) {
    for (;;) {
      if (at_operator(".") || at_operator("["))
        node = subscript(std::move(node));
      else if (at_operator("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  ExprPtr subscript(ExprPtr node) {
    const Token opening = take();
    if (opening.text == ".") {
      const Token name = take();
      if (name.kind == TokenKind::kName) {
        ExprPtr out = make_of(ExprKind::kAttribute, name.at, std::move(node));
        out->name = name.text;
        return out;
      }
      if (name.kind != TokenKind::kInteger) fail(name, "expected a name or a number after '.'");
      return make_of(ExprKind::kItem, name.at, std::move(node), constant(name.at, integer(name)));
    }
    std::vector<ExprPtr> indices;
    while (!at_operator("]")) {
      if (!indices.empty()) expect_operator(",");
      indices.push_back(index());
    }
    expect_operator("]");
    if (indices.empty()) fail(opening, "expected an index inside []");
    ExprPtr key =
        indices.size() == 1 ? std::move(indices[0]) : make(ExprKind::kTuple, opening.at, std::move(indices));
    return make_of(ExprKind::kItem, opening.at, std::move(node), std::move(key));
  }

  ExprPtr index() {
    Position at = peek().at;
    ExprPtr parts[3];
    bool is_slice = false;
    if (!at_operator(":")) {
      parts[0] = expression();
      if (!at_operator(":")) return std::move(parts[0]);
    }
    for (int part = 1; part < 3 && skip_operator(":"); ++part) {
      is_slice = true;
      if (!at_operator(":") && !at_operator("]") && !at_operator(",")) parts[part] = expression();
    }
    if (!is_slice) fail(peek(), "expected an index");
    return make_of(ExprKind::kSlice, at, std::move(parts[0]), std::move(parts[1]), std::move(parts[2]));
  }

  std::vector<Argument> call_arguments() {
    expect_operator("(");
    std::vector<Argument> out;
    bool after_star = false, after_keyword = false;
    while (!at_operator(")")) {
      if (!out.empty()) {
        expect_operator(",");
        if (at_operator(")")) break;
      }
      const Token first = peek();
      Argument argument;
      if (skip_operator("**")) {
        argument.form = Argument::Form::kDoubleStar;
        argument.value = expression();
        after_star = true;
      } else if (skip_operator("*")) {
        if (after_star) fail(first, "invalid order of call arguments");
        argument.form = Argument::Form::kStar;
        argument.value = expression();
      } else if (first.kind == TokenKind::kName && peek(1).kind == TokenKind::kOperator &&
                 peek(1).text == "=") {
        if (after_star) fail(first, "invalid order of call arguments");
        argument.form = Argument::Form::kKeyword;
        argument.name = take().text;
        take();
        argument.value = expression();
        after_keyword = true;
      } else {
        if (after_star || after_keyword) fail(first, "a positional argument follows a keyword argument");
        argument.value = expression();
      }
      out.push_back(std::move(argument));
    }
    expect_operator(")");
    return out;
  }

  ExprPtr call(ExprPtr callee) {
    Position at = peek().at;
    ExprPtr node = make_of(ExprKind::kCall, at, std::move(callee));
    add_arguments(*node, call_arguments());
    return node;
  }

  ExprPtr filter_expression(ExprPtr node) {
    for (;;) {
      if (at_operator("|"))
        node = filters(std::move(node), false);
      else if (at_name("is"))
        node = test(std::move(node));
      else if (at_operator("("))
        node = call(std::move(node));
      else
        return node;
    }
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_operator(".")) name += "." + expect_name();
    return name;
  }

  /// A chain of filters; `inline_start` is the head of a filter block, which has no leading `|`.
  ExprPtr filters(ExprPtr node, bool inline_start) {
    while (at_operator("|") || inline_start) {
      if (!inline_start) take();
      inline_start = false;
      Position at = peek().at;
      std::string name = dotted_name();
      ExprPtr out = make_of(ExprKind::kFilter, at, std::move(node));
      out->filter = find_filter(name);
      out->name = std::move(name);
      if (at_operator("(")) add_arguments(*out, call_arguments());
      node = std::move(out);
    }
    return node;
  }

  ExprPtr test(ExprPtr node) {
    Position at = take().at;
    bool negated = skip_name("not");
    std::string name = dotted_name();
    ExprPtr out = make_of(ExprKind::kTest, at, std::move(node));
    out->test = find_test(name);
    out->name = std::move(name);
    const Token& next = peek();
    bool argument_starts =
        next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
        next.kind == TokenKind::kFloat || at_operator("[") || at_operator("{") ||
        (next.kind == TokenKind::kName && next.text != "else" && next.text != "or" && next.text != "and");
    if (at_operator("(")) {
      add_arguments(*out, call_arguments());
    } else if (argument_starts) {
      if (at_name("is")) fail(next, "tests cannot be chained with 'is'");
      std::vector<Argument> arguments(1);
      arguments[0].value = postfix(primary());
      add_arguments(*out, std::move(arguments));
    }
    return negated ? make_of(ExprKind::kNot, at, std::move(out)) : std::move(out);
  }

  const std::string& origin_;
  std::vector<Token> tokens_;
  std::unique_ptr<Program> program_;
  std::set<Symbol> used_;  ///< names read since the body of a macro began
  size_t next_ = 0;
  int nesting_ = 0;
};

}  // namespace fettle::jinja

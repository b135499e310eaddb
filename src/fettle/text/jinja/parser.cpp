// The statements of a template.
#include "fettle/text/jinja/expression_parser.h"

namespace fettle::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  Parser(std::string_view source, const std::string& origin) : ExpressionParser(source, origin) {}

  std::unique_ptr<Program> run() {
    program_->body = body({});
    return std::move(program_);
  }

 private:
  Body body(const EndWords& end) {
    Nest nest(*this);
    Body out;
    for (;;) {
      const Token& token = peek();
      switch (token.kind) {
        case TokenKind::kEnd:
          if (!end.empty())
            fail(token, fmt::format("the template ends inside a block; expected '{}'", end.back()));
          return out;
        case TokenKind::kText: {
          auto node = statement(StmtKind::kText, token.at);
          node->text = take().text;
          out.push_back(std::move(node));
          break;
        }
        case TokenKind::kPrintBegin: {
          auto node = statement(StmtKind::kPrint, take().at);
          node->exprs.push_back(tuple(true));
          if (peek().kind != TokenKind::kPrintEnd)
            fail(peek(), fmt::format("expected end of print statement, got {}", describe(peek())));
          take();
          out.push_back(std::move(node));
          break;
        }
        default: {
          const Token& word = peek(1);
          if (word.kind == TokenKind::kName && std::find(end.begin(), end.end(), word.text) != end.end()) {
            take();  // the caller reads the word
            return out;
          }
          take();
          block_statement(out);
          expect_block_end();
        }
      }
    }
  }

  /// Body of a block whose head was just read, up to one of `end`; the end word stays unread.
  Body inner_body(const EndWords& end) {
    expect_block_end();
    return body(end);
  }
  /// As inner_body, for a single end word, which is read.
  Body closed_body(std::string_view end) {
    Body out = inner_body({end});
    take();
    return out;
  }

  std::unique_ptr<Stmt> statement(StmtKind kind, Position at) {
    auto node = std::make_unique<Stmt>();
    node->kind = kind;
    node->at = at;
    return node;
  }

  void block_statement(Body& out) {
    const Token word = take();
    if (word.kind != TokenKind::kName) fail(word, fmt::format("expected a tag name, got {}", describe(word)));
    const std::string& tag = word.text;
    if (tag == "if")
      out.push_back(parse_if(word.at));
    else if (tag == "for")
      out.push_back(parse_for(word.at));
    else if (tag == "set")
      out.push_back(parse_set(word.at));
    else if (tag == "macro")
      out.push_back(parse_macro(word.at));
    else if (tag == "call")
      out.push_back(parse_call_block(word.at));
    else if (tag == "filter")
      out.push_back(parse_filter_block(word.at));
    else if (tag == "with")
      out.push_back(parse_with(word.at));
    else if (tag == "generation")
      out.push_back(parse_generation(word.at));
    else if (tag == "print")
      parse_print(out, word.at);
    else if (tag == "autoescape")
      out.push_back(parse_autoescape(word));
    else if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail(word, fmt::format("'{}' outside of a loop", tag));
      out.push_back(statement(tag == "break" ? StmtKind::kBreak : StmtKind::kContinue, word.at));
    } else if (tag == "include" || tag == "import" || tag == "from" || tag == "extends" || tag == "block") {
      fail(word, fmt::format("'{}' is refused: a chat template stands alone and reads no other file", tag));
    } else {
      fail(word, fmt::format("unknown tag '{}'", printable(tag, 40)));
    }
  }

  std::unique_ptr<Stmt> parse_if(Position at) {
    auto node = statement(StmtKind::kIf, at);
    node->exprs.push_back(tuple(false));
    for (;;) {
      node->bodies.push_back(inner_body({"elif", "else", "endif"}));
      std::string word = take().text;
      if (word == "elif") {
        node->exprs.push_back(tuple(false));
        continue;
      }
      if (word == "else") {
        node->bodies.push_back(inner_body({"endif"}));
        take();
      }
      return node;
    }
  }

  std::unique_ptr<Stmt> parse_for(Position at) {
    auto node = statement(StmtKind::kFor, at);
    node->targets.push_back(target({"in"}, false));
    if (!skip_name("in")) fail(peek(), fmt::format("expected 'in', got {}", describe(peek())));
    node->exprs.push_back(tuple(false, {"recursive"}));
    if (skip_name("if")) node->condition = expression();
    node->recursive = skip_name("recursive");
    ++loops_;
    node->bodies.push_back(inner_body({"endfor", "else"}));
    --loops_;
    if (take().text == "else") {
      node->bodies.push_back(inner_body({"endfor"}));
      take();
    }
    return node;
  }

  std::unique_ptr<Stmt> parse_set(Position at) {
    auto node = statement(StmtKind::kSet, at);
    node->targets.push_back(target({}, true));
    if (skip_operator("=")) {
      node->exprs.push_back(tuple(true));
      return node;
    }
    node->kind = StmtKind::kSetBlock;
    node->exprs.push_back(at_operator("|") ? filters(nullptr, false) : nullptr);
    node->bodies.push_back(outside_loop([&] { return closed_body("endset"); }));
    return node;
  }

  /// break and continue do not reach out of macros and captured blocks.
  template <typename F>
  Body outside_loop(F&& parse_body) {
    int loops = std::exchange(loops_, 0);
    Body out = parse_body();
    loops_ = loops;
    return out;
  }

  void signature(Stmt& node) {
    expect_operator("(");
    while (!at_operator(")")) {
      if (!node.parameters.empty()) expect_operator(",");
      if (at_operator(")")) break;
      const Token name = peek();
      Parameter parameter;
      parameter.name = assignable(name, expect_name());
      parameter.symbol = intern(parameter.name);
      if (skip_operator("="))
        parameter.fallback = expression();
      else if (!node.parameters.empty() && node.parameters.back().fallback)
        fail(name, "non-default argument follows default argument");
      node.parameters.push_back(std::move(parameter));
    }
    expect_operator(")");
  }

  void callable_body(Stmt& node, std::string_view end) {
    std::set<Symbol> outer = std::exchange(used_, {});
    node.bodies.push_back(outside_loop([&] { return closed_body(end); }));
    node.uses_caller = used_.count(kCallerSymbol) != 0;
    node.uses_kwargs = used_.count(kKwargsSymbol) != 0;
    node.uses_varargs = used_.count(kVarargsSymbol) != 0;
    outer.insert(used_.begin(), used_.end());
    used_ = std::move(outer);
  }

  std::unique_ptr<Stmt> parse_macro(Position at) {
    auto node = statement(StmtKind::kMacro, at);
    const Token name = peek();
    node->text = assignable(name, expect_name());
    node->symbol = intern(node->text);
    signature(*node);
    callable_body(*node, "endmacro");
    return node;
  }

  std::unique_ptr<Stmt> parse_call_block(Position at) {
    auto node = statement(StmtKind::kCallBlock, at);
    if (at_operator("(")) signature(*node);
    node->exprs.push_back(expression());
    if (node->exprs[0]->kind != ExprKind::kCall) fail_at(origin_, at, "expected a call after 'call'");
    callable_body(*node, "endcall");
    return node;
  }

  std::unique_ptr<Stmt> parse_filter_block(Position at) {
    auto node = statement(StmtKind::kFilterBlock, at);
    node->exprs.push_back(filters(nullptr, true));
    node->bodies.push_back(outside_loop([&] { return closed_body("endfilter"); }));
    return node;
  }

  std::unique_ptr<Stmt> parse_with(Position at) {
    auto node = statement(StmtKind::kWith, at);
    while (peek().kind != TokenKind::kBlockEnd) {
      if (!node->targets.empty()) expect_operator(",");
      node->targets.push_back(target({}, false));
      expect_operator("=");
      node->exprs.push_back(expression());
    }
    node->bodies.push_back(closed_body("endwith"));
    return node;
  }

  std::unique_ptr<Stmt> parse_generation(Position at) {
    program_->has_generation = true;
    auto node = statement(StmtKind::kGeneration, at);
    node->bodies.push_back(outside_loop([&] { return closed_body("endgeneration"); }));
    return node;
  }

  std::unique_ptr<Stmt> parse_autoescape(const Token& word) {
    auto node = statement(StmtKind::kScope, word.at);
    ExprPtr on = expression();
    if (on->kind != ExprKind::kConst || truthy(on->constant))
      fail(word, "'autoescape' can only be turned off; chat templates are not HTML");
    node->bodies.push_back(closed_body("endautoescape"));
    return node;
  }

  void parse_print(Body& out, Position at) {
    while (peek().kind != TokenKind::kBlockEnd) {
      if (!out.empty() && at_operator(",")) take();
      auto node = statement(StmtKind::kPrint, at);
      node->exprs.push_back(expression());
      out.push_back(std::move(node));
    }
  }

  std::string assignable(const Token& token, std::string name) {
    for (const char* reserved : {"true", "false", "none", "True", "False", "None"})
      if (name == reserved) fail(token, fmt::format("can't assign to '{}'", name));
    return name;
  }

  Target target(const EndWords& end, bool with_namespace) {
    Target first = single_target(with_namespace);
    if (!at_operator(",")) return first;
    Target out;
    out.at = first.at;
    out.is_tuple = true;
    out.parts.push_back(std::move(first));
    while (skip_operator(",")) {
      bool ends = peek().kind == TokenKind::kBlockEnd || at_operator("=") || at_operator(")");
      for (std::string_view word : end) ends = ends || at_name(word);
      if (ends) break;
      out.parts.push_back(single_target(with_namespace));
    }
    return out;
  }

  Target single_target(bool with_namespace) {
    Nest nest(*this);
    if (skip_operator("(")) {
      Target inside = target({}, with_namespace);
      expect_operator(")");
      return inside;
    }
    const Token name = peek();
    Target out;
    out.at = name.at;
    out.symbol = intern(assignable(name, expect_name()));
    if (with_namespace && skip_operator(".")) out.attribute = expect_name();
    return out;
  }

  int loops_ = 0;
};

}  // namespace

std::unique_ptr<Program> parse(std::string_view source, const std::string& origin) {
  return Parser(source, origin).run();
}

}  // namespace fettle::jinja

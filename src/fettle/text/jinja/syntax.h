// The parsed template: expressions and statements with their positions. Depth is bounded when nodes are made,
// so the interpreter may recurse over them.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "fettle/text/jinja/value.h"

namespace fettle::jinja {

struct Position {
  uint32_t line = 1, column = 1;
};

/// Names of variables are numbered once at parsing.
using Symbol = uint32_t;

enum class ExprKind : uint8_t {
  kConst,
  kName,
  kList,       ///< operands
  kTuple,      ///< operands
  kDict,       ///< key, value, key, value …
  kAttribute,  ///< operands[0].name
  kItem,       ///< operands[0][operands[1]]
  kSlice,      ///< start, stop, step; null where absent (only as the index of kItem)
  kCall,       ///< operands[0](arguments)
  kFilter,     ///< operands[0] | name(arguments); operands[0] null at the head of a filter block
  kTest,       ///< operands[0] is name(arguments)
  kUnary,
  kBinary,
  kConcat,   ///< ~ over all operands
  kCompare,  ///< operands[0] ops[0] operands[1] ops[1] operands[2] …
  kAnd,
  kOr,
  kNot,
  kConditional,  ///< operands: condition, value, otherwise (may be null)
};

enum class Operator : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kNeg,
  kPos,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  enum class Form : uint8_t { kPositional, kKeyword, kStar, kDoubleStar } form = Form::kPositional;
  std::string name;
  ExprPtr value;
};

struct Runtime;
struct Arguments;
using FilterFunction = Value (*)(Runtime&, const Value& subject, Arguments&);
using TestFunction = bool (*)(Runtime&, const Value& subject, Arguments&);

struct Expr {
  ExprKind kind = ExprKind::kConst;
  Operator op = Operator::kAdd;
  Position at;
  uint32_t depth = 1;
  Symbol symbol = 0;
  FilterFunction filter = nullptr;  ///< resolved by name at parsing; null: no such filter
  TestFunction test = nullptr;
  Value constant;
  std::string name;
  std::vector<ExprPtr> operands;
  std::vector<Operator> operators;
  std::vector<Argument> arguments;
};

/// What an assignment writes to: a name, `namespace.attribute`, or a tuple of targets.
struct Target {
  Symbol symbol = 0;
  std::string attribute;
  std::vector<Target> parts;
  bool is_tuple = false;
  Position at;
};

enum class StmtKind : uint8_t {
  kText,
  kPrint,
  kIf,  ///< exprs[i] guards bodies[i]; one more body is the else
  kFor,
  kSet,
  kSetBlock,  ///< exprs[0]: filter chain or null
  kMacro,
  kCallBlock,  ///< exprs[0]: the call; parameters and body: the caller
  kFilterBlock,
  kWith,
  kScope,  ///< autoescape: a scope of its own
  kGeneration,
  kBreak,
  kContinue,
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  Symbol symbol = 0;
  ExprPtr fallback;  ///< null: none
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  Position at;
  uint32_t depth = 1;
  std::string text;  ///< kText, or the name of a macro
  Symbol symbol = 0;
  std::vector<ExprPtr> exprs;
  std::vector<Target> targets;
  std::vector<Body> bodies;
  std::vector<Parameter> parameters;
  ExprPtr condition;                                                    ///< kFor: the `if` of the loop
  bool recursive = false;                                               ///< kFor
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;  ///< kMacro, kCallBlock
};

struct Program {
  Body body;
  std::vector<std::string> symbols;
  std::unordered_map<std::string, Symbol> symbol_of;
  bool has_generation = false;
};

/// Symbols with a fixed number.
enum : Symbol { kLoopSymbol, kCallerSymbol, kKwargsSymbol, kVarargsSymbol };

/// Error(kBadInput) with `origin`, line and column.
std::unique_ptr<Program> parse(std::string_view source, const std::string& origin);

/// Null when there is no such filter or test.
FilterFunction find_filter(std::string_view name);
TestFunction find_test(std::string_view name);

}  // namespace fettle::jinja

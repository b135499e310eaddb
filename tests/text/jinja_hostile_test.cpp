// Templates that mean harm: they end in one clear error, within bounded time and memory, and see nothing of
// the host.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/text/jinja/jinja.h"

namespace fettle {
namespace {

std::string repeat(const std::string& text, size_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

/// The message of the error that `source` ends in; empty when it renders.
std::string refused(const std::string& source) {
  static const jinja::Value data =
      jinja::Value::from_json(parse_ordered_json(R"({"t":"text","n":3,"l":[1,2,3],"d":{"a":1}})", "data"));
  std::string message;
  try {
    jinja::Template(source, "hostile").render(data);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
    message = error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what() << " from " << source.substr(0, 100);
  }
  return message;
}

TEST(JinjaHostile, NoAttributeReachesTheHost) {
  for (const char* source : {
           "{{ ''.__class__ }}",
           "{{ ''.__class__.__mro__[1].__subclasses__() }}",
           "{{ ''['__class__'] }}",
           "{{ [].__class__ }}",
           "{{ {}['__class__'] }}",
           "{{ d.__init__ }}",
           "{{ n.__class__.__base__ }}",
           "{{ (1,)|attr('__class__') }}",
           "{{ ''|attr('__class__')|attr('__mro__') }}",
           "{{ d|attr('__getitem__') }}",
           "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
           "{{ joiner.__init__.__globals__ }}",
           "{{ namespace.__init__ }}",
           "{{ namespace().__class__ }}",
           "{{ range.__class__ }}",
           "{{ raise_exception.__globals__ }}",
           "{{ lipsum.__globals__['os'].popen('id').read() }}",
           "{{ self.__init__.__globals__ }}",
           "{{ self._TemplateReference__context }}",
           "{{ config.items() }}",
           "{{ request.application.__globals__ }}",
           "{{ url_for.__globals__ }}",
           "{{ get_flashed_messages.__globals__ }}",
           "{{ t.format.__self__ }}",
           "{{ t.upper.__globals__ }}",
           "{{ '{0.__class__}'.format(1) }}",
           "{{ '{0.__class__.__mro__}'.format(t) }}",
           "{{ '{0[__class__]}'.format(d) }}",
           "{{ '{a.__init__}'.format_map({'a': 1}) }}",
           "{{ ('{0.__cl' ~ 'ass__}').format(1) }}",
           "{{ ['{0.__class__}']|map('format', 1)|first.__class__ }}",
           "{{ [1]|map(attribute='__class__')|list }}",
           "{{ [1]|groupby('__class__') }}",
           "{{ [1]|sum(attribute='__class__') }}",
           "{{ [1]|sort(attribute='__class__') }}",
           "{{ ['x']|selectattr('__class__')|list }}",
           "{% for x in l %}{{ loop.__class__ }}{% endfor %}",
           "{% for x in l %}{{ loop._iterator }}{% endfor %}",
           "{% macro m() %}{% endmacro %}{{ m._func }}",
           "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
           "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
           "{{ __import__('os') }}",
           "{{ open('/etc/passwd').read() }}",
           "{{ eval('1') }}",
           "{{ t.encode().decode() }}",
           "{% include '/etc/passwd' %}",
           "{% import 'os' as os %}",
           "{% from 'os' import path %}",
           "{% extends 'base' %}",
           "{% block x %}{% endblock %}",
       })
    EXPECT_NE(refused(source), "") << source;
}

TEST(JinjaHostile, ValuesCannotBeChanged) {
  for (const char* source :
       {"{{ l.append(4) }}", "{{ l.clear() }}", "{{ l.sort() }}", "{{ d.update({'a': 2}) }}",
        "{{ d.setdefault('b', 1) }}", "{{ d.popitem() }}", "{% set d.a = 2 %}"})
    EXPECT_NE(refused(source), "") << source;
}

TEST(JinjaHostile, RecursionIsBounded) {
  EXPECT_NE(refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("deeper than"),
            std::string::npos);
  EXPECT_NE(refused("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}"),
            "");
  EXPECT_NE(refused("{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}"), "");
  EXPECT_NE(refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), "");
  EXPECT_NE(refused("{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}"), "");
  for (const char* bracket : {"(", "[", "{1:", "-", "not ", "l[", "t|d(", "1 if 1 else ", "t(", "{{", "{%"})
    EXPECT_NE(refused("{{ " + repeat(bracket, 100'000)), "") << bracket;
  EXPECT_NE(refused("{{ " + repeat("(", 100'000) + "1" + repeat(")", 100'000) + " }}"), "");
  EXPECT_NE(refused("{{ " + repeat("1 + ", 100'000) + "1 }}"), "");
  EXPECT_NE(refused("{{ 1" + repeat("|abs", 100'000) + " }}"), "");
  EXPECT_NE(refused("{{ d" + repeat(".a", 100'000) + " }}"), "");
  EXPECT_NE(refused("{{ " + repeat("2 ** ", 100'000) + "1 }}"), "");
  EXPECT_NE(refused(repeat("{% if 1 %}", 10'000) + repeat("{% endif %}", 10'000)), "");
  EXPECT_NE(refused("{% for " + repeat("(", 100'000)), "");
  // More than any template has.
  EXPECT_EQ(refused("{{ " + repeat("(", 50) + "1" + repeat(")", 50) + " }}"), "");
  EXPECT_EQ(refused("{{ 1" + repeat(" + 1", 400) + " }}"), "");
}

TEST(JinjaHostile, DeepAndCircularValuesAreHarmless) {
  EXPECT_NE(
      refused("{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}"),
      "");
  EXPECT_NE(
      refused(
          "{% set n = namespace(x={}) %}{% for i in range(9999) %}{% set n.x = {'k': n.x} %}{% endfor %}"),
      "");
  EXPECT_NE(refused("{% set n = namespace() %}{% set n.x = [n] %}{{ n }}"), "");
  EXPECT_NE(refused("{% set n = namespace() %}{% set n.x = n %}{{ n|tojson }}"), "");
  EXPECT_EQ(
      refused("{% set n = namespace() %}{% set n.x = n %}{% set n.y = [n, n] %}{{ n.x.x.x is defined }}"),
      "");
  // A chain of namespaces, a loop that remembers itself, callers kept beyond their call.
  EXPECT_EQ(
      refused("{% set h = namespace() %}{% set h.at = namespace() %}{% for i in range(50000) %}"
              "{% set next = namespace() %}{% set at = h.at %}{% set at.next = next %}{% set h.at = next %}"
              "{% endfor %}"),
      "");
  EXPECT_EQ(refused("{% for i in l %}{{ loop.changed(loop) }}{{ loop.changed([loop]) }}{% endfor %}"), "");
  EXPECT_EQ(refused("{% set n = namespace() %}{% macro keep() %}{% set n.f = caller %}{% endmacro %}"
                    "{% call keep() %}{{ n.f is defined }}{% endcall %}{{ n.f() }}"),
            "");
  EXPECT_NE(refused("{% set n = namespace(g=[1]|map('abs')) %}{% for i in range(9999) %}"
                    "{% set n.g = [n.g]|select %}{% endfor %}"),
            "");
}

TEST(JinjaHostile, WorkIsBounded) {
  EXPECT_NE(refused("{{ range(10**12) }}"), "");
  EXPECT_NE(refused("{% for i in range(100000000000) %}x{% endfor %}"), "");
  EXPECT_NE(refused(repeat("{% for i in range(99999) %}", 4) + repeat("{% endfor %}", 4)), "");
  EXPECT_NE(refused("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"), "");
  EXPECT_NE(refused("{% set x = range(99999)|list %}{% for i in x %}{% if i in x %}{% endif %}{% endfor %}"),
            "");
  EXPECT_NE(refused("{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}"), "");
  EXPECT_NE(refused("{{ range(99999)|map('string')|unique|list|length }}"), "");
  EXPECT_NE(refused("{% set s = 'a' * 16000000 %}{% for i in range(99999) %}{{ s.find('b') }}{% endfor %}"),
            "");
  EXPECT_NE(refused("{% set s = 'a' * 16000000 %}{% for i in range(9999) %}{{ s == s ~ '' }}{% endfor %}"),
            "");
  EXPECT_NE(refused("{% set s = 'a' * 9000000 %}{% for i in range(9999) %}{{ s.count('b') }}{{ s[8999999] }}"
                    "{% endfor %}"),
            "");
}

TEST(JinjaHostile, TextAndMemoryAreBounded) {
  for (const char* source : {
           "{{ 'a' * 10**12 }}",
           "{{ 10**12 * 'a' }}",
           "{{ [1] * 10**12 }}",
           "{{ 'a' * 9223372036854775807 }}",
           "{{ '' * 9223372036854775807 ~ 'a' * 99999999 }}",
           "{{ 'a'.center(10**12) }}",
           "{{ 'a'.ljust(10**9) }}",
           "{{ 'a'|center(10**10) }}",
           "{{ '7'.zfill(10**12) }}",
           "{{ 'a\\tb'.expandtabs(10**12) }}",
           "{{ 'a\\nb'|indent(10**9) }}",
           "{{ d|tojson(indent=10**9) }}",
           "{{ '%1000000000d' % 1 }}",
           "{{ '%*d' % (10**12, 1) }}",
           "{{ '%.1000000000f' % 1 }}",
           "{{ '{:1000000000}'.format(1) }}",
           "{{ '{:.1000000000f}'.format(1.5) }}",
           "{{ ('a' * 16000000).replace('a', 'b' * 16000000) }}",
           "{{ ('a' * 16000000)|replace('', 'bbbb') }}",
           "{{ ('a' * 4000000).join(['', '', '', '', '', '']) }}",
           "{{ range(99999)|join('a' * 10000) }}",
           "{{ ('a,' * 8000000).split(',')|length }}",
           "{{ ('a' * 16000000)|list|length }}",
           "{{ [1, 2]|batch(10**12, 0)|list }}",
           "{{ [1, 2]|slice(10**12)|list }}",
           "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
           "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
           "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}",
           "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ "
           "n.l }}",
           "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}"
           "{{ n.l|tojson }}",
           "{% set a = namespace(l=[1], m=[1]) %}{% for i in range(60) %}{% set a.l = [a.l, a.l] %}"
           "{% set a.m = [a.m, a.m] %}{% endfor %}{{ a.l == a.m }}",
           "{% for i in range(99999) %}{% for j in range(999) %}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{% endfor "
           "%}{% endfor %}",
           "{% set n = namespace(l=[]) %}{% for i in range(99999) %}{% set n.l = n.l + ['a' * 9000000] %}{% "
           "endfor %}",
           "{{ strftime_now('%1000000000Y') }}",
           "{{ strftime_now('%A' * 100000) }}",
       })
    EXPECT_NE(refused(source), "") << source;
}

TEST(JinjaHostile, ArithmeticIsChecked) {
  for (const char* source : {"{{ 1 / 0 }}",
                             "{{ 5 // 0 }}",
                             "{{ n % 0 }}",
                             "{{ 1.5 / 0.0 }}",
                             "{{ 1.5 % 0 }}",
                             "{{ 1.5 // 0 }}",
                             "{{ 0 ** -1 }}",
                             "{{ 9223372036854775807 + 1 }}",
                             "{{ -9223372036854775807 - 2 }}",
                             "{{ 9223372036854775807 * 2 }}",
                             "{{ 10 ** 19 }}",
                             "{{ 2 ** 64 }}",
                             "{{ 99999999999999999999 }}",
                             "{{ (-9223372036854775807 - 1) // -1 }}",
                             "{{ -(-9223372036854775807 - 1) }}",
                             "{{ (-9223372036854775807 - 1)|abs }}",
                             "{{ '99999999999999999999'|int }}",
                             "{{ 1e300|int }}",
                             "{{ '%d' % 1e300 }}",
                             "{{ 'inf'|float|int }}",
                             "{{ [9223372036854775807, 1]|sum }}"})
    EXPECT_NE(refused(source).find("hostile:1:"), std::string::npos) << source;
  EXPECT_EQ(
      refused("{{ (-9223372036854775807 - 1) % -1 }}{{ range(-9223372036854775807, 9223372036854775807, "
              "9223372036854775807)|list }}{{ l[::9223372036854775807] }}{{ l[-9223372036854775807:] }}"),
      "");
}

TEST(JinjaHostile, BrokenTemplatesNameThePlace) {
  EXPECT_EQ(refused("a\n{% if t %}\n{{ 1 + }}"), "hostile:3:8: unexpected end of print statement");
  EXPECT_NE(refused("abc {% if t %} x").find("hostile:1:17"), std::string::npos);
  EXPECT_NE(refused("x\n  {{ t ").find("hostile:2:3"), std::string::npos);
  EXPECT_NE(refused(repeat("{%", 500'000)), "");
  EXPECT_NE(refused(repeat("{{", 500'000)), "");
  EXPECT_NE(refused(repeat("{#", 500'000)), "");
  EXPECT_NE(refused(repeat("{% raw %}", 100'000)), "");
  EXPECT_NE(refused("{{ '" + std::string(1'000'000, '\\')), "");
  EXPECT_NE(refused(std::string(5'000'000, 'x')), "");
  EXPECT_NE(refused("{{ \xFF }}"), "");
  EXPECT_EQ(refused("\xFF\xFE{{ '\xC3' }}{{ '\xED\xA0\x80'|upper|length }}{{ '\xF0\x9F'[::-1] }}"), "");
  EXPECT_EQ(refused(std::string("a\0b{{ 'c\0d' }}", 15)), "");
}

TEST(JinjaHostile, LimitsCanBeTightened) {
  jinja::Template loop("{% for i in range(1000) %}x{% endfor %}");
  jinja::RenderOptions few;
  few.limits.max_steps = 500;
  EXPECT_THROW(loop.render(jinja::Value::dict({}), few), Error);
  jinja::RenderOptions short_text;
  short_text.limits.max_output = 100;
  EXPECT_THROW(loop.render(jinja::Value::dict({}), short_text), Error);
  EXPECT_EQ(loop.render(jinja::Value::dict({})).text.size(), 1000u);
}

TEST(JinjaHostile, RefusalOfTheTemplateReachesTheUser) {
  EXPECT_NE(refused("{{ raise_exception('System role not supported') }}").find("System role not supported"),
            std::string::npos);
}

}  // namespace
}  // namespace fettle

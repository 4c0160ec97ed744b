//! Grammars by what they accept, asked of the library that the engine asks.

use expect_test::expect;
use llguidance::{
    Matcher, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    earley::SlicedBiasComputer,
    toktrie::{ApproximateTokEnv, InferenceCapabilities},
};

use super::*;

/// The grammar that llama.cpp brings for JSON, as foreign guests send it.
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= # nothing in it, or values
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]*)) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= ([ \t\n] ws)?
"#;

fn accepts(grammar: &str, text: &str) -> bool {
    let environment = ApproximateTokEnv::single_byte_env();
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices).unwrap();
    factory.quiet();
    *factory.limits_mut() = ParserLimits::default();
    let lark = to_lark(grammar).unwrap();
    let mut matcher = Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(lark.clone())));
    assert_eq!(matcher.get_error(), None, "{lark}");
    let bytes: Vec<u32> = text.bytes().map(u32::from).collect();
    matcher.try_consume_tokens(&bytes).unwrap() == bytes.len() && matcher.is_accepting().unwrap()
}

#[track_caller]
fn check(grammar: &str, accepted: &[&str], refused: &[&str]) {
    for text in accepted {
        assert!(accepts(grammar, text), "{text:?} is refused by {}", to_lark(grammar).unwrap());
    }
    for text in refused {
        assert!(!accepts(grammar, text), "{text:?} is accepted by {}", to_lark(grammar).unwrap());
    }
}

#[test]
fn json_with_all_that_belongs_to_it() {
    check(
        JSON,
        &["{}", r#"{"a": [1, -2.5e3, {"b": null}], "c\n": "é\u00e9"} "#, r#"{"a":true,"b":false}"#],
        &["[]", r#"{"a"}"#, r#"{"a": 01}"#, r#"{"a": "b}"#, "{", r#"{"a": 1,}"#],
    );
}

#[test]
fn what_is_regular_is_one_terminal_and_means_the_same() {
    // A greedy lexer would take all of the letters first.
    check("root ::= [a-z]* \"z\" tail\ntail ::= \"!\" | \"?\"", &["abcz!", "z?", "zz!"], &["abc!", "z", "!"]);
    check("root ::= \"a\" root | \"b\"", &["b", "aaab"], &["", "aaa", "ba"]);
    check("root ::= x{2,3} \"-\"? [^x]{2}\nx ::= \"x\"", &["xxyy", "xxx-yy"], &["xyy", "xxxxyy", "xxy"]);
    check("root ::= x{2,} y{,1}\nx ::= \"x\"\ny ::= .", &["xx", "xxx", "xxé", "xx\n"], &["x", "xxyy"]);
    check("root ::= \"\" | \"a\\\"\\\\/\\u00e9\\n\"", &["", "a\"\\/é\n"], &["a"]);
    check("root ::= [\\[\\]/-]+ [\\U0001F600-\\U0001F64F]", &["[]/-\u{1F602}"], &["[", "\u{1F602}"]);
}

#[test]
fn recursion_is_followed() {
    check("root ::= \"(\" root \")\" | \"x\"", &["x", "((x))"], &["((x)", "()"]);
    check("root ::= \"(\" root \")\" | \"\"", &["", "()", "(())"], &["(", "())"]);
    check("root ::= \"(\" root \")\" | [a-z]*", &["", "()", "(ab)"], &["(", "(A)"]);
    let sums = "root ::= term (\"+\" term)*\n  | \"-\" root\nterm ::= [0-9]+ | \"(\" root \")\"";
    check(sums, &["1", "1+(2+30)", "-1", "-(-(1))"], &["1+", "(1", "+"]);
}

#[test]
fn it_is_written_as_lark() {
    let grammar = "root ::= \"x\" inner \"b\" R-1?\nR-1 ::= [a]\ninner ::= (\"[\" | \"]\") inner (\"[\" | \"]\") | \"\"";
    expect![[r#"
        R_1: /[\x{61}-\x{61}]/
        inner: (P__0) inner (P__0) | ""
        start: P__1 inner P__2
        P__0: "[" | "]"
        P__1: "x"
        P__2: "b" (R_1)?
    "#]]
    .assert_eq(&to_lark(grammar).unwrap());
}

#[test]
fn what_is_wrong_is_said() {
    let said = |grammar: &str| to_lark(grammar).unwrap_err().to_string();
    expect![[r#"line 1: ::= is expected, not ':'"#]].assert_eq(&said("root := x"));
    expect![[r#"there is no rule "root""#]].assert_eq(&said("start ::= \"x\""));
    expect![[r#"there is no rule "x""#]].assert_eq(&said("root ::= x"));
    expect![[r#"line 2: the rule "root" is there twice"#]].assert_eq(&said("root ::= \"x\"\nroot ::= \"y\""));
    expect![[r#"line 1: ) is expected, not the end"#]].assert_eq(&said("root ::= (\"x\""));
    expect![[r#"line 1: it ends in the middle of a text or a set"#]].assert_eq(&said("root ::= \"x"));
    expect![[r#"line 1: a range that ends before it begins"#]].assert_eq(&said("root ::= [z-a]"));
    expect![[r#"line 1: an escape without its 2 hexadecimal digits of a character"#]]
        .assert_eq(&said("root ::= \"\\xé\""));
    expect![[r#"it has more than 48 nested parentheses"#]]
        .assert_eq(&said(&format!("root ::= {}", "(".repeat(100_000))));
    expect![[r#"it has more than 2000 repetitions of one thing"#]]
        .assert_eq(&said("root ::= \"x\"{4000000000}"));
    expect![[r#"line 1: tokens of a vocabulary are not known here"#]].assert_eq(&said("root ::= <think>"));
}

#[test]
fn whatever_bytes_come_there_is_an_answer() {
    let pieces =
        ["root", "::=", "\"", "[", "]", "(", ")", "{", "}", "|", "*", "\\", "x", "\n", " ", "é", "1", ","];
    let mut random = 1u64;
    for _ in 0..20_000 {
        let mut grammar = String::from("root ::= ");
        for _ in 0..12 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            grammar += pieces[(random >> 33) as usize % pieces.len()];
        }
        // Either way, without a panic and without going round for ever.
        drop(to_lark(&grammar));
    }
}

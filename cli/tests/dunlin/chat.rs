//! `dunlin chat`, in a terminal and in a pipe.

use std::{
    fs,
    time::{Duration, Instant},
};

use expect_test::expect;
use rustix::process::{Signal, kill_process};

use crate::{
    support::{Home, engine_of},
    terminal::Terminal,
};

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const ALT_ENTER: &str = "\u{1b}\r";

/// What only a talk has.
trait Talk {
    fn wait_for_prompt(&self);
    fn wait_for_some_answer_to(&self, question: &str);
}

impl Talk for Terminal {
    #[track_caller]
    fn wait_for_prompt(&self) {
        self.wait("the prompt", |screen| screen.trim_end().ends_with("\n>") || screen.trim() == ">");
    }

    #[track_caller]
    fn wait_for_some_answer_to(&self, question: &str) {
        let is_progress = |text: &str| text.contains("loading ") || text.contains("thinking ");
        self.wait("an answer", |screen| {
            let answer = screen.split(question).nth(1).unwrap_or_default().trim();
            answer.len() > 5 && !is_progress(answer)
        });
    }
}

#[test]
fn a_talk_in_a_terminal() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home, "chat --model tiny.gguf --max-tokens 8 --temperature 0");
    terminal.wait_for_prompt();
    terminal.type_keys("Hello\r");
    terminal.wait_for("(cut after 8 tokens; ");
    terminal.wait_for_prompt();
    terminal.type_keys("/usage\r");
    terminal.wait_for("context: ");
    terminal.wait_for_prompt();
    terminal.type_keys("/frob\r");
    terminal.wait_for("there is no /frob");
    terminal.wait_for_prompt();
    let shown = home.stable(&terminal.text());
    let (greeting, rest) = shown.split_once("> Hello\n").unwrap();
    let (_answer, after) = rest.split_once("(cut after").unwrap();
    expect![[r#"
        tiny.gguf (155,968 parameters, Q8_0, context of 512 tokens) · /help says what can be done, Ctrl-D leaves
        ...
        (cut after 8 tokens; --max-tokens allows more)
        > /usage
        usage: 18 prompt tokens, 8 output tokens · TTFT [TIME] · TPOT [TIME], [RATE] tokens/s · [TIME] in all
        1 answer in all: 18 + 0 cached prompt tokens, 8 output tokens
        context: 26 of 512 tokens
        > /frob
        error: there is no /frob; /help lists what there is
        >"#]].assert_eq(&format!("{greeting}...\n(cut after{after}"));
    terminal.leave(CTRL_D);
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_chat() {
    let home = Home::with_slow();
    let mut terminal =
        Terminal::start(&home, "chat --model slow.gguf --threads 1 --max-tokens 1500 --temperature 5");
    terminal.wait_for_prompt();
    terminal.type_keys("Tell me everything\r");
    terminal.wait_for_some_answer_to("Tell me everything");
    let began = Instant::now();
    terminal.type_keys(CTRL_C);
    terminal.wait_for("(stopped)");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    terminal.wait_for_prompt();
    // The line is cleared, and the chat goes on.
    terminal.type_keys("half a quest");
    terminal.wait_for("half a quest");
    terminal.type_keys(CTRL_C);
    terminal.wait_for_prompt();
    terminal.type_keys("/clear\r");
    terminal.wait_for("forgotten");
    terminal.wait_for_prompt();
    terminal.leave(CTRL_D);
}

#[test]
fn an_engine_that_dies_is_replaced() {
    let home = Home::with_slow();
    let mut terminal =
        Terminal::start(&home, "chat --model slow.gguf --threads 1 --max-tokens 1500 --temperature 5");
    terminal.wait_for_prompt();
    terminal.type_keys("First\r");
    terminal.wait_for_some_answer_to("First");
    kill_process(engine_of(terminal.child.process_id().unwrap()), Signal::KILL).unwrap();
    terminal.wait_for("error: the engine died: it was killed (SIGKILL)");
    terminal.wait_for_prompt();
    terminal.type_keys("Second\r");
    terminal.wait_for_some_answer_to("Second");
    terminal.type_keys(CTRL_C);
    terminal.wait_for("(stopped)");
    terminal.wait_for_prompt();
    terminal.leave(CTRL_D);
}

#[test]
fn many_lines_history_and_completion() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home, "chat --model tiny.gguf --max-tokens 1 --temperature 0");
    terminal.wait_for_prompt();
    terminal.type_keys("first");
    terminal.type_keys(ALT_ENTER);
    terminal.type_keys("second\r");
    terminal.wait_for("(cut after 1 token; ");
    terminal.wait_for_prompt();
    terminal.type_keys("/sa\t");
    terminal.wait_for("> /save");
    terminal.type_keys(" talk.json\r");
    terminal.wait_for("1 answer in talk.json");
    // Before its next prompt the terminal itself would take Ctrl-D.
    terminal.wait_for_prompt();
    terminal.leave(CTRL_D);
    let saved: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(home.path("work/talk.json")).unwrap()).unwrap();
    assert_eq!(saved[0]["content"], "first\nsecond");
    // What was written is there in the next chat.
    let mut terminal = Terminal::start(&home, "chat --model tiny.gguf --quiet");
    terminal.wait_for_prompt();
    terminal.type_keys("\u{1b}[A");
    terminal.wait_for("> /save talk.json");
    terminal.type_keys(CTRL_C);
    terminal.wait_for_prompt();
    terminal.leave(CTRL_D);
}

#[test]
fn a_full_context_forgets_what_is_oldest() {
    let home = Home::new();
    let question = "word ".repeat(40);
    let questions = format!("{question}\n").repeat(8) + "/usage\n";
    let output = home
        .dunlin("chat --model tiny.gguf --max-tokens 16 --temperature 0 --context 256")
        .input(questions)
        .output();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("(the context is full: the oldest "), "{said}");
    assert!(said.contains("8 answers in all"), "{said}");
}

#[test]
fn a_message_that_is_too_long_by_itself() {
    let home = Home::new();
    home.dunlin("chat --model tiny.gguf --context 128").input("word ".repeat(600)).check(&expect![[r#"
        exit code 1
        --- stderr
        error: this message alone has 1814 tokens, and the context takes 127
          hint: shorten it, or start with --context N
    "#]]);
}

#[test]
fn each_line_of_a_pipe_is_a_message() {
    let home = Home::new();
    let output = home
        .dunlin("chat --model tiny.gguf --max-tokens 4 --temperature 0 --quiet")
        .input("Hello\n\n/seed 7\nAnd again\n/bye\nNever heard\n")
        .output();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().lines().count() >= 2);
    home.dunlin("chat --model tiny.gguf").input(b"\xff\n").check(&expect![[r#"
        exit code 2
        --- stderr
        error: line 1 of the input is not UTF-8
          hint: `iconv` makes it so
    "#]]);
}

#[test]
fn another_model_goes_on_with_the_talk() {
    let home = Home::with_slow();
    home.dunlin("model add slow.gguf --alias slow --quiet").stdout();
    let output = home
        .dunlin("chat --model tiny.gguf --max-tokens 2 --temperature 0")
        .input("Hello\n/model slow\nAnd you?\n/usage\n")
        .output();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("slow (") && said.contains("2 answers in all"), "{said}");
}

//! What the command says of itself.

use expect_test::expect;

use crate::support::Home;

#[test]
fn the_command_as_a_whole() {
    let home = Home::new();
    home.dunlin("--help").check(&expect![[r#"
        Runs prompt pipelines on models, on this machine or on a fleet of boards.

        A pipeline is a WebAssembly component that uses a model through the interface `dunlin:llm`; a model
        is a GGUF file, which runs in a process of its own. Some pipelines are part of this command: `dunlin
        pipelines` lists them.

        Usage: dunlin [OPTIONS] <COMMAND>

        Commands:
          run          Run a pipeline once, on some input
          chat         Talk to a model
          pipelines    List the pipelines that are part of this command, and what they take
          new          Begin a pipeline of your own
          build        Make a component of a pipeline's sources
          check        Say what a component imports, exports and asks for, and what this host lacks
          model        Keep models: add, list, show, check, remove, and make some up
          eval         Measure how often a model is right
          profile      Measure what a model costs, here or on nodes of the fleet: load, prompts, answers
          meter        Say what this machine draws, by each of its meters
          costs        Cost tables: what models take here and on published boards, in seconds, joules and
                       money
          up           Run a fleet of one: scheduler and agent on this machine, in one process tree
          scheduler    Run the scheduler of a fleet
          agent        Run a node of a fleet on this machine
          token        Make tokens, by which boards and people join
          key          Make and take back keys of the HTTP API
          console      Print a link that opens the fleet's page in a browser, logged in
          login        Become an operator or a client of a fleet, with a token that an operator made
          nodes        Show the nodes of the fleet
          top          Watch the fleet in this terminal: boards, invocations, rates, watts
          models       The models of the fleet: list, push, alias, pin
          deploy       Give a pipeline to the fleet, under a name
          invoke       Run a pipeline on the fleet
          explain      Say why an invocation went where it went: the candidates with what was predicted, and
                       what came of it
          policy       Check policy files, show and set those of the fleet
          drain        Let a node end what it runs, and give it nothing new; what does not end in time goes
                       on elsewhere
          cordon       Give a node nothing new; what runs goes on
          mode         Put a node into another power mode, once what runs there has ended
          park         Let a node rest until it is needed, or woken; what runs there ends, or goes on
                       elsewhere
          wake         Get a parked node back to work
          deny         Bar a board or a person from the fleet: a lost board, a stolen key
          bench        Put a load on a server of OpenAI's API, and measure what comes of it
          doctor       Say what this machine has, and what is missing
          completions  Print what makes a shell complete this command
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help
                  Print help (see a summary with '-h')

          -V, --version
                  Print version

        Global options:
          -q, --quiet
                  No progress, no usage, no notes; errors only

          -v, --verbose...
                  Log what happens to stderr; twice for more

              --log-format <FORMAT>
                  How to log: for people, or a JSON object a line, with times and the ids of traces

                  [possible values: text, json]

              --color <WHEN>
                  Whether to use colours

                  [default: auto]
                  [possible values: auto, always, never]

        Examples:
          echo "disk nearly full" | dunlin run classify --param choices=ok,warning,critical
          dunlin run extract --param schema=@schema.json --input line.txt | jq .
          dunlin run ./mine.wasm --model ./qwen2.5-0.5b-q4_k_m.gguf < question.txt
          dunlin chat
          dunlin up                                     a fleet of one, to try
          dunlin invoke classify --text "disk nearly full" --param choices=ok,warning --explain
          dunlin doctor

        Environment:
          DUNLIN_MODEL           the model where --model is not given
          DUNLIN_ENGINE          the engine executable, where it is not beside this command
          DUNLIN_BUNDLED_MODELS  the folder of models that came with Dunlin
          DUNLIN_TOOLCHAINS      where compilers for pipelines are, if not in the cache
          DUNLIN_LOG             what is logged to stderr: debug, or dunlin_host=debug,dunlin_engine=info
          OTEL_EXPORTER_OTLP_ENDPOINT  where spans go, where --otlp is not given
          NO_COLOR               no colours, whatever it is set to
          XDG_DATA_HOME          where models are
          XDG_CACHE_HOME         where compiled pipelines and compilers are
          XDG_STATE_HOME         where the chat's history is
          XDG_CONFIG_HOME        where meters.toml and agent.toml are

        Exit codes:
          0    done
          1    the pipeline failed, trapped or ran into a limit, or the command did not work out
          2    the command line, a parameter or the input is wrong
          3    the model file is refused
          4    the model does not fit into the memory that is free
          5    the engine is missing, or died
          6    the deadline passed
          7    the component is refused
          130  interrupted (Ctrl-C), 141 the reader of the output went away, 143 terminated
    "#]]);
    home.dunlin("run --help").check(&expect![[r#"
        Run a pipeline once, on some input

        Usage: dunlin run [OPTIONS] [PIPELINE]

        Arguments:
          [PIPELINE]
                  A pipeline of `dunlin pipelines`, or the path of a component or of a core module

        Options:
          -m, --model <ALIAS|FILE>
                  The model: an alias (`demo`, `demo:small`), or a GGUF file

                  [env: DUNLIN_MODEL]
                  [default: demo]

          -i, --input <FILE|->
                  Where the input is: a file, or `-` for standard input [default: standard input]

          -t, --text <TEXT>
                  The input itself

              --args <ARGUMENTS>
                  Arguments of a command-line guest, as a shell would split them; without --input and --text
                  its stdin is then empty

          -p, --param <KEY=VALUE>
                  A parameter of the pipeline; `KEY=@FILE` takes what is in a file, `KEY=@@...` begins with
                  an @

              --json
                  One JSON document on stdout: the result, the usage, and what it was made with

              --json-lines
                  JSON lines on stdout, as they come

              --report <FILE>
                  Write the document of --json to a file, beside what is shown

              --foreign-guests <FOLDER>
                  Run all known guests of others in a folder, and show which of them work; a test of this
                  host

          -h, --help
                  Print help (see a summary with '-h')

        Limits and grants:
              --deadline <DURATION>
                  When to stop it, as in 30s, 500ms or 2m [default: what it asks for, or 10m]

              --limit <NAME=N>
                  At most this much; NAME is tokens, kv-cells, contexts, generations, host-calls,
                  emitted-bytes or memory (in MiB)

              --grant <WHAT=...>
                  Something else that it may use: `env=NAME[=VALUE]`, a variable; `model=[NAME=]ALIAS|FILE`,
                  one more model; `http=HOST[:PORT]`, requests to there; `nn-load[=MIB]`, models of wasi-nn
                  that it brings itself; `env` or `http` alone, those that it asks for; `budget`, more than
                  the defaults where it asks for more; `all`, all that it asks for

              --nn-model <NAME=ALIAS|FILE>
                  A model for a guest of wasi-nn, as --grant model=NAME=ALIAS|FILE. The first of these
                  stands in place of --model

              --env <NAME=VALUE>
                  A variable that the guest sees, as --grant env=NAME=VALUE

              --seed <N>
                  Where all draws come from: the same seed draws the same [default: a new one each time]

        Engine:
              --threads <N|PREFILL,DECODE>
                  Threads for both phases, or for reading prompts and for writing answers [default: all
                  cores; one for models below 32 MB]

              --context <TOKENS>
                  Longest conversation in tokens [default: what the model was trained on, at most 4096]

              --cache-dir <FOLDER>
                  Where compiled pipelines are kept [default: $XDG_CACHE_HOME/dunlin/pipelines]

        Global options:
          -q, --quiet
                  No progress, no usage, no notes; errors only

          -v, --verbose...
                  Log what happens to stderr; twice for more

              --log-format <FORMAT>
                  How to log: for people, or a JSON object a line, with times and the ids of traces

                  [possible values: text, json]

              --color <WHEN>
                  Whether to use colours

                  [default: auto]
                  [possible values: auto, always, never]

        Examples:
          echo "EXT4-fs error (device sda1)" | dunlin run classify --param choices=ok,warning,critical
          dunlin run extract --param schema=@schema.json --input line.txt | jq .
          dunlin run summarize --input report.txt --deadline 2m
          dunlin run ./mine.wasm --model ./model.gguf --threads 4,2 --text "Hello"
          dunlin run ./ggml-guest.wasm --nn-model default=./model.gguf --args "default 'Once upon a time'"

        Output:
          What the pipeline emits comes to stdout at once. Its answer follows, unless it is what was emitted
          already. A line with the usage follows on stderr: prompt tokens (computed + cached), output
          tokens, TTFT (time to the first token, from the start of the invocation), TPOT (median time per
          further token) and its inverse.

          --json gives one document: result, content_type, usage (times in microseconds), timings_ms
          (compile is null where it was compiled before), pipeline, model, seed, notes, log. Where it
          failed, `error` stands in place of the result: kind, exit_code, message, hint. --json-lines gives
          each chunk as it comes, {"type": "text" | "json" | "progress", ...}, and the same document last,
          with "type": "end".

        Exit codes:
          0    done
          1    the pipeline failed, trapped or ran into a limit, or the command did not work out
          2    the command line, a parameter or the input is wrong
          3    the model file is refused
          4    the model does not fit into the memory that is free
          5    the engine is missing, or died
          6    the deadline passed
          7    the component is refused
          130  interrupted (Ctrl-C), 141 the reader of the output went away, 143 terminated
    "#]]);
}

#[test]
fn the_commands_for_authors() {
    let home = Home::new();
    home.dunlin("new --help").check(&expect![[r#"
        Begin a pipeline of your own

        Usage: dunlin new [OPTIONS] <NAME|FOLDER>

        Arguments:
          <NAME|FOLDER>
                  Its folder, which is made, and by that its name

        Options:
          -l, --lang <LANGUAGE>
                  What it is written in

                  [default: rust]
                  [possible values: rust, python, js, c]

          -h, --help
                  Print help (see a summary with '-h')

        Global options:
          -q, --quiet
                  No progress, no usage, no notes; errors only

          -v, --verbose...
                  Log what happens to stderr; twice for more

              --log-format <FORMAT>
                  How to log: for people, or a JSON object a line, with times and the ids of traces

                  [possible values: text, json]

              --color <WHEN>
                  Whether to use colours

                  [default: auto]
                  [possible values: auto, always, never]

        Examples:
          dunlin new haiku
          dunlin new ~/pipelines/log-reader --lang python

        The project has a small pipeline that streams, a test, and the interface of pipelines. `dunlin
        build` makes a component of it and installs the compiler that the language needs; `dunlin run` runs
        it.
    "#]]);
    home.dunlin("build --help").check(&expect![[r#"
        Make a component of a pipeline's sources

        Usage: dunlin build [OPTIONS] [FOLDER]

        Arguments:
          [FOLDER]
                  The folder of the project, or one within it

        Options:
          -h, --help
                  Print help (see a summary with '-h')

        Global options:
          -q, --quiet
                  No progress, no usage, no notes; errors only

          -v, --verbose...
                  Log what happens to stderr; twice for more

              --log-format <FORMAT>
                  How to log: for people, or a JSON object a line, with times and the ids of traces

                  [possible values: text, json]

              --color <WHEN>
                  Whether to use colours

                  [default: auto]
                  [possible values: auto, always, never]

        Examples:
          dunlin build
          dunlin run "$(dunlin build haiku --quiet)" --text "autumn"

        The component is NAME.wasm in the project's folder; its path is printed. Rust takes cargo and the
        target wasm32-wasip2; the compilers for Python (componentize-py), JavaScript (componentize-js) and C
        (clang, of ziglang) come from the registries of Python and Node and are kept for all projects in
        $XDG_CACHE_HOME/dunlin/toolchains. The folder dunlin/ of the project is written anew for this
        version of Dunlin.
    "#]]);
    home.dunlin("check --help").check(&expect![[r#"
        Say what a component imports, exports and asks for, and what this host lacks

        Usage: dunlin check [OPTIONS] [FILE|FOLDER]

        Arguments:
          [FILE|FOLDER]
                  A component, or the folder of a project that was built

        Options:
              --json
                  One JSON document on stdout

          -h, --help
                  Print help (see a summary with '-h')

        Global options:
          -q, --quiet
                  No progress, no usage, no notes; errors only

          -v, --verbose...
                  Log what happens to stderr; twice for more

              --log-format <FORMAT>
                  How to log: for people, or a JSON object a line, with times and the ids of traces

                  [possible values: text, json]

              --color <WHEN>
                  Whether to use colours

                  [default: auto]
                  [possible values: auto, always, never]

        Examples:
          dunlin check haiku.wasm
          dunlin check haiku --json | jq .imports

        Nothing is compiled or run. The exit code is 0 if this host runs it, 7 if it does not.
    "#]]);
}

#[test]
fn what_it_was_built_of() {
    let home = Home::new();
    let version = home.dunlin("--version").stdout();
    assert!(version.starts_with("dunlin 0.") && version.contains("\nwasmtime 4"), "{version}");
    assert!(version.contains("\nllama.cpp by llama-cpp-sys-2 0."), "{version}");
}

#[test]
fn what_is_not_understood() {
    let home = Home::new();
    home.dunlin("run").check(&expect![[r#"
        exit code 2
        --- stderr
        error: the following required arguments were not provided:
          <PIPELINE>

        Usage: dunlin run <PIPELINE>

        For more information, try '--help'.
    "#]]);
    home.dunlin("rnu").check(&expect![[r#"
        exit code 2
        --- stderr
        error: unrecognized subcommand 'rnu'

        Usage: dunlin [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]]);
    home.dunlin("run ./script.wasm --threads 0").check(&expect![[r#"
        exit code 2
        --- stderr
        error: invalid value '0' for '--threads <N|PREFILL,DECODE>': a number of threads is 1 to 512; two are separated by a comma

        For more information, try '--help'.
    "#]]);
    home.dunlin("run ./script.wasm --deadline soon").check(&expect![[r#"
        exit code 2
        --- stderr
        error: invalid value 'soon' for '--deadline <DURATION>': "soon" is no unit; there are ms, s, m and h

        For more information, try '--help'.
    "#]]);
    home.dunlin("run ./script.wasm --model tiny.gguf --param choices").check(&expect![[r#"
        exit code 2
        --- stderr
        error: --param "choices" has no value
          hint: write --param KEY=VALUE
    "#]]);
    home.dunlin("run frobnicate --model tiny.gguf --text x").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no pipeline "frobnicate"
          hint: there are chat, classify, complete, embed, extract, summarize, vote; a component of your own is named by its path
    "#]]);
    home.dunlin("run clasify --model tiny.gguf --text x").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no pipeline "clasify"
          hint: did you mean "classify"?
    "#]]);
}

#[test]
fn shells_complete_names() {
    let home = Home::new();
    home.dunlin("model add tiny.gguf --alias mine --quiet").stdout();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.dunlin(&format!("completions {shell}")).stdout().contains("dunlin"), "{shell}");
    }
    let complete = |words: &str| {
        let words: Vec<&str> = ["--"].into_iter().chain(words.split(' ')).collect();
        let index = (words.len() - 2).to_string();
        home.dunlin_with(&words).env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).stdout()
    };
    assert_eq!(complete("dunlin run chat --model mi").trim(), "mine");
    assert_eq!(complete("dunlin run class").trim(), "classify");
    assert_eq!(complete("dunlin new haiku --lang py").trim(), "python");
}

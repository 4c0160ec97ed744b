//! `dunlin costs`.

use std::fs;

use dunlin_costs::{Origin, Table};
use expect_test::expect;
use serde_json::Value;

use crate::support::Home;

const ORIN: &str = "--reference --class orin-nano-8g --model llama-3.2-1b";

#[test]
fn rows_as_people_see_them() {
    let home = Home::new();
    home.dunlin(&format!("costs show {ORIN} --quiet")).check(&expect![[r#"
        MODEL                CLASS         POINT       TTFT     TPOT     ALL     J/IN   J/OUT  COLD LOAD  ROW
        Llama-3.2-1B Q4_K_M  orin-nano-8g  15W 4/4   [TIME]  [TIME]  [TIME]  ~0.0065  ~0.250    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  25W 4/4   [TIME]  [TIME]  [TIME]  ~0.0058  ~0.222    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  7W 4/4    [TIME]  [TIME]  [TIME]  ~0.0097  ~0.367    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  MAXN 4/4  [TIME]  [TIME]  [TIME]  ~0.0062  ~0.238    ~[TIME]  imported A
    "#]]);
    home.dunlin(&format!("costs report {ORIN} --mode 25W")).check(&expect![[r#"
        MODEL                CLASS         POINT    c/M IN  c/M OUT  J/RUN   RUNS  HOURS  TOKENS/S  ALONG       J*S
        Llama-3.2-1B Q4_K_M  orin-nano-8g  25W 4/4  ~0.032    ~1.23  ~31.2  ~2175   ~1.7      48.7  yes    ~0.00456
        --- stderr
        20 cents/kWh; a charge of 18.84 Wh; prompts of 512 tokens, answers of 128; people read 5.[RATE] tokens/s; ~ rests on an assumed range; joules are those at the board's input, idle draw included
    "#]]);
    home.dunlin("costs compare orin-nano-8g:25W orin-nano-8g:MAXN --model llama-3.2-1b").check(&expect![[
        r#"
            MODEL                POINT                WHAT         orin-nano-8g:25W  orin-nano-8g:MAXN  RATIO
            Llama-3.2-1B Q4_K_M  25W 4/4 by MAXN 4/4  TTFT                   [TIME]             [TIME]   0.90
                                                      TPOT                  [TIME]            [TIME]   0.90
                                                      all                    [TIME]             [TIME]   0.90
                                                      J/token in            ~0.0058            ~0.0062  ~1.07
                                                      J/token out           ~0.2220            ~0.2379  ~1.07
                                                      J in all             ~31.1816           ~33.4019  ~1.07
        "#
    ]]);
    home.dunlin(&format!("costs explain {ORIN} --mode MAXN --prompt-tokens 4000")).check(&expect![[r#"
        Llama-3.2-1B Q4_K_M on orin-nano-8g, MAXN 4/4 · L4T 36.4.7 · llama.cpp b9292, CUDA 12.6, all layers on the GPU · context 4096
        imported, grade A: percentiles and power are published
        fit to 11 cells of github.com/YuvrajSingh-mist/smolperfbenchmark, leaderboard/data.min.json at ba92a6e (CC BY 4.0; Singh, Y. (2026). smolperfbenchmark)

        TTFT  [TIME] = [TIME] + [TIME] x 4000 tokens + 9.206e-[TIME] x 4000^2
        TPOT  [TIME] = [TIME] + [TIME] x 4063 tokens of context
        J     ~54.89 in all = ~0.0056 J a prompt token, ~0.254 J an output token (sensor: CpuGpuRail, corrected: VDD_CPU_GPU_CV + 2.25 W (1.5 to 3))
        nine requests in ten take no longer than [TIME] to the first token, [TIME] a token; the fit misses its samples by 0.19 % (prompts) and 0.26 % (answers)

        extrapolated: nothing beyond prompts of 2048 tokens was measured

        ASSUMED                       VALUE      LOW     HIGH  RESTS ON
        load from the disk, ms        10681   1925.2    22475  assumed: NVMe to slow SD card; arXiv:2503.09114v1, 5.2 saw 5 to more than [TIME]; arXiv:2503.09114v1, 5.2 (2 to [TIME]); Liu, Zhang, Shi 2026, IV-A (2.0 to [TIME] on larger Orins)
        load from memory, ms           2200     1000     3200  arXiv:2503.09114v1, 5.2 (2 to [TIME]); Liu, Zhang, Shi 2026, IV-A (2.0 to [TIME] on larger Orins)
        beside another model, part        1      0.3      1.3  assumed: decoding is bound by memory
        decode step, 2              19.1192  18.7274  19.9029  assumed: a further sequence costs one to four times a prompt token
        decode step, 4              20.6866  19.5111  23.0377  assumed: a further sequence costs one to four times a prompt token
        decode step, 8              23.8214  21.0785  29.3073  assumed: a further sequence costs one to four times a prompt token
        decode step, 16              30.091  24.2132  41.8465  assumed: a further sequence costs one to four times a prompt token
        decode step, 32             42.6302  30.4828  66.9249  assumed: a further sequence costs one to four times a prompt token
        idle, W                        0.65     0.37      1.5  assumed, as for 7W
        load, W                           3      1.5        6  assumed: between idle and decode
        prompts, W                  10.5741   9.5167  14.8037  assumed: reading a prompt keeps the GPU at least as busy
        correction, W                  2.25      1.5        3  github.com/YuvrajSingh-mist/smolbenchmark: VDD_IN reads 1.5 to 3 W more

    "#]]);
    home.dunlin(&format!("costs pareto {ORIN} --quiet")).check(&expect![[r#"
        MODEL                CLASS         POINT       TTFT     TPOT     ALL     J/IN   J/OUT  COLD LOAD  ROW
        Llama-3.2-1B Q4_K_M  orin-nano-8g  25W 4/4   [TIME]  [TIME]  [TIME]  ~0.0058  ~0.222    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  MAXN 4/4  [TIME]  [TIME]  [TIME]  ~0.0062  ~0.238    ~[TIME]  imported A

        Further tokens: time against joules: TPOT, ms by J per output token
                 |
              80 |                                                                                    o
                 |
                 |
                 |
                 |
              60 |
                 |
                 |
                 |
                 |
              40 |
                 |
                 |                    o
                 |
                 |
              20 |     o.......o
                 |
                 +------------------------------------------------------------------------------------------
                                    0.25                         0.3                       0.35
                  o Llama-3.2-1B on orin-nano-8g
                  . worth having: nothing is better in both
    "#]]);
}

#[test]
fn what_a_board_is_worth() {
    let home = Home::new();
    let prices = "--price orin-nano-8g=598.80 --price pi5-8g-hot=97";
    let json = home.dunlin(&format!("costs report --reference {prices} --json")).json();
    let even = &json["break_even"][0];
    assert_eq!((&even["model"], &even["dearer"]), (&"Llama-3.2-1B Q4_K_M".into(), &"orin-nano-8g".into()));
    let years = even["break_even"]["years"].as_f64().unwrap();
    // 2.1 years beside a throttled board; half of the time takes twice as long.
    let half = home.dunlin(&format!("costs report --reference {prices} --share 0.5 --json")).json();
    let longer = half["break_even"][0]["break_even"]["years"].as_f64().unwrap();
    assert!(years > 1.5 && (longer / years - 2.0).abs() < 1e-9, "{years} {longer}");
    let rows = json["rows"].as_array().unwrap();
    let cents = |row: &Value| row["cents_per_million"]["output"]["nominal"].as_f64();
    let joules = |row: &Value| row["economy"]["joules"]["per_output_token"]["nominal"].as_f64();
    for row in rows {
        let (cents, joules) = (cents(row).unwrap(), joules(row).unwrap());
        assert!((cents * 180_000.0 / 1e6 / joules - 1.0).abs() < 1e-9, "{row:#}");
    }
}

#[test]
fn rules_are_looked_for() {
    let home = Home::new();
    let findings = home.dunlin("costs lint --reference --json").json();
    let findings = findings.as_array().unwrap();
    assert_eq!(findings.len(), 24);
    assert_eq!((&findings[5]["id"], &findings[5]["verdict"]), (&"R06".into(), &"holds".into()));
    let said = home.dunlin("costs lint --reference").stdout();
    assert!(said.contains("R14 does not ") && said.contains(" are built in"), "{said}");
}

#[test]
fn pictures_are_written_whole() {
    let home = Home::new();
    home.dunlin("costs show --reference --svg front.svg --html page.html --quiet").stdout();
    let (picture, page) = (home.path("work/front.svg"), home.path("work/page.html"));
    assert!(fs::read_to_string(picture).unwrap().trim_end().ends_with("</svg>"));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.trim_end().ends_with("</html>") && page.matches("<svg ").count() == 4);
    home.dunlin(&format!("costs show {ORIN} --plot threads")).check(&expect![[r#"
        exit code 2
        MODEL                CLASS         POINT       TTFT     TPOT     ALL     J/IN   J/OUT  COLD LOAD  ROW
        Llama-3.2-1B Q4_K_M  orin-nano-8g  15W 4/4   [TIME]  [TIME]  [TIME]  ~0.0065  ~0.250    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  25W 4/4   [TIME]  [TIME]  [TIME]  ~0.0058  ~0.222    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  7W 4/4    [TIME]  [TIME]  [TIME]  ~0.0097  ~0.367    ~[TIME]  imported A
        Llama-3.2-1B Q4_K_M  orin-nano-8g  MAXN 4/4  [TIME]  [TIME]  [TIME]  ~0.0062  ~0.238    ~[TIME]  imported A
        --- stderr
        error: none of these rows has what this picture shows
          hint: time against joules needs rows with watts; threads need rows of several thread counts
    "#]]);
}

fn bench(threads: u32, prompt: u32, output: u32, ms: f64) -> String {
    format!(
        r#"{{"build_commit":"abc","build_number":7000,"backends":"CPU","model_filename":"tiny.gguf","model_type":"llama 0B Q8_0","model_size":500000,"n_threads":{threads},"n_prompt":{prompt},"n_gen":{output},"n_depth":0,"avg_ns":{},"avg_ts":{}}}"#,
        ms * 1e6,
        f64::from(prompt + output) / ms * 1e3
    )
}

#[test]
fn what_others_measured_is_taken_whole_or_not_at_all() {
    let home = Home::new();
    let lines = [bench(2, 128, 0, 20.0), bench(2, 512, 0, 80.0), bench(1, 0, 64, 128.0)].join("\n");
    home.write("bench.jsonl", &lines);
    let said = home.dunlin("costs import bench.jsonl --model tiny.gguf --json").json();
    assert_eq!((&said["rows"], &said["changed"]), (&1.into(), &1.into()), "{said:#}");
    let costs = home.path("data/dunlin/costs.toml");
    let kept = fs::read_to_string(&costs).unwrap();
    let table = Table::parse(&kept).unwrap();
    let row = table.rows().next().unwrap();
    assert_eq!(
        (row.provenance.origin, row.key.prefill_threads, row.key.decode_threads),
        (Origin::Imported, 2, 1)
    );
    // The same again changes nothing; what is broken leaves all as it was.
    assert_eq!(home.dunlin("costs import bench.jsonl --model tiny.gguf --json").json()["changed"], 0);
    home.write("half.jsonl", &lines[..lines.len() - 20]);
    home.write("nan.jsonl", lines.replacen("\"avg_ns\":", "\"avg_ns\":NaN,\"x\":", 1));
    home.dunlin("costs import half.jsonl --model tiny.gguf").check(&expect![[r#"
        exit code 2
        --- stderr
        error: half.jsonl: it ends in line 3, in the middle of a value: it was cut off; fetch or write it again
          hint: nothing was taken; `dunlin costs import --help` says what can be
    "#]]);
    home.dunlin("costs import nan.jsonl --model tiny.gguf").check(&expect![[r#"
        exit code 2
        --- stderr
        error: nan.jsonl: line 1, column 198: NaN is no number that can be measured
          hint: nothing was taken; `dunlin costs import --help` says what can be
    "#]]);
    home.dunlin("costs import nowhere.json").check(&expect![[r#"
        exit code 2
        --- stderr
        error: nowhere.json: No such file or directory (os error 2)
    "#]]);
    // Of another model.
    home.dunlin("costs export --reference --class orin-nano-8g -o orin.json --quiet").stdout();
    let refused = home.dunlin("costs import orin.json --model tiny.gguf").output();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("orin.json: all 6 rows are of another model than tiny.gguf ("), "{said}");
    assert_eq!(fs::read_to_string(&costs).unwrap(), kept);
    // What was exported comes back.
    home.dunlin("costs import orin.json -o other.toml --quiet").stdout();
    let other = Table::parse(&fs::read_to_string(home.path("work/other.toml")).unwrap()).unwrap();
    assert_eq!(other.len(), 6);
}

#[test]
fn what_is_not_there_is_said() {
    let home = Home::new();
    home.dunlin("costs show --own").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there are no cost rows
          hint: dunlin profile measures some
    "#]]);
    home.dunlin("costs show --model lama-3.2-1b").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no model "lama-3.2-1b"; did you mean "Llama-3.2-1B"?
    "#]]);
    home.dunlin("costs show --table nowhere.toml").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no file nowhere.toml
    "#]]);
    home.dunlin("costs compare orin-nano-8g pi6").check(&expect![[r#"
        exit code 2
        --- stderr
        error: there is no row of "pi6"; there are orin-nano-8g:15W, orin-nano-8g:25W, orin-nano-8g:7W, orin-nano-8g:MAXN, pi5-8g-hot:performance, pi5-8g:ondemand, pi5-8g:performance, pi5-8g:powersave
    "#]]);
    home.dunlin("costs report --price pi5-8g=97").check(&expect![[r#"
        exit code 2
        --- stderr
        error: a break-even is between two classes
          hint: give --price CLASS=PRICE twice, for two classes
    "#]]);
    home.dunlin("costs explain --reference").check(&expect![[r#"
        exit code 2
        --- stderr
        error: 47 rows are meant, 1 to 3 can be explained
          hint: narrow it by --class, --model, --mode and --decode-threads; dunlin costs show lists them
    "#]]);
    home.write("bad.toml", "[[row]]\nname = 3\n");
    home.dunlin("costs lint --table bad.toml").check(&expect![[r#"
        exit code 2
        --- stderr
        error: bad.toml: line 2, column 8: invalid type: integer `3`, expected a string
          hint: give another file, or move this one away
    "#]]);
}

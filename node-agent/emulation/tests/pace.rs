//! Emulated engines behind the real handle, on virtual time.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use dunlin_costs::{Class, Thermal};
use dunlin_emulation::{Board, Cooling, EmulatedModel, Individual, tokenize};
use dunlin_engine_handle::{
    Constraint, Engine, EngineError, Generate, Load, Normalize, Patience, Prepare, Score, StopReason,
    Threads, Usage,
};
use expect_test::{Expect, expect};

/// A seed by which no turn ends at positions 16 to 700.
const TALKATIVE: u64 = 67;

fn model(board: &Board, name: &str) -> EmulatedModel {
    let facts = board.class().model(name).unwrap().clone();
    EmulatedModel::new(board, &facts).unwrap()
}

fn board(class: &str, mode: &str) -> Board {
    let board = Board::new(class, Individual::Nominal).unwrap();
    board.set_mode(mode).unwrap();
    board
}

async fn started(board: &Board, name: &str) -> Engine {
    let engine = Engine::start(model(board, name), Load::default(), Patience::default());
    engine.ready().await.unwrap();
    engine
}

/// A prompt that shares nothing with that of another number.
fn request(number: u32, prompt: usize, output: u32) -> Generate {
    let first = tokenize(&format!("{number:03}"));
    let tokens = first.into_iter().chain(std::iter::repeat(tokenize("abc")[0])).take(prompt).collect();
    Generate { prompt: tokens, max_tokens: output, seed: TALKATIVE, ..Generate::default() }
}

async fn run(engine: &Engine, generate: Generate) -> (String, StopReason, Usage) {
    let mut generation = engine.generate(generate);
    let mut text = String::new();
    while let Some(delta) = generation.next().await {
        let delta = delta.unwrap();
        text += &delta.text;
        if let Some(finish) = delta.finish {
            return (text, finish.reason, finish.usage);
        }
    }
    panic!("it did not finish");
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[tokio::test(start_paused = true)]
async fn published_figures_of_512_in_and_128_out_are_met() {
    async fn check(class: &str, mode: &str, expected: Expect) {
        let board = board(class, mode);
        let engine = started(&board, "Llama-3.2-1B").await;
        let before = board.reading();
        let (_, reason, usage) = run(&engine, request(0, 512, 128)).await;
        let after = board.reading();
        assert_eq!((reason, usage.output_tokens), (StopReason::MaxTokens, 128));
        let joules = |before: Option<f64>, after: Option<f64>| after.unwrap() - before.unwrap();
        expected.assert_eq(&format!(
            "{:.2} s, ttft {:.3} s, tpot {:.2} ms; {:.1} J read, {:.1} J at the input, {:.1} J above idle",
            seconds(usage.total_us),
            seconds(usage.ttft_us),
            (usage.total_us - usage.ttft_us) as f64 / 127e3,
            joules(before.sensor_joules, after.sensor_joules),
            joules(before.input_joules, after.input_joules),
            joules(before.above_idle_joules, after.above_idle_joules),
        ));
    }
    check(
        "orin-nano-8g",
        "MAXN",
        expect!["2.60 s, ttft 0.249 s, tpot 18.55 ms; 27.5 J read, 33.4 J at the input, 25.8 J above idle"],
    )
    .await;
    check(
        "orin-nano-8g",
        "25W",
        expect!["2.88 s, ttft 0.277 s, tpot 20.53 ms; 24.7 J read, 31.2 J at the input, 23.1 J above idle"],
    )
    .await;
    check(
        "orin-nano-8g",
        "15W",
        expect!["4.21 s, ttft 0.397 s, tpot 30.04 ms; 25.5 J read, 35.0 J at the input, 23.6 J above idle"],
    )
    .await;
    check(
        "orin-nano-8g",
        "7W",
        expect!["11.43 s, ttft 1.096 s, tpot 81.34 ms; 25.8 J read, 51.5 J at the input, 21.3 J above idle"],
    )
    .await;
    check(
        "pi5-8g-hot",
        "performance",
        expect![
            "37.49 s, ttft 10.676 s, tpot 211.10 ms; 354.2 J read, 427.7 J at the input, 311.2 J above idle"
        ],
    )
    .await;
    check(
        "pi5-8g",
        "ondemand",
        expect![
            "19.73 s, ttft 7.162 s, tpot 98.93 ms; 186.4 J read, 225.1 J at the input, 170.5 J above idle"
        ],
    )
    .await;
    check(
        "pi5-8g",
        "powersave",
        expect![
            "26.32 s, ttft 11.369 s, tpot 117.72 ms; 115.0 J read, 147.2 J at the input, 77.5 J above idle"
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn four_streams_at_once_share_their_steps() {
    async fn check(class: &str, mode: &str, expected: Expect) {
        let board = board(class, mode);
        let engine = started(&board, "Llama-3.2-1B").await;
        let start = tokio::time::Instant::now();
        let (_, _, alone) = run(&engine, request(0, 64, 100)).await;
        let one = start.elapsed();
        let joules = board.reading().above_idle_joules.unwrap();
        let start = tokio::time::Instant::now();
        let all = (1..5).map(|number| {
            tokio::spawn({
                let engine = engine.clone();
                async move { run(&engine, request(number, 64, 100)).await }
            })
        });
        let mut tpots = Vec::new();
        for task in all.collect::<Vec<_>>() {
            tpots.push(task.await.unwrap().2.tpot_p50_us);
        }
        let four = start.elapsed();
        let joules = (board.reading().above_idle_joules.unwrap() - joules) / 4.0;
        expected.assert_eq(&format!(
            "tpot {:.2} ms alone, {:.2} ms of four: x {:.2}; tokens a second x {:.2}; {joules:.1} J a request",
            alone.tpot_p50_us as f64 / 1e3,
            tpots[0] as f64 / 1e3,
            tpots[0] as f64 / alone.tpot_p50_us as f64,
            4.0 * one.as_secs_f64() / four.as_secs_f64(),
        ));
    }
    check(
        "orin-nano-8g",
        "MAXN",
        expect!["tpot 18.38 ms alone, 19.67 ms of four: x 1.07; tokens a second x 3.35; 5.9 J a request"],
    )
    .await;
    check(
        "pi5-8g-hot",
        "performance",
        expect!["tpot 196.87 ms alone, 276.43 ms of four: x 1.40; tokens a second x 2.23; 87.2 J a request"],
    )
    .await;
    check(
        "pi5-8g",
        "ondemand",
        expect!["tpot 88.56 ms alone, 151.56 ms of four: x 1.71; tokens a second x 1.91; 47.7 J a request"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_held_is_not_read_again_and_tenants_share_none() {
    let board = board("pi5-8g", "ondemand");
    let engine = started(&board, "Llama-3.2-1B").await;
    let of = |tenant: &str, public| Generate { tenant: tenant.into(), public, ..request(0, 256, 2) };
    let (_, _, first) = run(&engine, of("a", 100)).await;
    let (_, _, again) = run(&engine, of("a", 0)).await;
    let (_, _, other) = run(&engine, of("b", 60)).await;
    assert_eq!((first.cached_tokens, again.cached_tokens, other.cached_tokens), (0, 255, 60));
    assert!(again.ttft_us < first.ttft_us / 4, "{} {}", again.ttft_us, first.ttft_us);

    let prepare = Prepare { prompt: request(9, 300, 0).prompt, tenant: "c".into(), public: 0, branches: 2 };
    engine.prepare(prepare).await.unwrap();
    let (_, _, branch) = run(&engine, Generate { tenant: "c".into(), ..request(9, 320, 2) }).await;
    assert_eq!((branch.cached_tokens, branch.prompt_tokens), (300, 20));
}

#[tokio::test(start_paused = true)]
async fn a_text_goes_on_the_same_with_its_beginning_in_the_prompt() {
    let board = board("orin-nano-8g", "25W");
    let engine = started(&board, "Llama-3.2-1B").await;
    let (whole, _, _) = run(&engine, request(0, 40, 60)).await;
    let (begin, _, _) = run(&engine, request(0, 40, 25)).await;
    let mut resumed = request(0, 40, 35);
    let mut generation = engine.generate(request(0, 40, 25));
    while let Some(delta) = generation.next().await {
        resumed.prompt.extend(delta.unwrap().tokens);
    }
    let (rest, _, _) = run(&engine, resumed).await;
    assert_eq!(begin + &rest, whole);
}

#[tokio::test(start_paused = true)]
async fn two_models_at_work_slow_each_other_down() {
    let board = board("orin-nano-8g", "25W");
    let (llama, bonsai) = (started(&board, "Llama-3.2-1B").await, started(&board, "Bonsai-1.7B").await);
    let (_, _, alone) = run(&llama, request(0, 64, 50)).await;
    let beside = tokio::spawn(async move { run(&bonsai, request(0, 64, 400)).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, _, shared) = run(&llama, request(1, 64, 50)).await;
    beside.abort();
    let ratio = shared.tpot_p50_us as f64 / alone.tpot_p50_us as f64;
    assert!((1.9..2.1).contains(&ratio), "{ratio}");
}

#[tokio::test(start_paused = true)]
async fn memory_is_counted_and_comes_back() {
    let board = board("pi5-8g", "ondemand");
    let free = board.free_memory();
    let engine = started(&board, "Llama-3.2-3B").await;
    let load = Load { cells: 40_000, ..Load::default() };
    let second = Engine::start(model(&board, "Llama-3.2-3B"), load, Patience::default());
    let refusal = second.ready().await.unwrap_err();
    expect![
        "Llama-3.2-3B takes 6606867660 bytes with 40000 cells, 3101604148 are free on the emulated board"
    ]
    .assert_eq(&refusal.to_string());
    assert!(matches!(refusal, EngineError::Memory(_)));
    engine.drain().await;
    drop(second);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(board.free_memory(), free);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_from_the_disk_once() {
    let board = board("pi5-8g", "ondemand");
    let mut loads = Vec::new();
    for _ in 0..2 {
        let start = tokio::time::Instant::now();
        let engine = started(&board, "Llama-3.2-1B").await;
        loads.push(start.elapsed());
        engine.drain().await;
    }
    assert!(loads[0] > Duration::from_secs(8) && loads[1] < Duration::from_millis(1300), "{loads:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_end_when_they_are_cancelled_or_late() {
    let board = board("pi5-8g-hot", "performance");
    let engine = started(&board, "Llama-3.2-1B").await;
    let (_, reason, usage) = run(&engine, Generate { deadline_ms: Some(3000), ..request(0, 64, 400) }).await;
    assert_eq!(reason, StopReason::Deadline);
    assert!((3.0..3.3).contains(&seconds(usage.total_us)) && usage.output_tokens > 2);

    let whole = run(&engine, request(3, 64, 30)).await.0;
    let stop = vec!["never".to_owned(), whole[20..25].to_owned()];
    let (text, reason, _) = run(&engine, Generate { stop, ..request(3, 64, 30) }).await;
    assert_eq!(reason, StopReason::StopString);
    assert_eq!(text, whole[..20]);
    let (_, reason, usage) = run(&engine, request(4, 4090, 400)).await;
    assert_eq!((reason, usage.output_tokens), (StopReason::ContextFull, 6));

    let mut generation = engine.generate(request(1, 64, 400));
    generation.next().await.unwrap().unwrap();
    generation.cancel();
    let mut last = None;
    while let Some(delta) = generation.next().await {
        last = delta.unwrap().finish;
    }
    assert_eq!(last.unwrap().reason, StopReason::Cancelled);
    let error = engine.generate(request(2, 5000, 1)).next().await.unwrap().unwrap_err();
    assert_eq!(error, EngineError::PromptTooLong { tokens: 5000, possible: 4095 });
}

#[tokio::test(start_paused = true)]
async fn answers_have_the_form_that_is_asked_for() {
    let board = board("orin-nano-8g", "25W");
    let engine = started(&board, "Llama-3.2-1B").await;
    let schema = r#"{"type":"object","properties":{"level":{"enum":["ok","bad"]}},"required":["level"]}"#;
    let constrained = |constraint| Generate { constraint: Some(constraint), ..request(0, 32, 64) };
    let (text, reason, _) = run(&engine, constrained(Constraint::JsonSchema(schema.into()))).await;
    assert_eq!((text.as_str(), reason), (r#"{"level":"ok"}"#, StopReason::ConstraintComplete));
    let score = Score {
        prompt: request(0, 32, 0).prompt,
        tenant: String::new(),
        public: 0,
        candidates: vec!["yes".into(), "no".into()],
        tokens: Vec::new(),
        normalize: Normalize::Total,
        deadline_ms: None,
    };
    assert_eq!(engine.score(score.clone()).await.unwrap(), engine.score(score).await.unwrap());
    assert!(matches!(engine.embed(vec!["x".into()]).await, Err(EngineError::Unsupported(_))));
}

#[tokio::test(start_paused = true)]
async fn modes_and_threads_change_the_pace_from_the_next_step_on() {
    let board = board("pi5-8g", "powersave");
    let engine = started(&board, "Llama-3.2-1B").await;
    let tpot = async |number| run(&engine, request(number, 16, 20)).await.2.tpot_p50_us;
    let four = tpot(0).await;
    engine.set_threads(Threads { prefill: 4, decode: 3 });
    let three = tpot(1).await;
    board.set_mode("ondemand").unwrap();
    let ondemand = tpot(2).await;
    assert!(ondemand < three && three < four, "{ondemand} {three} {four}");
    let error = board.set_mode("turbo").unwrap_err().to_string();
    expect![[r#"a pi5-8g has no mode "turbo"; it has powersave, ondemand, performance"#]].assert_eq(&error);
}

#[tokio::test(start_paused = true)]
async fn a_board_without_air_gets_hot_and_slow() {
    let class = Class::find("pi5-8g").unwrap();
    let cooling = Cooling {
        room: 50.0,
        degrees_per_watt: 3.1,
        warming: Duration::from_secs(60),
        cooling: Duration::from_secs(90),
        throttles_at: 82.0,
        recovers_at: 75.0,
        slower: (1.6, 1.15),
    };
    let board = Board::with(class, Individual::Nominal, cooling);
    let engine = started(&board, "Llama-3.2-1B").await;
    let (_, _, cool) = run(&engine, request(0, 256, 20)).await;
    for number in 0..12 {
        run(&engine, request(100 + number, 2000, 20)).await;
    }
    assert_eq!(board.reading().thermal, Thermal::Throttled);
    let (_, _, hot) = run(&engine, request(1, 256, 20)).await;
    let slower = hot.ttft_us as f64 / cool.ttft_us as f64;
    assert!((1.5..1.7).contains(&slower), "{slower}");
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(board.reading().thermal, Thermal::Cool);
}

#[tokio::test(start_paused = true)]
async fn boards_of_a_class_differ() {
    let mut tpots = Vec::new();
    for seed in 0..5 {
        let board = Board::new("orin-nano-8g", Individual::Seed(seed)).unwrap();
        let engine = started(&board, "Llama-3.2-1B").await;
        tpots.push(run(&engine, request(0, 64, 20)).await.2.tpot_p50_us);
    }
    tpots.sort_unstable();
    assert!(tpots.windows(2).all(|pair| pair[0] < pair[1]), "{tpots:?}");
    assert!(tpots[4] < 4 * tpots[0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_elsewhere_is_read_and_said_again() {
    async fn said(replay: Vec<u32>) -> (Vec<u32>, String, Usage) {
        let engine = started(&board("orin-nano-8g", "MAXN"), "Llama-3.2-1B").await;
        let mut generation = engine.generate(Generate { replay, ..request(0, 100, 60) });
        let (mut tokens, mut text) = (Vec::new(), String::new());
        while let Some(delta) = generation.next().await {
            let delta = delta.unwrap();
            tokens.extend(delta.tokens);
            text += &delta.text;
            if let Some(finish) = delta.finish {
                return (tokens, text, finish.usage);
            }
        }
        panic!("it did not finish");
    }
    let (tokens, text, whole) = said(Vec::new()).await;
    let (again, same, resumed) = said(tokens[..40].to_vec()).await;
    assert_eq!((&again, &same, resumed.output_tokens), (&tokens, &text, 60));
    // 40 tokens that are read take much less than 40 that are written.
    assert_eq!(resumed.prompt_tokens, 140);
    assert!(resumed.total_us < whole.total_us / 2, "{resumed:?} {whole:?}");
}

//! What the screen looks like, and what keys do.

use std::time::{Duration, Instant};

use dunlin_protocol::{
    FleetSummary, Health, InvocationId, JoinedNode, ListedInvocation, ModelDigest, NodePlan, NodeState,
    OperatingPoint, ParkLevel, ParkStage, Parked, PlannedMode, Residency, Resident,
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{
    super::screen::{Next, Over, Screen},
    *,
};

fn node(name: &str, state: NodeState, running: u32) -> JoinedNode {
    JoinedNode {
        name: name.parse().unwrap(),
        class: "orin-nano-8g".to_owned(),
        state,
        emulated: true,
        labels: Vec::new(),
        memory_bytes: 8_000_000_000,
        free_memory_bytes: 5_100_000_000,
        residents: vec![Resident {
            model: ModelDigest([7; 32]),
            state: Residency::Ready,
            point: OperatingPoint::default(),
            slots: 4,
            running,
            queued: 0,
            memory_bytes: 1_200_000_000,
            cells: 4096,
            used_cells: 512,
            prefixes: None,
        }],
        models: 2,
        running,
        health: Health {
            mode: "MAXN".to_owned(),
            temperature: Some(513),
            milliwatts: Some(9800 + running),
            battery_percent: (name == "pi").then_some(81),
            on_battery: true,
            ..Health::default()
        },
        seen_ms_ago: Some(200),
        build: "0.1.0".to_owned(),
        unconfined: String::new(),
        stale: 0,
        plan: None,
    }
}

fn invocation(number: u128, state: &str, tokens: u64) -> ListedInvocation {
    let ended = (state == "done").then_some(2500);
    ListedInvocation {
        id: InvocationId(number),
        tenant: "local".to_owned(),
        pipeline: "chat".to_owned(),
        model: "demo".to_owned(),
        policy: "balanced".to_owned(),
        state: state.to_owned(),
        submitted_unix_ms: 0,
        age_ms: 3000,
        node: (state != "queued").then(|| "jetson".parse().unwrap()),
        attempts: 1,
        tokens,
        first_token_ms: (tokens > 0).then_some(500),
        ended_ms: ended,
        failure: None,
        energy: None,
        emulated: true,
    }
}

fn look(at: Instant, more_tokens: u64) -> Look {
    Look {
        fleet: FleetSummary {
            fleet: "ljnfuws2ljnfuws2".parse().unwrap(),
            build: String::new(),
            nodes: 2,
            connected: 1,
            running: 1,
            queued: 1,
        },
        nodes: vec![node("jetson", NodeState::Ready, 1), node("pi", NodeState::Suspected, 0)],
        models: vec![(ModelDigest([7; 32]), "demo".to_owned())],
        invocations: vec![
            invocation(1, "done", 41),
            invocation(2, "running", 10 + more_tokens),
            invocation(3, "queued", 0),
        ],
        at,
    }
}

fn screen() -> Screen {
    let mut screen = Screen::new(false);
    let began = screen.time;
    screen.see(look(began, 0));
    screen.time = began + Duration::from_secs(1);
    screen.see(look(screen.time, 20));
    screen
}

fn shown(screen: &mut Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    let text = terminal.backend().to_string();
    let lines = text.lines().map(|line| line.trim_matches('"').trim_end());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
}

fn press(screen: &mut Screen, code: KeyCode) -> Next {
    screen.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn boards_and_invocations_in_a_wide_terminal() {
    let text = shown(&mut screen(), 130, 12);
    let head = text.lines().next().unwrap();
    for words in ["1 of 2 boards", "1 running", "1 waiting", "2 live", "20.0 tokens/s", "9.8 W"] {
        assert!(head.contains(words), "{words}: {text}");
    }
    assert!(head.ends_with("live"), "{text}");
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    let jetson: Vec<&str> = line("jetson").split_whitespace().collect();
    assert_eq!(
        jetson,
        ["jetson", "~orin-nano-8g", "ready", "1", "9.8", "W", "51", "°C", "-", "5.1", "GB", "MAXN", "demo"]
    );
    // Of a board that is gone nothing is known.
    assert_eq!(
        line("pi").split_whitespace().collect::<Vec<_>>(),
        ["pi", "~orin-nano-8g", "not", "connected"]
    );
    let running = text.lines().skip(1).find(|line| line.contains("running ")).unwrap();
    assert!(running.contains("30") && running.contains("20.0") && running.contains("500 ms"), "{text}");
}

#[test]
fn a_small_terminal_has_what_matters_most() {
    let text = shown(&mut screen(), 60, 12);
    assert!(text.contains("STATE") && text.contains("WATTS") && !text.contains("BATTERY"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
    assert!(shown(&mut screen(), 20, 4).contains("the terminal is"));
    // Any size is drawn.
    for (width, height) in [(1, 1), (30, 7), (31, 8), (500, 3), (200, 100)] {
        shown(&mut screen(), width, height);
    }
}

#[test]
fn a_scheduler_that_is_away_is_told() {
    let mut screen = screen();
    let until = screen.time + Duration::from_secs(7);
    screen.lost("cannot be reached\u{1b}[2J".to_owned(), until);
    screen.time += Duration::from_secs(4);
    let text = shown(&mut screen, 100, 12);
    assert!(text.contains("no scheduler (cannot be reached[2J); seen 4 s ago, next try in 3 s"), "{text}");
    // What was seen stays.
    assert!(text.contains("jetson"), "{text}");
    screen.see(look(screen.time, 40));
    assert!(shown(&mut screen, 100, 12).contains("live"));
}

fn planned(name: &str, state: NodeState, plan: NodePlan) -> JoinedNode {
    JoinedNode { plan: Some(Box::new(plan)), ..node(name, state, 0) }
}

fn parked(level: ParkLevel, stage: ParkStage) -> NodePlan {
    let parked = Parked { level, unix_seconds: 1, wakes: stage == ParkStage::Wakes, wake_ms: 60_000, stage };
    NodePlan { parked: Some(parked), ..NodePlan::default() }
}

#[test]
fn boards_that_rest_and_boards_that_change_say_so() {
    let mut screen = screen();
    let mut planned_look = look(screen.time, 30);
    let seven = PlannedMode {
        mode: "7W".to_owned(),
        milliwatts: Some(2650),
        request_ms: 5200,
        suffices: true,
        assumed: true,
        ..PlannedMode::default()
    };
    let to_seven = NodePlan {
        says: "7W saves 9 % of watts, by assumed figures; now".to_owned(),
        changes_to: Some("7W".to_owned()),
        modes: vec![seven],
        ..NodePlan::default()
    };
    let mut off = planned("off", NodeState::Parked, parked(ParkLevel::Off, ParkStage::Rests));
    off.health.milliwatts = None;
    planned_look.nodes = vec![
        planned("changer", NodeState::Draining, to_seven),
        planned("goer", NodeState::Draining, parked(ParkLevel::LowMode, ParkStage::Goes)),
        planned("low", NodeState::Parked, parked(ParkLevel::LowMode, ParkStage::Rests)),
        off,
        planned("waker", NodeState::Wakes, parked(ParkLevel::Off, ParkStage::Wakes)),
    ];
    screen.see(planned_look);
    let text = shown(&mut screen, 130, 16);
    let head = text.lines().next().unwrap();
    assert!(head.contains("2 rest · 1 change mode") && !head.contains("of 4 boards"), "{text}");
    for (name, words) in [
        ("changer", "changes mode"),
        ("changer", "MAXN → 7W"),
        ("goer", "goes to rest"),
        ("low", "parked"),
        ("waker", "wakes"),
    ] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(words), "{name} {words}: {text}");
    }
    let line = text.lines().find(|line| line.starts_with("off ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["off", "~orin-nano-8g", "off"], "{text}");
    press(&mut screen, KeyCode::Enter);
    let text = shown(&mut screen, 100, 20);
    for words in [
        "plan: it changes to 7W",
        "plan: 7W saves 9 % of watts, by assumed figures; now",
        "in 7W it draws ~2.65 W, a request takes 5.20 s",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Where there is little room, too.
    press(&mut screen, KeyCode::Esc);
    let text = shown(&mut screen, 60, 16);
    assert!(text.contains("changes mode") && text.contains("goes to rest"), "{text}");
}

#[test]
fn keys_select_sort_and_open() {
    let mut screen = screen();
    assert_eq!(screen.board.as_ref().map(ToString::to_string).as_deref(), Some("jetson"));
    press(&mut screen, KeyCode::Down);
    press(&mut screen, KeyCode::Down);
    assert_eq!(screen.board.as_ref().map(ToString::to_string).as_deref(), Some("pi"));
    // By class they are alike, the other way round the last is the first; what is selected stays.
    press(&mut screen, KeyCode::Char('S'));
    assert_eq!(screen.sorted_boards()[0].name.to_string(), "pi");
    press(&mut screen, KeyCode::Enter);
    let text = shown(&mut screen, 90, 16);
    assert!(text.contains("emulated: it does not exist") && text.contains("512 of 4096 cells"), "{text}");
    press(&mut screen, KeyCode::Esc);
    press(&mut screen, KeyCode::Tab);
    assert_eq!(press(&mut screen, KeyCode::Enter), Next::Explain(InvocationId(2)));
    assert!(shown(&mut screen, 90, 16).contains("asking the scheduler"));
    screen.explained(InvocationId(9), "of another".to_owned());
    screen.explained(InvocationId(2), (0..40).map(|line| format!("line {line}\n")).collect());
    press(&mut screen, KeyCode::End);
    let text = shown(&mut screen, 90, 16);
    assert!(text.contains("line 39") && !text.contains("line 0\n"), "{text}");
    press(&mut screen, KeyCode::Char('?'));
    assert_eq!(screen.over, Over::Help);
    assert!(shown(&mut screen, 90, 16).contains("sort by the next column"));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Leave);
}

#[test]
fn what_is_selected_goes_when_it_is_gone() {
    let mut screen = screen();
    press(&mut screen, KeyCode::Down);
    let mut later = look(screen.time, 30);
    later.nodes.pop();
    screen.see(later);
    assert_eq!(screen.board.as_ref().map(ToString::to_string).as_deref(), Some("jetson"));
    let mut none = look(screen.time, 30);
    none.nodes.clear();
    none.invocations.clear();
    screen.see(none);
    let text = shown(&mut screen, 90, 12);
    assert!(text.contains("no boards yet") && text.contains("nothing runs"), "{text}");
    for code in [KeyCode::Down, KeyCode::Enter, KeyCode::Tab, KeyCode::Up, KeyCode::Enter, KeyCode::Char('s')]
    {
        assert_eq!(press(&mut screen, code), Next::Stay);
    }
}

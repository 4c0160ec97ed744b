use super::*;

const ROUND: u64 = 30;

/// A board of three modes, asked for so many requests a second: watts when idle, joules and seconds of a request.
fn board(node: u64, mode: &str, rate: f64) -> ModeState {
    let choice = |(name, idle, joules, seconds): (&str, f64, f64, f64)| ModeChoice {
        mode: name.into(),
        watts: Some(idle + rate * joules),
        busy: rate * seconds,
        seconds,
        strain: 0.0,
    };
    let choices = [("low", 1.0, 22.0, 10.0), ("mid", 2.0, 23.0, 3.0), ("max", 3.0, 28.0, 2.5)];
    ModeState {
        node: NodeId(node),
        mode: mode.into(),
        choices: choices.map(choice).into(),
        residents: Vec::new(),
        is_ready: true,
        is_idle: true,
        changes: false,
    }
}

fn after(seconds: u64) -> Time {
    Time::since_epoch(Duration::from_secs(seconds))
}

fn rules() -> ModeRules {
    ModeRules::default()
}

/// Changes of one board over an hour of rounds, the load given by the round; it does what is due.
fn play(objective: Objective, state: impl Fn(u64, &str) -> ModeState) -> Vec<(u64, String)> {
    let (mut plan, mut mode, mut changes) = (ModePlan::default(), "mid".to_owned(), Vec::new());
    for round in 0..120 {
        for change in plan.round(after(ROUND * round), &rules(), objective, &[state(round, &mode)]) {
            mode = change.mode.to_string();
            changes.push((round, mode.clone()));
        }
    }
    changes
}

#[track_caller]
fn check(objective: Objective, rate: impl Fn(u64) -> f64, expected: &[(u64, &str)]) {
    let changes = play(objective, |round, mode| board(1, mode, rate(round)));
    let changes: Vec<(u64, &str)> = changes.iter().map(|(round, mode)| (*round, mode.as_str())).collect();
    assert_eq!(changes, expected);
}

#[test]
fn the_objective_and_the_load_decide() {
    // Idle boards go low where joules count, and stay quick where time does.
    check(Objective::Energy, |_| 0.0, &[(2, "low")]);
    check(Objective::Latency, |_| 0.0, &[(2, "max")]);
    // 2.0 W and 3 s, or 3.0 W and 2.5 s.
    check(Objective::Balanced, |_| 0.0, &[]);
    // Too much work for the low mode; then for the middle one.
    check(Objective::Energy, |_| 0.1, &[]);
    check(Objective::Energy, |_| 0.26, &[(2, "max")]);
    // Too much for all of them: the quickest.
    check(Objective::Energy, |_| 2.0, &[(2, "max")]);
}

#[test]
fn it_waits_three_rounds_and_ten_minutes() {
    // The load comes and goes with every round: nothing is the same for three.
    check(Objective::Energy, |round| if round % 3 == 0 { 0.1 } else { 0.0 }, &[]);
    // It comes right after the change: the board is too slow, for ten minutes.
    check(Objective::Energy, |round| if round > 2 { 0.1 } else { 0.0 }, &[(2, "low"), (22, "mid")]);
}

#[test]
fn modes_that_miss_the_targets_are_not_chosen() {
    let state = |limit: f64| {
        move |_: u64, mode: &str| {
            let mut state = board(1, mode, 0.0);
            state.choices.iter_mut().for_each(|choice| choice.strain = choice.seconds / limit);
            state
        }
    };
    assert_eq!(play(Objective::Energy, state(12.0)), [(2, "low".to_owned())]);
    // Within the target, but not by the margin.
    assert_eq!(play(Objective::Energy, state(11.0)), []);
    assert_eq!(play(Objective::Energy, state(3.0)), [(2, "max".to_owned())]);
}

#[test]
fn what_saves_little_is_left() {
    let state = |_: u64, mode: &str| {
        let mut state = board(1, mode, 0.0);
        state.choices[0].watts = Some(1.91);
        state
    };
    assert_eq!(play(Objective::Energy, state), []);
}

fn due(plan: &mut ModePlan, round: u64, fleet: &[ModeState]) -> Vec<u64> {
    let due = plan.round(after(ROUND * round), &rules(), Objective::Energy, fleet);
    due.iter().map(|change| change.node.0).collect()
}

#[test]
fn few_change_at_once() {
    let mut plan = ModePlan::default();
    let mut fleet: Vec<ModeState> = (0..20).map(|node| board(node, "mid", 0.0)).collect();
    fleet[0].is_ready = false;
    assert!((0..2).all(|round| due(&mut plan, round, &fleet).is_empty()));
    assert_eq!(due(&mut plan, 2, &fleet), [1, 2]);
    let wish = plan.wish(NodeId(0)).unwrap();
    assert_eq!((wish.waits, wish.since, wish.rounds), (Some(ModeWaits::Away), after(0), 3));
    assert_eq!(plan.wish(NodeId(3)).unwrap().waits, Some(ModeWaits::Others));
    // They take their time.
    (fleet[1].changes, fleet[2].changes) = (true, true);
    assert_eq!(due(&mut plan, 3, &fleet), []);
    for node in [1, 2] {
        fleet[node] = board(node as u64, "low", 0.0);
    }
    assert_eq!(due(&mut plan, 4, &fleet), [3, 4]);
    // A person has changed its mode.
    plan.changed(NodeId(5), &"mid".into(), after(150));
    assert_eq!(due(&mut plan, 5, &fleet), [6, 7]);
}

/// A model that somebody holds stays awake on one node, whatever saves.
#[test]
fn one_of_each_model_stays_awake() {
    let [first, second] = [1, 2].map(|byte| ModelDigest::new([byte; 32]));
    let mut fleet: Vec<ModeState> = (0..40).map(|node| board(node, "mid", 0.0)).collect();
    for (node, models) in [(0, vec![first]), (1, vec![first]), (2, vec![second])] {
        (fleet[node].residents, fleet[node].is_idle) = (models, false);
    }
    let mut plan = ModePlan::default();
    assert!((0..2).all(|round| due(&mut plan, round, &fleet).is_empty()));
    // The second of those two waits for the first; the only one with the other model is at work.
    assert_eq!(due(&mut plan, 2, &fleet), [0, 3, 4, 5]);
    assert_eq!(plan.wish(NodeId(1)).unwrap().waits, Some(ModeWaits::Needed));
    fleet[0] = ModeState { residents: vec![first], is_idle: false, ..board(0, "low", 0.0) };
    fleet[2].is_idle = true;
    assert_eq!(due(&mut plan, 3, &fleet)[..2], [1, 2]);
}

#[test]
fn a_mode_that_fails_is_left_alone_for_longer_each_time() {
    let (mut plan, fleet) = (ModePlan::default(), [board(1, "mid", 0.0)]);
    let mut failures = Vec::new();
    for round in 0..400 {
        for change in plan.round(after(ROUND * round), &rules(), Objective::Energy, &fleet) {
            plan.failed(change.node, &change.mode, "no such file", &rules(), after(ROUND * round));
            failures.push(round);
        }
    }
    // After ten minutes and three rounds, then twenty, forty, eighty.
    assert_eq!(failures, [2, 24, 66, 148, 310]);
    let (mode, again, why) = plan.failure(NodeId(1), after(ROUND * 311)).unwrap();
    assert_eq!((mode.as_str(), why), ("low", "no such file"));
    assert_eq!(again, after(ROUND * 310 + 160 * 60));
    // Others are open meanwhile.
    let mut busy = [board(1, "mid", 0.26)];
    assert!((400..402).all(|round| due(&mut plan, round, &busy).is_empty()));
    busy[0].choices.retain(|choice| choice.mode.as_str() != "low");
    assert_eq!(due(&mut plan, 402, &busy), [1]);
}

#[test]
fn what_a_lost_node_did_not_take_is_remembered() {
    let (mut plan, fleet) = (ModePlan::default(), [board(1, "mid", 0.0)]);
    assert!((0..2).all(|round| due(&mut plan, round, &fleet).is_empty()));
    assert_eq!(due(&mut plan, 2, &fleet), [1]);
    plan.failed(NodeId(1), &"low".into(), "it was lost", &rules(), after(ROUND * 2));
    // It is not there for a few rounds, and then it is.
    assert!((3..6).all(|round| due(&mut plan, round, &[]).is_empty()));
    assert!((6..20).all(|round| due(&mut plan, round, &fleet).is_empty()));
    assert_eq!(plan.failure(NodeId(1), after(ROUND * 20)).unwrap().2, "it was lost");
    // But not for ever.
    assert!(due(&mut plan, 24 * 3600 / ROUND + 100, &[]).is_empty());
    assert_eq!(plan.nodes.len(), 0);
}

#[test]
fn what_is_not_known_is_not_chosen() {
    let find = |objective, state: &ModeState| better(&rules(), objective, state, |_| false);
    let mut state = board(1, "max", 0.0);
    state.choices.iter_mut().for_each(|choice| choice.watts = None);
    assert_eq!(find(Objective::Energy, &state), None);
    state.choices.retain(|choice| choice.mode.as_str() != "max");
    assert_eq!(find(Objective::Latency, &state), None, "nothing is known of the mode that it is in");
}

#[test]
fn gains_are_told_in_words() {
    let check = |gain: Gain, expected: &str| assert_eq!(gain.to_string(), expected);
    let watts = Some((5.9, 4.1));
    check(
        Gain::Saves { part: 0.308, objective: Objective::Energy, watts },
        "saves 31 % of watts (5.90 W now, 4.10 W then)",
    );
    check(Gain::Saves { part: 0.1, objective: Objective::Latency, watts: None }, "saves 10 % of time");
    check(
        Gain::Keeps { busy: 0.8, strain: 0.2 },
        "is quicker: now requests keep it at work 80 % of the time",
    );
    check(
        Gain::Keeps { busy: 0.3, strain: 1.2 },
        "is quicker: now requests take 120 % of what their targets allow",
    );
}

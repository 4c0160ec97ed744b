use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};

use std::time::Duration;

use super::*;
use crate::{NodeFilter, Objective, Targets, WhenNothingFits};

fn check_error(text: &str, expected: &Expect) {
    expected.assert_eq(&Policy::parse(text).unwrap_err().to_string());
}

#[test]
fn errors_say_where_and_what_was_expected() {
    check_error(
        "objective = \"energie\"",
        &expect![[r#"line 1, column 13: there is no value "energie"; did you mean "energy"?"#]],
    );
    check_error("objective = 3", &expect!["line 1, column 13: expected a name in quotes"]);
    check_error(
        "objectiv = \"energy\"",
        &expect![[r#"line 1, column 1: there is no key "objectiv"; did you mean "objective"?"#]],
    );
    check_error(
        "\n[targets]\nttft = 3",
        &expect![[r#"line 3, column 1: there is no key "ttft"; did you mean "ttft_ms"?"#]],
    );
    check_error(
        "[targets]\nttft_ms = 0",
        &expect!["line 2, column 11: 0.0 is not a number of milliseconds, more than 0 and at most a day"],
    );
    check_error(
        "[targets]\nttft_ms = \"fast\"",
        &expect![[
            r#"line 2, column 11: invalid value: string "fast", expected a number of milliseconds, more than 0 and at most a day, or "none""#
        ]],
    );
    check_error(
        "[targets]\ntpot_ms = 1e300",
        &expect!["line 2, column 11: 1e300 is not a number of milliseconds, more than 0 and at most a day"],
    );
    check_error(
        "[targets]\ntpot_ms = nan",
        &expect!["line 2, column 11: NaN is not a number of milliseconds, more than 0 and at most a day"],
    );
    check_error(
        "[targets]\nmin_quality = 60",
        &expect!["line 2, column 15: 60.0 is not a share of right answers, from 0 to 1"],
    );
    check_error(
        "[targets]\njoules_per_token = -0.5",
        &expect!["line 2, column 20: -0.5 is not a number of joules, more than 0"],
    );
    check_error(
        "when_nothing_fits = \"rejected\"",
        &expect![[r#"line 1, column 21: there is no value "rejected"; did you mean "reject"?"#]],
    );
    check_error(
        "[nodes]\nmin_battery_pct = 120",
        &expect!["line 2, column 19: 120 is not a percentage from 1 to 100"],
    );
    check_error(
        "[nodes]\nlabels = { site = 3 }",
        &expect!["line 2, column 19: invalid type: integer `3`, expected a string"],
    );
    check_error("[shares]\nresearch = 0", &expect!["line 2, column 12: 0 is not a share from 1 to 1000"]);
    check_error(
        "[[route]]\nobjective = \"energy\"",
        &expect![[r#"line 1, column 1: the key "name" is missing"#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { hours = \"22-6\" }",
        &expect![[r#"line 3, column 19: "22-6" is no span of hours, which looks like "22:00-06:30""#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { hours = [\"8:00-9:00\", \"8:00-24:00\"] }",
        &expect![[r#"line 3, column 19: "8:00-24:00" is no span of hours, which looks like "22:00-06:30""#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { hours = \"8:00-08:00\" }",
        &expect![[r#"line 3, column 19: "8:00-08:00" begins and ends at the same time"#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { pipelines = \"x\" }",
        &expect![[r#"line 3, column 11: there is no key "pipelines"; did you mean "pipeline"?"#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { pipeline = [\"x\", \"a*b\"] }",
        &expect![[r#"line 3, column 28: "a*b" is no name, nor the beginning of names and a `*`"#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { pipeline = 3 }",
        &expect!["line 3, column 22: invalid type: integer `3`, expected a string, or a list of strings"],
    );
    check_error(
        "[[route]]\nname = \"all\"\n[[route]]\nname = \"rest\"",
        &expect![[r#"line 3, column 1: no request comes here: the route "all" above matches all of them"#]],
    );
    check_error(
        "[[route]]\nname = \"a\"\nmatch = { tenant = \"x\" }\n[[route]]\nname = \"a\"",
        &expect![[r#"line 5, column 8: there is a route "a" already"#]],
    );
    check_error(
        "objective = \"energy\n",
        &expect![[r#"line 1, column 20: invalid basic string, expected `"`"#]],
    );
    let many: String = (0..=MAX_ROUTES)
        .map(|at| format!("[[route]]\nname = \"{at}\"\nmatch = {{ tenant = \"x\" }}\n"))
        .collect();
    check_error(&many, &expect!["line 769, column 1: a policy has at most 256 routes"]);
    check_error(
        &"#".repeat(MAX_POLICY_BYTES + 1),
        &expect!["it has 65537 bytes, at most 65536 are possible"],
    );
}

#[test]
fn tenants_have_shares() {
    let policy = Policy::parse("[shares]\nresearch = 3\n\"the kitchen\" = 1").unwrap();
    let shares = [("research".to_owned(), 3), ("the kitchen".to_owned(), 1)].into();
    assert_eq!(policy.shares(), &shares);
}

#[test]
fn an_empty_policy_is_the_default() {
    assert_eq!(Policy::parse(""), Ok(Policy::default()));
    assert_eq!(Policy::default().default_terms(), &Terms::default());
}

fn example(name: &str) -> Policy {
    let path = format!("{}/../../examples/policies/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    Policy::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_examples_say_what_their_names_do() {
    let check = |name: &str, objective, when_nothing_fits, targets, routes: &[&str]| {
        let policy = example(name);
        let terms = policy.default_terms();
        assert_eq!((terms.objective, terms.when_nothing_fits), (objective, when_nothing_fits), "{name}");
        assert_eq!(terms.targets, targets, "{name}");
        let names: Vec<&str> = policy.routes().iter().map(|route| &*route.name).collect();
        assert_eq!(names, routes, "{name}");
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    let none = Targets::default();
    let best = WhenNothingFits::BestEffort;
    check("latency-first", Objective::Latency, best, none, &[]);
    check("energy-first", Objective::Energy, best, Targets { deadline: ms(60_000), ..none }, &[]);
    check("balanced", Objective::Balanced, best, none, &[]);
    let reading = Targets { tpot: ms(188), ttft: ms(3000), ..none };
    check("interactive", Objective::Energy, WhenNothingFits::Degrade, reading, &["batch"]);
    check("battery", Objective::Energy, best, none, &["low", "night"]);
    let folder = format!("{}/../../examples/policies", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 5);
}

const ROUTES: &str = r#"
objective = "latency"
[targets]
ttft_ms = 800
tpot_ms = 188
[nodes]
labels = { site = "roof" }
min_battery_pct = 10

[[route]]
name = "night"
match = { hours = ["22:00-06:00", "12:00-12:30"], tenant = "research" }
objective = "energy"
targets = { ttft_ms = "none", deadline_ms = 60000 }

[[route]]
name = "pair"
match = { pipeline = ["extract", "class*"], model = "small" }
when_nothing_fits = "reject"
targets = { min_quality = 0.5, joules_per_token = 2 }

[[route]]
name = "low"
match = { battery_below_pct = 30 }
nodes = { labels = {}, min_battery_pct = 50 }

[[route]]
name = "urgent"
match = { labels = { urgent = "yes", by = "phone" } }
when_nothing_fits = "degrade"
"#;

#[test]
fn the_first_route_that_matches_decides() {
    let policy = Policy::parse(ROUTES).unwrap();
    let labels: BTreeMap<String, String> =
        [("urgent", "yes"), ("by", "phone"), ("more", "")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let bare = BTreeMap::new();
    let noon = TimeOfDay::new(11, 59).unwrap();
    let plain = Circumstances {
        pipeline: "chat",
        model: "small",
        tenant: "research",
        labels: &bare,
        time_of_day: noon,
        battery_pct: None,
    };
    let check = |on: Circumstances<'_>, expected: Option<&str>| {
        assert_eq!(policy.terms(&on).1, expected, "{on:?}");
    };
    let at = |hour, minute| Circumstances { time_of_day: TimeOfDay::new(hour, minute).unwrap(), ..plain };
    check(plain, None);
    for (hour, minute, expected) in [
        (22, 0, true),
        (21, 59, false),
        (0, 0, true),
        (5, 59, true),
        (6, 0, false),
        (12, 0, true),
        (12, 29, true),
        (12, 30, false),
    ] {
        check(at(hour, minute), expected.then_some("night"));
    }
    check(Circumstances { tenant: "other", ..at(23, 0) }, None);
    check(Circumstances { pipeline: "extract", ..plain }, Some("pair"));
    check(Circumstances { pipeline: "extracts", ..plain }, None);
    check(Circumstances { pipeline: "classify", ..plain }, Some("pair"));
    check(Circumstances { pipeline: "classify", model: "large", ..plain }, None);
    check(Circumstances { battery_pct: Some(29), ..plain }, Some("low"));
    check(Circumstances { battery_pct: Some(30), ..plain }, None);
    check(Circumstances { pipeline: "extract", battery_pct: Some(29), ..plain }, Some("pair"));
    check(Circumstances { labels: &labels, ..plain }, Some("urgent"));
}

#[test]
fn a_route_says_only_what_is_other() {
    let policy = Policy::parse(ROUTES).unwrap();
    let [night, pair, low, urgent] = policy.routes() else { panic!("{policy:?}") };
    let below = policy.default_terms();
    let ms = |ms| Some(Duration::from_millis(ms));
    let targets = Targets { deadline: ms(60_000), ttft: None, ..below.targets };
    assert_eq!(night.terms, Terms { objective: Objective::Energy, targets, ..below.clone() });
    let targets = Targets { min_quality: Some(0.5), joules_per_token: Some(2.0), ..below.targets };
    let reject = WhenNothingFits::Reject;
    assert_eq!(pair.terms, Terms { when_nothing_fits: reject, targets, ..below.clone() });
    let nodes = NodeFilter { labels: BTreeMap::new(), min_battery_pct: Some(50) };
    assert_eq!(low.terms, Terms { nodes, ..below.clone() });
    let degrade = WhenNothingFits::Degrade;
    assert_eq!(urgent.terms, Terms { when_nothing_fits: degrade, ..below.clone() });
}

#[test]
fn names_that_the_fleet_does_not_have_are_told_with_their_place() {
    let policy = Policy::parse(ROUTES).unwrap();
    let say =
        |errors: Vec<DocumentError>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    expect![[r#"
        line 18, column 53: there is no model "small"; did you mean "smal"?
    "#]]
    .assert_eq(&say(policy.unknown_models(&BTreeSet::from(["smal", "large"]))));
    expect![[""]].assert_eq(&say(policy.unknown_models(&BTreeSet::from(["small"]))));
    expect![[r#"
        line 18, column 23: there is no pipeline "extract"; there are chat
        line 18, column 34: there is no pipeline "class*"; there are chat
    "#]]
    .assert_eq(&say(policy.unknown_pipelines(&BTreeSet::from(["chat"]))));
    expect![[""]].assert_eq(&say(policy.unknown_pipelines(&BTreeSet::from(["extract", "classify"]))));
}

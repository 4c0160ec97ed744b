use dunlin_engine_handle::{Call, Constraint, fake::Fake};

use crate::scene::{Scene, check, demo};

#[tokio::test(start_paused = true)]
async fn a_constraint_is_compiled_once_and_shared() {
    let fake = Fake::default();
    let engine = fake.start();
    let script = "create
        append 0 x
        compile choice yes|no
        compile choice yes|no
        warnings 0
        fork 0 2
        generate 1 constraint=0
        generate 2 constraint=1
        finish 0
        finish 1";
    let said = Scene::new(&engine, script).transcript().await;
    assert_eq!(said[2..4], ["0", "1"]);
    assert_eq!(said[8..], [r#""yes" StopReason::ConstraintComplete"#; 2]);
    let compiled = fake.calls().iter().filter(|call| matches!(call, Call::Compile { .. })).count();
    assert_eq!(compiled, 1);
    let choice = Constraint::Choice(vec!["yes".into(), "no".into()]);
    let generated = |call: &Call| matches!(call, Call::Generate(generate) if generate.constraint.as_ref() == Some(&choice));
    assert_eq!(fake.calls().iter().filter(|call| generated(call)).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_constraint_is_refused_before_anything_is_generated() {
    check(
        &Fake::default(),
        "compile schema not a schema
         compile choice
         compile tool-call",
        &[
            r#"Error::Constraint("the schema is not a JSON object")"#,
            r#"Error::Constraint("there is nothing to choose from")"#,
            r#"Error::Unsupported("constraints to tool calls: use a JSON schema")"#,
        ],
    )
    .await;
    let huge = format!("compile regex {}", "a".repeat(300 << 10));
    check(&Fake::default(), &huge, &[r#"Error::Constraint("it has 307200 bytes, more than 262144")"#]).await;
}

#[tokio::test(start_paused = true)]
async fn a_constraint_belongs_to_its_model() {
    let mut scene = Scene::bare(
        "open demo
         compile json
         open other
         create
         append 0 x
         generate 0 constraint=0",
    );
    let other = Fake::default().start();
    let mut grant = demo(&other);
    grant.alias = "other".into();
    scene.invocation.grants.models = vec![demo(&other), grant];
    let said = scene.transcript().await;
    assert_eq!(said[3], r#"Error::InvalidArgument("the constraint was compiled for \"demo\"")"#);
}

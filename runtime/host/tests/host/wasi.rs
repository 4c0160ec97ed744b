use crate::scene::Scene;

#[tokio::test(start_paused = true)]
async fn there_are_no_files_no_network_and_no_input() {
    let said = Scene::bare("list /\nread /etc/passwd\nconnect 127.0.0.1:80\nbind 0.0.0.0:0\nstdin\nargs")
        .transcript()
        .await;
    assert!(said[..4].iter().all(|line| line.starts_with("error: ")), "{said:?}");
    assert_eq!(said[4..], ["\"\"", "[]"]);
}

#[tokio::test(start_paused = true)]
async fn the_environment_is_what_is_granted() {
    assert_eq!(Scene::bare("env").transcript().await, ["[]"]);
    let mut scene = Scene::bare("env");
    scene.invocation.grants.environment.push(("LEVEL".into(), "warn".into()));
    assert_eq!(scene.transcript().await, [r#"[("LEVEL", "warn")]"#]);
}

#[tokio::test(start_paused = true)]
async fn randomness_comes_from_the_seed() {
    let first = Scene::bare("random").seed(1).transcript().await;
    assert_eq!(Scene::bare("random").seed(1).transcript().await, first);
    assert_ne!(Scene::bare("random").seed(2).transcript().await, first);
}

#[tokio::test(start_paused = true)]
async fn clocks_go_with_the_invocation() {
    let said = Scene::bare("sleep 1500\nyear").transcript().await;
    assert_eq!(said[0], "1500 ms");
    assert!(said[1].parse::<u32>().unwrap() >= 2026, "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_it_prints_is_in_its_log() {
    let outcome = Scene::bare("print to stdout\ncomplain to stderr").outcome().await;
    assert_eq!(outcome.log.text, "to stdout\nto stderr\n");
    let flooded = Scene::bare("flood-log 0123456789").limits(|limits| limits.log_bytes = 100).outcome().await;
    assert_eq!((flooded.log.text.len() as u64, flooded.log.lost_bytes), (100, 110_000 - 100));
    assert!(flooded.result.is_ok());
}

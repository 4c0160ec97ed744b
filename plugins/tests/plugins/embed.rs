use dunlin_engine_handle::fake::Fake;

use crate::scene::Scene;

#[tokio::test(start_paused = true)]
async fn each_text_of_a_list_has_its_vector() {
    let told = Scene::new(&Fake::default(), "embed", r#"["ab", "b"]"#).json().told().await;
    let [told] = told.as_slice() else { panic!("{told:?}") };
    let document: serde_json::Value =
        serde_json::from_str(told.strip_prefix("application/json: ").unwrap()).unwrap();
    let rows = document["embeddings"].as_array().unwrap();
    let number = |row: usize, at: usize| rows[row][at].as_f64().unwrap();
    assert_eq!((rows.len(), document["tokens"].as_u64()), (2, Some(3)));
    assert!((number(0, 0) - 0.5_f64.sqrt()).abs() < 1e-6, "{document}");
    assert!((number(0, 1) - 0.5_f64.sqrt()).abs() < 1e-6, "{document}");
    assert_eq!((number(1, 0), number(1, 1)), (0.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_text_in_a_list_is_refused() {
    let said = Scene::new(&Fake::default(), "embed", r#"["a", 7]"#).json().error().await;
    assert_eq!(said, "invalid argument: a text of the list is no string: 7");
}

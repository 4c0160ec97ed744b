//! Ends of different age: fields that one does not know yet, or not any more.

use std::{collections::BTreeSet, fmt::Debug};

use dunlin_protocol::{
    Message,
    frame::{LENGTH_BYTES, decode, encoded},
};
use expect_test::expect;

use crate::{for_all_messages, samples::Samples, value::Value};

pub(crate) fn bodies<M: Message>(samples: &Samples<M>) -> impl Iterator<Item = Vec<u8>> {
    samples.iter().map(|(_, sample)| encoded(sample).unwrap().split_off(LENGTH_BYTES))
}

/// Takes each field away in turn; those without which nothing can be read are `required`.
fn remove_each<M: Message>(_kind: &str, samples: &Samples<M>, required: &mut BTreeSet<String>) {
    for body in bodies(samples) {
        let tree = Value::read(&mut &body[..]);
        for number in 0..tree.structs() {
            let (mut parent, mut keys) = (String::new(), Vec::new());
            tree.clone().change_struct(number, &mut |name, fields| {
                parent = name.to_owned();
                keys = fields.iter().map(|(key, _)| key.clone()).collect();
            });
            for key in keys {
                let mut changed = tree.clone();
                changed.change_struct(number, &mut |_, fields| fields.retain(|(other, _)| *other != key));
                if let Err(error) = decode::<M>(&changed.written()) {
                    let Value::Text(key) = key else { panic!("a struct has fields with names") };
                    assert!(error.to_string().contains(&format!("missing field `{key}`")), "{error}");
                    required.insert(if parent.is_empty() { key } else { format!("{parent}.{key}") });
                }
            }
        }
    }
}

#[test]
fn fields_that_are_missing_are_defaulted_but_for_these() {
    let mut required = BTreeSet::new();
    for_all_messages!(remove_each, &mut required);
    let required: Vec<String> = required.into_iter().collect();
    // A field that is added to a message of this version must not appear here.
    expect![[r#"
        Accepted.invocation
        AddRows.toml
        Again.offset
        Alias.alias
        Alias.variants
        Attach.attempt
        Attach.epoch
        Attach.offset
        Cancel.attempt
        Cancel.epoch
        Cancel.invocation
        CheckPolicy.toml
        Chunk.bytes
        Chunk.emissions
        Chunk.offset
        Command.epoch
        Command.id
        Command.order
        Continue.offset
        Cordon.cordoned
        Cordon.node
        Deny.name
        Deny.role
        Deploy.component
        Deploy.name
        Done.id
        Done.result
        Drain.node
        Drain.within_ms
        Ended.offset
        Ended.outcome
        Ended.usage
        Err.code
        Evict.model
        Explain.invocation
        Explanation.invocation
        Failed.code
        Fetch.blob
        Fetch.bytes
        Fleet.fleet
        Follow.invocation
        Follow.offset
        Forget.attempt
        Have.bytes
        Inventory.class
        Inventory.incarnation
        Inventory.state
        Invocations.items
        Invoke.attempt
        Invoke.epoch
        Invoke.pipeline
        Issued.chain
        Issued.fleet
        Issued.name
        Joined.chain
        Joined.fleet
        Joined.name
        Key.text
        Keys.items
        Leaving.within_ms
        Load.model
        Measured.json
        Mode.mode
        Mode.node
        Models.items
        NewKey.name
        NewToken.role
        Nodes.items
        Park.node
        Pin.model
        Pin.pinned
        Pipelines.items
        Placed.attempt
        Placed.node
        Policies.items
        Policy.toml
        PolicyFaults.text
        Profile.model
        Profile.node
        Profiling.id
        Profiling.said
        Put.blob
        Put.bytes
        Refused.code
        Remove.blob
        RemoveKey.name
        RevokeToken.token
        Rows.toml
        SetPolicy.name
        SetPolicy.toml
        ShowPolicy.name
        Step.model
        Step.point
        Submit.pipeline
        Token.expires_unix_seconds
        Token.text
        Tokens.generation
        Tokens.tokens
        Wake.node
        Want.blob
        Want.offset
        Welcome.epoch
        Welcome.version
        actual.node
        attempt.invocation
        attempt.number
        attempts.attempt
        candidates.node
        drawn.idle_millijoules
        drawn.millijoules
        drawn.requests_millijoules
        energy.scope
        energy.source
        energy.total_millijoules
        environment.name
        failure.code
        items.alias
        items.id
        items.name
        items.state
        items.variants
        labels.name
        loads.model
        loads.took_ms
        models.alias
        models.digest
        models.model
        models.name
        others.count
        others.verdict
        params.name
        progress.attempt
        questions.blob
        request
        residents.model
        residents.state
        secret
        text.blob
        token
        trace.span
        trace.trace
        usage.node
        variant.model
        variants.model
        variants.variant
        versions
        versions.newest
        versions.oldest"#]]
    .assert_eq(&required.join("\n"));
}

fn add_to_each<M: Message + PartialEq + Debug>(_kind: &str, samples: &Samples<M>) {
    for ((name, sample), body) in samples.iter().zip(bodies(samples)) {
        let tree = Value::read(&mut &body[..]);
        for number in 0..tree.structs() {
            let mut changed = tree.clone();
            let news =
                Value::Map(vec![(Value::Text("mood".into()), Value::List(vec![Value::Raw(vec![0xc0])]))]);
            changed.change_struct(number, &mut |_, fields| {
                fields.insert(0, (Value::Text("of a newer peer".into()), news.clone()));
            });
            assert_eq!(decode::<M>(&changed.written()).unwrap(), *sample, "{name}, struct {number}");
        }
    }
}

#[test]
fn fields_of_a_newer_peer_are_ignored() {
    for_all_messages!(add_to_each);
}

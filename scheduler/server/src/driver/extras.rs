//! What is measured beside time and joules, and who can do that.

use dunlin_protocol::{
    Failure, FailureCode, Feature, HowToProfile, NodeId, PROFILE_EXTRAS, limits::MAX_JUDGED,
};

/// # Errors
/// Why a node cannot do all that is asked, with what helps.
pub(super) fn can_measure(
    name: &NodeId,
    features: &[Feature],
    emulated: bool,
    how: &HowToProfile,
) -> Result<(), Failure> {
    if !how.has_extras() {
        return Ok(());
    }
    let cannot = |why: &str, next: &str| {
        let text = format!("{name} {why}: {next}, or leave out --perplexity, --accuracy and --operators");
        Err(Failure::new(FailureCode::Unsupported, text))
    };
    if emulated {
        return cannot(
            "is emulated and computes nothing, so it has no answers to judge and no operators to time",
            "name a real board",
        );
    }
    if !features.contains(&Feature(PROFILE_EXTRAS.to_owned())) {
        return cannot("has an agent of a build that judges no answers and times no operators", "upgrade it");
    }
    if let Some(file) = how.files().find(|file| file.bytes > MAX_JUDGED as u64) {
        let text = format!("{}: it has {} bytes, {MAX_JUDGED} travel to a node", file.name, file.bytes);
        return Err(Failure::new(FailureCode::Invalid, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::{ComponentDigest, JudgedFile, PROFILES};

    use super::*;

    fn check(features: &[&str], emulated: bool, how: &HowToProfile, expected: &str) {
        let features: Vec<Feature> = features.iter().map(|name| Feature((*name).to_owned())).collect();
        let found = can_measure(&"ada".parse().unwrap(), &features, emulated, how);
        let found = found.map_or_else(|failure| failure.text, |()| String::new());
        assert!(if expected.is_empty() { found.is_empty() } else { found.contains(expected) }, "{found}");
    }

    #[test]
    fn who_cannot_judge_is_asked_for_nothing_that_it_would_leave_out() {
        let text =
            |bytes| JudgedFile { name: "wiki.txt".to_owned(), blob: ComponentDigest([1; 32]).into(), bytes };
        let (usual, timed) =
            (HowToProfile::default(), HowToProfile { operators: true, ..HowToProfile::default() });
        let judged = |bytes| HowToProfile { text: Some(text(bytes)), ..HowToProfile::default() };
        let new = [PROFILES, PROFILE_EXTRAS];
        check(&[PROFILES], false, &usual, "");
        check(&[PROFILES], true, &usual, "");
        check(&new, false, &judged(MAX_JUDGED as u64), "");
        check(&[PROFILES], false, &timed, "ada has an agent of a build that judges no answers");
        check(&[PROFILES], false, &judged(1), "upgrade it, or leave out --perplexity");
        check(&new, true, &timed, "ada is emulated and computes nothing");
        check(&new, false, &judged(MAX_JUDGED as u64 + 1), "wiki.txt: it has 3145729 bytes, 3145728 travel");
    }
}

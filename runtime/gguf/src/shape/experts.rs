use serde::Serialize;
use thiserror::Error;

use super::{Keys, ShapeFault};
use crate::architecture::Traits;

/// `LLAMA_MAX_EXPERTS` of llama.cpp.
const MAX_EXPERTS: u32 = 1024;

/// Highest number that llama.cpp's `llama_expert_gating_func_type` has a name for.
const MAX_GATING: u32 = 4;

/// Architectures whose layers differ in the experts that a token uses; the others divide by those of the first.
const UNEVEN: &[&str] = &["nemotron_h", "nemotron_h_moe"];

/// The parts of a layer of which each token uses a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Experts {
    pub count: u32,
    /// Most that one token uses in any layer.
    pub used: u32,
    /// Numbers in the widest of them; 0 where the file does not say.
    pub feed_forward_length: u32,
}

/// What is wrong with a mixture of experts.
#[derive(Debug, Error)]
pub enum ExpertFault {
    #[error("it has {count} experts; llama.cpp takes up to {MAX_EXPERTS}")]
    Count { count: u32 },
    #[error("it has no experts, which its architecture cannot do without")]
    None,
    #[error("a token uses {used} of its {count} experts")]
    Used { count: u32, used: u32 },
    #[error("a token uses no experts in some of its layers, by which llama.cpp divides")]
    Uneven,
    #[error("its {count} experts are in {groups} groups of which a token uses {used}")]
    Groups { count: u32, groups: u32, used: u32 },
    #[error("its expert gating function is {value}; llama.cpp knows 0 to {MAX_GATING}")]
    Gating { value: u32 },
}

/// Reads what `load_hparams` of llama.cpp reads, and checks what it asserts.
pub(super) fn read(keys: Keys<'_>, traits: &Traits, layers: u32) -> Result<Option<Experts>, ShapeFault> {
    let count = keys.u32("expert_count")?.unwrap_or(0);
    if count == 0 && traits.needs_experts {
        return Err(ExpertFault::None.into());
    }
    let listed = keys.per_layer("expert_used_count", layers)?.unwrap_or_default();
    let used = listed.iter().copied().max().unwrap_or(0);
    if count > MAX_EXPERTS {
        return Err(ExpertFault::Count { count }.into());
    }
    if used > count || (count > 0 && used == 0) {
        return Err(ExpertFault::Used { count, used }.into());
    }
    let mixed = used > 0 && listed.contains(&0);
    if mixed && !UNEVEN.contains(&keys.architecture) {
        return Err(ExpertFault::Uneven.into());
    }
    check_groups(keys, count)?;
    match keys.u32("expert_gating_func")? {
        Some(value) if value > MAX_GATING => Err(ExpertFault::Gating { value }.into()),
        _ if count == 0 => Ok(None),
        _ => {
            let lengths = keys.per_layer("expert_feed_forward_length", layers)?.unwrap_or_default();
            let feed_forward_length = lengths.into_iter().max().unwrap_or(0);
            Ok(Some(Experts { count, used, feed_forward_length }))
        }
    }
}

fn check_groups(keys: Keys<'_>, count: u32) -> Result<(), ShapeFault> {
    let groups = keys.u32("expert_group_count")?.unwrap_or(0);
    let used = keys.u32("expert_group_used_count")?.unwrap_or(0);
    let sound = match (count, groups) {
        (_, 0) => true,
        (0, _) => false,
        (_, 1) => count > 1,
        _ => groups < count && count.is_multiple_of(groups) && (1..groups).contains(&used),
    };
    if sound { Ok(()) } else { Err(ExpertFault::Groups { count, groups, used }.into()) }
}

//! Joules with their scope: what is of two scopes is neither added nor compared.

use std::cmp::Ordering;

use dunlin_costs::Scope;
use thiserror::Error;

/// Joules of a scope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Energy {
    pub joules: f64,
    pub scope: Scope,
}

/// Joules of two scopes say nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "joules of {0:?} and of {1:?} cannot be compared: name a correction to the board's input for one of them"
)]
pub struct ScopesDiffer(pub Scope, pub Scope);

impl Energy {
    /// # Errors
    /// [`ScopesDiffer`].
    pub fn plus(self, other: Self) -> Result<Self, ScopesDiffer> {
        self.with(other, |a, b| Self { joules: a + b, ..self })
    }

    /// How often `other` goes into it.
    ///
    /// # Errors
    /// [`ScopesDiffer`].
    pub fn over(self, other: Self) -> Result<f64, ScopesDiffer> {
        self.with(other, |a, b| a / b)
    }

    /// # Errors
    /// [`ScopesDiffer`].
    pub fn compare(self, other: Self) -> Result<Ordering, ScopesDiffer> {
        self.with(other, |a, b| a.total_cmp(&b))
    }

    fn with<T>(self, other: Self, join: impl FnOnce(f64, f64) -> T) -> Result<T, ScopesDiffer> {
        if self.scope == other.scope {
            Ok(join(self.joules, other.joules))
        } else {
            Err(ScopesDiffer(self.scope, other.scope))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_do_not_mix() {
        let input = |joules| Energy { joules, scope: Scope::BoardInput };
        let rail = Energy { joules: 2.0, scope: Scope::CpuGpuRail };
        assert_eq!(input(1.0).plus(input(2.0)), Ok(input(3.0)));
        assert_eq!(input(1.0).over(input(2.0)), Ok(0.5));
        assert_eq!(input(1.0).compare(input(2.0)), Ok(Ordering::Less));
        let differ = ScopesDiffer(Scope::BoardInput, Scope::CpuGpuRail);
        assert_eq!(input(1.0).plus(rail), Err(differ));
        assert_eq!(input(1.0).over(rail), Err(differ));
        assert_eq!(input(1.0).compare(rail), Err(differ));
    }
}

//! What was found when the machine was looked at.

use api::{Code, DoctorCheck, Health, Refusal};

/// Whether guestfish can run here, and all that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    checks: Vec<DoctorCheck>,
}

impl Readiness {
    pub(super) fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.push(name, Health::OK, detail.into(), None);
    }

    pub(super) fn warning(&mut self, name: &str, detail: impl Into<String>, action: impl Into<String>) {
        self.push(name, Health::Warning, detail.into(), Some(action.into()));
    }

    pub(super) fn wrong(&mut self, name: &str, detail: impl Into<String>, action: impl Into<String>) {
        self.push(name, Health::Critical, detail.into(), Some(action.into()));
    }

    fn push(&mut self, name: &str, status: Health, detail: String, action: Option<String>) {
        self.checks.push(DoctorCheck { name: name.to_owned(), status, detail, action });
    }

    /// All that was looked at, in order.
    #[must_use]
    pub fn checks(&self) -> &[DoctorCheck] {
        &self.checks
    }

    /// Whether nothing that is needed is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.wrongs().next().is_none()
    }

    /// Why scripts are not run here: all that is wrong, each with what to do.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let found: Vec<_> = self.wrongs().map(|check| format!("{}: {}", check.name, check.detail)).collect();
        if found.is_empty() {
            return None;
        }
        let message =
            "these plan scripts need guestfish in its sandbox, and this machine is not ready for it";
        let refusal = Refusal::new(Code::MissingTool, message).details(found.join("\n"));
        let mut actions: Vec<&str> = self.wrongs().filter_map(|check| check.action.as_deref()).collect();
        actions.dedup();
        let refusal = actions.iter().fold(refusal, |refusal, action| refusal.action(*action));
        Some(refusal.action("osvol doctor tells how it stands"))
    }

    fn wrongs(&self) -> impl Iterator<Item = &DoctorCheck> {
        self.checks.iter().filter(|check| check.status == Health::Critical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut readiness = Readiness::default();
        readiness.ok("a", "there");
        readiness.warning("b", "old", "renew b");
        assert!(readiness.is_ready() && readiness.refusal().is_none());
        readiness.wrong("c", "not installed", "apt install c");
        readiness.wrong("d", "not installed", "apt install d");
        let refusal = readiness.refusal().unwrap();
        assert_eq!(refusal.error_code, Code::MissingTool);
        let text = format!("{refusal:?}");
        for word in ["c: not installed", "apt install c", "d: not installed", "apt install d", "osvol doctor"]
        {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(!text.contains("renew b") && !readiness.is_ready());
    }
}

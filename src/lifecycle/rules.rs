//! What becomes of a profile's volume: the one table, as a pure function.
//!
//! An [`Event`] happens to a profile, [`Facts`] are how things stand once it has happened, and [`decide`] says what becomes
//! of the volume. [`RULES`] is the whole of it: the first row that fits decides, and docs/LIFECYCLE.md is printed from the
//! same rows. The rows' numbers are those of Image Streamer's own table where it had one.
//!
//! Nothing here looks at consent, sessions or power: [`super::guard`] does, for whatever these rows would do.

use std::fmt;

/// Something that happens to a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The profile is created.
    Create,
    /// It is assigned to hardware.
    Assign,
    /// It is taken from its hardware.
    Unassign,
    /// It is moved to other hardware.
    Move,
    /// Its server hardware type changes.
    ChangeHardwareType,
    /// It names another deployment plan.
    ChangePlan,
    /// It names a deployment plan, having had none.
    AddPlan,
    /// It names no deployment plan any more.
    RemovePlan,
    /// A value of a custom attribute changes.
    ChangeAttributes,
    /// A volume as new is asked for, and nothing else changes.
    Redeploy,
    /// Its name, description or access changes.
    Edit,
    /// Its logical enclosure moves to another enclosure group.
    MoveEnclosure,
    /// The logical enclosure that its volume lives in is deleted.
    DeleteEnclosure,
    /// Its hardware is deleted.
    DeleteHardware,
    /// The profile is deleted.
    DeleteProfile,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Create,
        Self::Assign,
        Self::Unassign,
        Self::Move,
        Self::ChangeHardwareType,
        Self::ChangePlan,
        Self::AddPlan,
        Self::RemovePlan,
        Self::ChangeAttributes,
        Self::Redeploy,
        Self::Edit,
        Self::MoveEnclosure,
        Self::DeleteEnclosure,
        Self::DeleteHardware,
        Self::DeleteProfile,
    ];
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "profile created",
            Self::Assign => "profile assigned to hardware",
            Self::Unassign => "profile unassigned from hardware",
            Self::Move => "profile moved to other hardware",
            Self::ChangeHardwareType => "server hardware type changed",
            Self::ChangePlan => "deployment plan changed",
            Self::AddPlan => "deployment plan added",
            Self::RemovePlan => "deployment plan removed",
            Self::ChangeAttributes => "attribute value changed",
            Self::Redeploy => "redeployment asked for",
            Self::Edit => "name, description or access changed",
            Self::MoveEnclosure => "logical enclosure moved to another enclosure group",
            Self::DeleteEnclosure => "logical enclosure deleted",
            Self::DeleteHardware => "server hardware deleted",
            Self::DeleteProfile => "profile deleted",
        })
    }
}

/// Where a profile's volume is, seen from where the profile is once the event has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VolumeFact {
    /// There is none.
    None,
    /// Its hardware reaches it, or it has no hardware that would have to.
    Reachable,
    /// It lives in an enclosure that the profile's hardware is not in.
    Unreachable,
}

impl VolumeFact {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Reachable, Self::Unreachable];
}

/// How things stand once the event has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Does the profile name a deployment plan?
    pub plan: bool,
    /// Is it assigned to hardware?
    pub assigned: bool,
    /// Its volume.
    pub volume: VolumeFact,
}

impl Facts {
    /// All combinations.
    pub fn all() -> impl Iterator<Item = Self> {
        let flags = [false, true];
        flags.into_iter().flat_map(move |plan| {
            flags.into_iter().flat_map(move |assigned| {
                VolumeFact::ALL.into_iter().map(move |volume| Self { plan, assigned, volume })
            })
        })
    }
}

/// What becomes of the volume. The later one outweighs the earlier when several events happen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It stays as it is; or there is none, and none is made.
    Retain,
    /// There is none, and one is made from the plan.
    Create,
    /// A new one is made from the plan, and then this one goes.
    Regenerate,
    /// It goes.
    Delete,
    /// The event does not happen.
    Refuse,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Retain, Self::Create, Self::Regenerate, Self::Delete, Self::Refuse];

    /// Is what was written to the volume lost?
    #[must_use]
    pub fn is_lossy(self) -> bool {
        match self {
            Self::Regenerate | Self::Delete => true,
            Self::Retain | Self::Create | Self::Refuse => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retain => "Retain",
            Self::Create => "Create",
            Self::Regenerate => "Regenerate",
            Self::Delete => "Delete",
            Self::Refuse => "Refuse",
        })
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Rule {
    /// Image Streamer's number, or one of ours with a letter.
    pub row: &'static str,
    /// When any of these happens,
    pub events: &'static [Event],
    /// and the volume is one of these,
    pub volume: &'static [VolumeFact],
    /// and the profile is assigned (`None`: or not),
    pub assigned: Option<bool>,
    /// and names a plan (`None`: or not),
    pub plan: Option<bool>,
    /// then this becomes of it,
    pub outcome: Outcome,
    /// for this reason.
    pub reason: &'static str,
}

const ANY: &[VolumeFact] = &VolumeFact::ALL;
const SOME: &[VolumeFact] = &[VolumeFact::Reachable, VolumeFact::Unreachable];
const NONE: &[VolumeFact] = &[VolumeFact::None];

/// The table. The first row that fits decides.
pub static RULES: &[Rule] = &[
    Rule {
        row: "3a",
        events: &[Event::DeleteEnclosure],
        volume: ANY,
        assigned: Some(true),
        plan: None,
        outcome: Outcome::Refuse,
        reason: "the profile is assigned to hardware of the logical enclosure; unassign it first",
    },
    Rule {
        row: "3",
        events: &[Event::DeleteEnclosure],
        volume: SOME,
        assigned: Some(false),
        plan: None,
        outcome: Outcome::Delete,
        reason: "the profile is unassigned and the logical enclosure that its volume lives in goes",
    },
    Rule {
        row: "17",
        events: &[Event::DeleteHardware],
        volume: ANY,
        assigned: Some(true),
        plan: None,
        outcome: Outcome::Refuse,
        reason: "the profile is assigned to the hardware; unassign it first",
    },
    Rule {
        row: "11",
        events: &[Event::DeleteProfile],
        volume: SOME,
        assigned: None,
        plan: None,
        outcome: Outcome::Delete,
        reason: "the volume lives as long as its profile",
    },
    Rule {
        row: "2",
        events: &[Event::MoveEnclosure],
        volume: ANY,
        assigned: None,
        plan: None,
        outcome: Outcome::Retain,
        reason: "the volume belongs to the logical enclosure, whatever group that is in",
    },
    Rule {
        row: "12",
        events: &[Event::Edit],
        volume: ANY,
        assigned: None,
        plan: None,
        outcome: Outcome::Retain,
        reason: "nothing changes that the volume was made from",
    },
    Rule {
        row: "10",
        events: &[Event::RemovePlan],
        volume: SOME,
        assigned: None,
        plan: Some(false),
        outcome: Outcome::Delete,
        reason: "the profile has no deployment plan any more",
    },
    Rule {
        row: "5",
        events: &[Event::ChangeHardwareType],
        volume: SOME,
        assigned: None,
        plan: Some(true),
        outcome: Outcome::Regenerate,
        reason: "the volume was made for another server hardware type",
    },
    Rule {
        row: "8",
        events: &[Event::ChangePlan],
        volume: SOME,
        assigned: None,
        plan: Some(true),
        outcome: Outcome::Regenerate,
        reason: "the volume was made from another deployment plan",
    },
    Rule {
        row: "9",
        events: &[Event::ChangeAttributes],
        volume: SOME,
        assigned: None,
        plan: Some(true),
        outcome: Outcome::Regenerate,
        reason: "the volume was made with other attribute values",
    },
    Rule {
        row: "9a",
        events: &[Event::Redeploy],
        volume: SOME,
        assigned: None,
        plan: Some(true),
        outcome: Outcome::Regenerate,
        reason: "a redeployment was asked for",
    },
    Rule {
        row: "4",
        events: &[Event::Assign, Event::Move],
        volume: &[VolumeFact::Unreachable],
        assigned: Some(true),
        plan: Some(true),
        outcome: Outcome::Regenerate,
        reason: "the hardware is in a logical enclosure that cannot reach the volume",
    },
    Rule {
        row: "1",
        events: &[Event::Assign, Event::Unassign, Event::Move],
        volume: SOME,
        assigned: None,
        plan: None,
        outcome: Outcome::Retain,
        reason: "the volume belongs to the profile, on hardware that reaches it or on none",
    },
    Rule {
        row: "6",
        events: &[
            Event::Create,
            Event::Assign,
            Event::Move,
            Event::ChangeHardwareType,
            Event::ChangePlan,
            Event::AddPlan,
            Event::ChangeAttributes,
            Event::Redeploy,
        ],
        volume: NONE,
        assigned: Some(true),
        plan: Some(true),
        outcome: Outcome::Create,
        reason: "an assigned profile with a deployment plan has a volume",
    },
    Rule {
        row: "7",
        events: &Event::ALL,
        volume: NONE,
        assigned: None,
        plan: None,
        outcome: Outcome::Retain,
        reason: "there is no volume; one is made when the profile has a plan and is assigned",
    },
    Rule {
        row: "1a",
        events: &Event::ALL,
        volume: SOME,
        assigned: None,
        plan: None,
        outcome: Outcome::Retain,
        reason: "nothing that the volume depends on changes",
    },
];

/// Says what becomes of the volume, and by which row.
#[must_use]
pub fn decide(event: Event, facts: Facts) -> &'static Rule {
    let fits = |rule: &&Rule| {
        rule.events.contains(&event)
            && rule.volume.contains(&facts.volume)
            && rule.assigned.is_none_or(|assigned| assigned == facts.assigned)
            && rule.plan.is_none_or(|plan| plan == facts.plan)
    };
    // The last two rows fit every event, with a volume and without.
    RULES.iter().find(fits).unwrap_or(LAST)
}

static LAST: &Rule = &RULES[RULES.len() - 1];

/// The same for several events that happen at once: the weightiest outcome.
#[must_use]
pub fn decide_all(events: &[Event], facts: Facts) -> &'static Rule {
    let decisions = events.iter().map(|event| decide(*event, facts));
    // The first of equals, so that the reason does not depend on the order of what comes after it.
    decisions.reduce(|one, other| if other.outcome > one.outcome { other } else { one }).unwrap_or(LAST)
}

/// The table as Markdown, for docs/LIFECYCLE.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "| row | event | volume | assigned | plan | outcome | because |\n|---|---|---|---|---|---|---|\n",
    );
    for rule in RULES {
        let events = match rule.events.len() == Event::ALL.len() {
            true => "anything else".to_owned(),
            false => rule.events.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        let volume = match rule.volume {
            [VolumeFact::None] => "none",
            [VolumeFact::Unreachable] => "out of reach",
            [_, _] => "yes",
            _ => "any",
        };
        let flag = |flag: Option<bool>| flag.map_or("any", |set| if set { "yes" } else { "no" });
        text += &format!(
            "| {} | {events} | {volume} | {} | {} | **{}** | {} |\n",
            rule.row,
            flag(rule.assigned),
            flag(rule.plan),
            rule.outcome,
            rule.reason
        );
    }
    text
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

//! The table against an independent statement of it, for every event and every combination of facts.

use super::*;

/// The rules once more, said from the volume's side rather than row by row.
fn expected(event: Event, facts: Facts) -> Outcome {
    use Event::*;
    let has_volume = facts.volume != VolumeFact::None;
    match event {
        DeleteEnclosure | DeleteHardware if facts.assigned => Outcome::Refuse,
        DeleteEnclosure | DeleteProfile if has_volume => Outcome::Delete,
        RemovePlan if has_volume && !facts.plan => Outcome::Delete,
        ChangeHardwareType | ChangePlan | ChangeAttributes | Redeploy if has_volume && facts.plan => {
            Outcome::Regenerate
        }
        Assign | Move if facts.volume == VolumeFact::Unreachable && facts.assigned && facts.plan => {
            Outcome::Regenerate
        }
        Create | Assign | Move | ChangeHardwareType | ChangePlan | AddPlan | ChangeAttributes | Redeploy
            if !has_volume && facts.assigned && facts.plan =>
        {
            Outcome::Create
        }
        _ => Outcome::Retain,
    }
}

#[test]
fn every_event_with_every_combination_of_facts_has_the_outcome_that_was_asked_for() {
    let mut combinations = 0;
    for event in Event::ALL {
        for facts in Facts::all() {
            assert_eq!(decide(event, facts).outcome, expected(event, facts), "{event:?} {facts:?}");
            combinations += 1;
        }
    }
    assert_eq!(combinations, 15 * 12);
}

#[test]
fn several_events_at_once_have_the_weightiest_outcome_in_any_order() {
    for one in Event::ALL {
        for other in Event::ALL {
            for facts in Facts::all() {
                let both = decide_all(&[one, other], facts).outcome;
                assert_eq!(
                    both,
                    expected(one, facts).max(expected(other, facts)),
                    "{one:?} {other:?} {facts:?}"
                );
                assert_eq!(both, decide_all(&[other, one], facts).outcome);
            }
        }
    }
}

#[test]
fn every_row_decides_something() {
    for rule in RULES {
        let decides = Event::ALL
            .iter()
            .any(|event| Facts::all().any(|facts| std::ptr::eq(decide(*event, facts), rule)));
        assert!(decides, "row {} never decides", rule.row);
    }
}

#[test]
fn nothing_is_lost_where_there_is_nothing_and_nothing_is_made_without_a_plan() {
    for event in Event::ALL {
        for facts in Facts::all() {
            let outcome = decide(event, facts).outcome;
            assert!(!outcome.is_lossy() || facts.volume != VolumeFact::None, "{event:?} {facts:?}");
            let makes = matches!(outcome, Outcome::Create | Outcome::Regenerate);
            assert!(!makes || facts.plan, "{event:?} {facts:?}");
        }
    }
}

/// The five rows in the user's own words.
#[test]
fn the_first_five_rows_hold() {
    let reachable = |assigned| Facts { plan: true, assigned, volume: VolumeFact::Reachable };
    let unreachable = Facts { plan: true, assigned: true, volume: VolumeFact::Unreachable };
    let outcome = |event, facts| decide(event, facts).outcome;
    assert_eq!(outcome(Event::Assign, reachable(true)), Outcome::Retain);
    assert_eq!(outcome(Event::Unassign, reachable(false)), Outcome::Retain);
    assert_eq!(outcome(Event::MoveEnclosure, reachable(true)), Outcome::Retain);
    assert_eq!(outcome(Event::DeleteEnclosure, reachable(false)), Outcome::Delete);
    assert_eq!(outcome(Event::Assign, unreachable), Outcome::Regenerate);
    assert_eq!(outcome(Event::Move, unreachable), Outcome::Regenerate);
    assert_eq!(outcome(Event::ChangeHardwareType, reachable(true)), Outcome::Regenerate);
    assert_eq!(outcome(Event::ChangeHardwareType, reachable(false)), Outcome::Regenerate);
}

#[test]
fn the_documentation_has_this_table() {
    let page = include_str!("../../docs/LIFECYCLE.md");
    assert!(page.contains(&markdown()), "docs/LIFECYCLE.md lacks this table:\n{}", markdown());
}

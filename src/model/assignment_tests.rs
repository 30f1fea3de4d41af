//! Whoever can be counted so that it is enough is counted so, in whatever order they came.

use proptest::prelude::*;

use super::*;
use crate::approval::{missing, tally};

use Capacity::{DelegatedAdmin, Owner, Security, Steward};

fn enough(needed: &[(Capacity, u32)], voices: &[&[Capacity]]) -> bool {
    let needed = needed.iter().copied().collect();
    let voices: Vec<Vec<Capacity>> = voices.iter().map(|voice| voice.to_vec()).collect();
    missing(&needed, &tally(assigned(&needed, &voices))).is_empty()
}

#[test]
fn p12_who_is_both_counts_where_it_is_needed_and_the_other_is_somebody_else() {
    let both = [(Owner, 1), (Security, 1)];
    assert!(enough(&both, &[&[Owner, Security], &[Owner]]));
    assert!(enough(&both, &[&[Owner], &[Owner, Security]]));
    assert!(enough(&both, &[&[Owner, Security], &[Security]]));
    assert!(!enough(&both, &[&[Owner, Security]]), "one person is one voice");
    assert!(!enough(&both, &[&[Owner], &[Owner]]));
    // Two have to move for the third.
    let three = [(Owner, 1), (Security, 1), (Steward, 1)];
    assert!(enough(&three, &[&[Owner, Security], &[Security, Steward], &[Owner]]));
    assert!(!enough(&[(Owner, 2)], &[&[DelegatedAdmin], &[Owner]]));
}

#[test]
fn a_voice_that_is_not_needed_counts_in_its_first_capacity() {
    assert_eq!(assigned(&Quorum::new(), &[vec![Steward, Owner]]), [Steward]);
    assert_eq!(assigned(&[(Owner, 1)].into(), &[vec![Owner], vec![Owner, Steward]]), [Owner, Owner]);
}

/// Whether some choice of one capacity for each voice fills `needed`: all of them tried.
fn possible(needed: &Quorum, voices: &[Vec<Capacity>], chosen: &mut Vec<Capacity>) -> bool {
    match voices.get(chosen.len()) {
        None => missing(needed, &tally(chosen.iter().copied())).is_empty(),
        Some(voice) => voice.iter().any(|capacity| {
            chosen.push(*capacity);
            let found = possible(needed, voices, chosen);
            chosen.pop();
            found
        }),
    }
}

proptest! {
    #[test]
    fn p12_an_assignment_is_found_exactly_when_there_is_one(
        needed in prop::collection::btree_map(prop::sample::select(Capacity::ALL.to_vec()), 1_u32..3, 0..4),
        voices in prop::collection::vec(prop::sample::subsequence(Capacity::ALL.to_vec(), 1..=4), 0..6),
    ) {
        let found = assigned(&needed, &voices);
        prop_assert!(found.iter().zip(&voices).all(|(capacity, voice)| voice.contains(capacity)));
        prop_assert_eq!(missing(&needed, &tally(found)).is_empty(), possible(&needed, &voices, &mut Vec::new()));
    }
}

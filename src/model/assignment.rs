//! Who counts as what: people who hold several capacities count in one of them each, in the one where that fills most of
//! what is needed. Pure.

use std::collections::BTreeSet;

use crate::{Capacity, Quorum};

/// For each voice, given by the capacities in which it may count, the one in which it does: so that as much of `needed`
/// is filled as these voices can fill, whatever their order. A voice that is not needed counts in its first.
///
/// This is a largest matching of voices and places: a voice that finds its places taken may have another one move
/// (Ford and Fulkerson, "Flows in Networks", chapter II).
#[must_use]
pub fn assigned(needed: &Quorum, voices: &[Vec<Capacity>]) -> Vec<Capacity> {
    let mut places: Vec<Option<Capacity>> = vec![None; voices.len()];
    for nth in 0..voices.len() {
        let mut tried = BTreeSet::new();
        place(nth, needed, voices, &mut places, &mut tried);
    }
    let counted = |(voice, place): (&Vec<Capacity>, &Option<Capacity>)| place.or_else(|| voice.first().copied());
    voices.iter().zip(&places).filter_map(counted).collect()
}

/// Finds a place for a voice, if need be by moving others; `tried` are the capacities that were tried on the way.
fn place(
    nth: usize,
    needed: &Quorum,
    voices: &[Vec<Capacity>],
    places: &mut [Option<Capacity>],
    tried: &mut BTreeSet<Capacity>,
) -> bool {
    let Some(voice) = voices.get(nth) else { return false };
    let taken = |places: &[Option<Capacity>], capacity| places.iter().filter(|place| **place == Some(capacity)).count();
    let full = |places: &[Option<Capacity>], capacity: Capacity| {
        let most = needed.get(&capacity).copied().unwrap_or_default();
        u32::try_from(taken(places, capacity)).is_ok_and(|taken| taken >= most)
    };
    if let Some(free) = voice.iter().find(|capacity| !full(places, **capacity)) {
        return sit(places, nth, *free);
    }
    for capacity in voice {
        if !tried.insert(*capacity) {
            continue;
        }
        for other in 0..places.len() {
            let there = places.get(other).copied().flatten() == Some(*capacity);
            if there && place(other, needed, voices, places, tried) {
                return sit(places, nth, *capacity);
            }
        }
    }
    false
}

fn sit(places: &mut [Option<Capacity>], nth: usize, capacity: Capacity) -> bool {
    if let Some(place) = places.get_mut(nth) {
        *place = Some(capacity);
    }
    true
}

#[cfg(test)]
#[path = "assignment_tests.rs"]
mod tests;

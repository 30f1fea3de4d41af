use proptest::prelude::*;
use serde_json::json;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn life() -> KeyLife {
    KeyLife {
        algorithm: KeyAlgorithm::Rs256,
        rotate_after: DAY * 90,
        publish_ahead: DAY,
        longest: Duration::from_secs(60),
    }
}

fn start() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn made(id: &str) -> RingEvent {
    RingEvent::Made { id: id.to_owned(), algorithm: KeyAlgorithm::Rs256, public: json!({ "kid": id }) }
}

fn takes_over(id: &str) -> RingEvent {
    RingEvent::TakesOver { id: id.to_owned(), longest: life().longest, drop_old: false }
}

fn published(ring: &KeyRing) -> RingEvent {
    RingEvent::Published { ids: ring.keys().iter().map(|key| key.id.clone()).collect() }
}

fn with(ring: &KeyRing, events: &[RingEvent], at: Timestamp) -> KeyRing {
    events.iter().fold(ring.clone(), |ring, event| ring.after(event, at).unwrap())
}

/// One key that signs.
fn first() -> KeyRing {
    with(&KeyRing::default(), &[made("a"), takes_over("a")], start())
}

#[test]
fn the_first_key_signs_at_once_and_the_next_one_only_when_it_was_published_for_long_enough() {
    let empty = KeyRing::default();
    assert_eq!(empty.due(start(), &life()), Some(RingDue::Make));
    let begun = empty.after(&made("a"), start()).unwrap();
    assert_eq!(begun.due(start(), &life()), Some(RingDue::TakeOver("a".to_owned())));
    let ring = first();
    assert_eq!(ring.due(later(start(), DAY * 89), &life()), None);
    let old = later(start(), DAY * 90);
    assert_eq!(ring.due(old, &life()), Some(RingDue::Make));

    let ring = ring.after(&made("b"), old).unwrap();
    // Nobody said that it is published: it does not sign, however long that takes.
    assert_eq!(ring.due(later(old, DAY * 300), &life()), None);
    assert_eq!(ring.unpublished().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let ring = ring.after(&published(&ring), old).unwrap();
    assert!(ring.is_published());
    assert_eq!(ring.due(later(old, DAY - Duration::from_secs(1)), &life()), None);
    assert_eq!(ring.due(later(old, DAY), &life()), Some(RingDue::TakeOver("b".to_owned())));
}

#[test]
fn an_old_key_stays_published_until_its_last_token_is_dead_everywhere() {
    let ring = first().after(&RingEvent::Lengthened { longest: Duration::from_secs(900) }, start()).unwrap();
    let ring = with(&ring, &[made("b"), takes_over("b")], start());
    // The life of a token was longer while it signed than it is now.
    let dead = later(start(), Duration::from_secs(900) + LEEWAY);
    let KeyPhase::Retired { until, .. } = ring.key("a").unwrap().phase else { panic!("{ring:?}") };
    assert_eq!(until, dead);
    assert_eq!(ring.due(later(dead, Duration::ZERO) - SignedDuration::from_secs(1), &life()), None);
    assert_eq!(ring.due(dead, &life()), Some(RingDue::Forget("a".to_owned())));
    let ring = ring.after(&RingEvent::Forgotten { id: "a".to_owned() }, dead).unwrap();
    assert_eq!(ring.keys().len(), 1);
    assert!(ring.after(&takes_over("a"), dead).is_err(), "what is forgotten never signs again");
}

#[test]
fn a_key_that_leaked_leaves_at_once() {
    let ring = first().after(&made("b"), start()).unwrap();
    let leaked = RingEvent::TakesOver { id: "b".to_owned(), longest: life().longest, drop_old: true };
    let ring = ring.after(&leaked, start()).unwrap();
    assert_eq!(ring.keys().iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let ring = first();
    assert_eq!(ring.after(&made("a"), start()), Err(RingError::Twice("a".to_owned())));
    assert_eq!(ring.after(&takes_over("a"), start()), Err(RingError::Signs("a".to_owned())));
    let gone = RingEvent::Forgotten { id: "a".to_owned() };
    assert_eq!(ring.after(&gone, start()), Err(RingError::Signs("a".to_owned())));
    let stale = published(&ring);
    let ring = ring.after(&made("b"), start()).unwrap();
    assert_eq!(ring.after(&stale, start()), Err(RingError::Outdated), "b is not among what was published");
    let retired = ring.after(&takes_over("b"), start()).unwrap();
    assert_eq!(retired.after(&takes_over("a"), start()), Err(RingError::Retired("a".to_owned())));
}

#[test]
fn another_algorithm_is_a_rotation_like_any_other() {
    let other = KeyLife { algorithm: KeyAlgorithm::Es256, ..life() };
    assert_eq!(first().due(start(), &other), Some(RingDue::Make));
    let waiting = first().after(&made("b"), start()).unwrap();
    assert_eq!(waiting.due(start(), &other), Some(RingDue::Forget("b".to_owned())), "b is of the wrong kind");
}

proptest! {
    /// Whatever happens in whatever order: one key signs at most, none that signed is forgotten before its time, and a ring
    /// survives being written and read.
    #[test]
    fn one_key_signs_and_none_goes_before_its_time(steps in prop::collection::vec((0_u8..6, 0_u64..200_000), 0..80)) {
        let (mut ring, mut now, mut made_so_far) = (KeyRing::default(), start(), 0_u32);
        for (what, wait) in steps {
            now = later(now, Duration::from_secs(wait));
            let event = match what {
                0 => { made_so_far += 1; Some(made(&made_so_far.to_string())) }
                1 => Some(published(&ring)),
                _ => ring.due(now, &life()).map(|due| match due {
                    RingDue::Make => { made_so_far += 1; made(&made_so_far.to_string()) }
                    RingDue::TakeOver(id) => takes_over(&id),
                    RingDue::Forget(id) => RingEvent::Forgotten { id },
                    RingDue::Lengthen => RingEvent::Lengthened { longest: life().longest },
                }),
            };
            let Some(event) = event else { continue };
            if let RingEvent::Forgotten { id } = &event {
                match ring.key(id).unwrap().phase {
                    KeyPhase::Retired { until, .. } => prop_assert!(until <= now),
                    other => prop_assert!(false, "{other:?} was to be forgotten"),
                }
            }
            if let RingEvent::TakesOver { id, .. } = &event && ring.signing().is_some() {
                let at = ring.key(id).unwrap().published_at;
                prop_assert!(at.is_some_and(|at| later(at, life().publish_ahead) <= now));
            }
            ring = ring.after(&event, now).unwrap();
            let signing = ring.keys().iter().filter(|key| matches!(key.phase, KeyPhase::Signing { .. }));
            prop_assert!(signing.count() <= 1);
            let text = serde_json::to_string(&ring).unwrap();
            prop_assert_eq!(&serde_json::from_str::<KeyRing>(&text).unwrap(), &ring);
        }
    }
}

#[test]
fn a_key_that_nobody_can_know_and_one_that_is_too_old_raise_an_alarm() {
    assert_eq!(KeyRing::default().alarms(start(), &life()), [RingAlarm::NoKey]);
    let ring = first();
    assert_eq!(ring.alarms(start(), &life()), [RingAlarm::Unknown]);
    let ring = ring.after(&published(&ring), start()).unwrap();
    assert_eq!((ring.alarms(start(), &life()), ring.signs_since()), (vec![], Some(start())));
    // After 90 days the next one is made; it could sign a day later, and people have a week besides.
    let due = later(start(), DAY * 91);
    let ring = ring.after(&made("b"), later(start(), DAY * 90)).unwrap();
    assert!(ring.waits_for_publishing() && !ring.signs_unknown());
    assert_eq!(ring.alarms(later(due, DAY * 7 - Duration::from_secs(1)), &life()), []);
    let overdue = RingAlarm::Overdue { since: start(), due };
    assert_eq!(ring.alarms(later(due, DAY * 7), &life()), [overdue]);
    let ring = ring.after(&published(&ring), due).unwrap();
    assert!(!ring.waits_for_publishing());
    let at = later(due, DAY * 8);
    let ring = ring.after(&takes_over("b"), at).unwrap();
    assert_eq!(ring.alarms(at, &life()), []);
}

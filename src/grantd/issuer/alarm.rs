//! What is wrong with an issuer, in the words of `grantctl status`.

use grantd_model::RingAlarm;

use super::Issuer;
use super::source::Source;

impl Issuer {
    /// What is wrong with it, in words, with what mends it.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let ring = self.ring();
        let publish = format!("grantctl issuer publish DIR --issuer {}", self.name);
        let told = |alarm: &RingAlarm| match alarm {
            RingAlarm::NoKey => format!("issuer {}: no key signs: see grantctl issuer show", self.name),
            RingAlarm::Unknown => format!(
                "issuer {}: the key that signs was never published, so no cloud can take its tokens: {publish}",
                self.name
            ),
            RingAlarm::Overdue { since, due } => {
                let mend = match (&self.source, ring.waits_for_publishing()) {
                    (_, true) => format!("the next one waits to be published: {publish}"),
                    (Source::Files(_), false) => {
                        "its keys come from files: put a new one behind the first, publish, then put it first"
                            .to_owned()
                    }
                    (Source::Made, false) => "see grantctl issuer show".to_owned(),
                };
                let (since, due) = (since.strftime("%F"), due.strftime("%F"));
                format!(
                    "issuer {}: the key that signs does so since {since} and was to be replaced by {due}: {mend}",
                    self.name
                )
            }
        };
        ring.alarms(self.ground.clock.now(), &self.life).iter().map(told).collect()
    }
}

//! Whether a loop still goes round: it is asked from outside and answers from within.

use tokio::sync::{mpsc, oneshot};

/// Asks a loop.
#[derive(Debug, Clone)]
pub struct Pulse(mpsc::Sender<oneshot::Sender<()>>);

/// The loop's side.
#[derive(Debug)]
pub struct Beats(mpsc::Receiver<oneshot::Sender<()>>);

/// Both sides, for one loop.
#[must_use]
pub fn pulse() -> (Pulse, Beats) {
    let (ask, asked) = mpsc::channel(1);
    (Pulse(ask), Beats(asked))
}

impl Pulse {
    /// Returns when the loop came round; `false` when there is no loop any more.
    pub async fn beat(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

impl Beats {
    /// Waits until somebody asks; to be answered where the loop comes round. `None` when nobody can ask any more.
    pub async fn next(&mut self) -> Option<oneshot::Sender<()>> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p11_a_loop_that_hangs_does_not_answer_and_one_that_is_gone_says_so() {
        let (pulse, mut beats) = pulse();
        let asking = tokio::spawn({
            let pulse = pulse.clone();
            async move { pulse.beat().await }
        });
        let asked = beats.next().await.unwrap();
        assert!(!asking.is_finished(), "it is asked, and has not come round");
        asked.send(()).unwrap();
        assert!(asking.await.unwrap());
        drop(beats);
        assert!(!pulse.beat().await);
    }
}

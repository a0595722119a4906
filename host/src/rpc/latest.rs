//! Does the newest of many wishes of one kind, one at a time (P40: status and title are coalesced).
//!
//! While one is carried out, newer ones wait; of those only the newest is carried out, and its outcome answers them
//! all. However fast a guest asks on however many connections, one tool runs at a time and the last word wins.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Refusal;

/// The wishes of one kind.
pub(super) struct Latest<T> {
    state: Mutex<State<T>>,
    turn: tokio::sync::Mutex<()>,
}

struct State<T> {
    /// The newest wish, and its number.
    newest: (u64, Option<T>),
    /// The number of the last wish that was carried out, and how that went.
    done: (u64, Result<(), Refusal>),
}

impl<T: Clone> Latest<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { newest: (0, None), done: (0, Ok(())) }), turn: tokio::sync::Mutex::new(()) }
    }

    /// Carries out `wish`, or a newer one in its place.
    pub(super) async fn wish<F>(&self, wish: T, carry_out: impl FnOnce(T) -> F) -> Result<(), Refusal>
    where
        F: Future<Output = Result<(), Refusal>>,
    {
        let mine = {
            let mut state = self.state();
            state.newest = (state.newest.0 + 1, Some(wish.clone()));
            state.newest.0
        };
        let _turn = self.turn.lock().await;
        let (number, newest) = {
            let state = self.state();
            if state.done.0 >= mine {
                return state.done.1.clone();
            }
            (state.newest.0, state.newest.1.clone().unwrap_or(wish))
        };
        let outcome = carry_out(newest).await;
        self.state().done = (number, outcome.clone());
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn p40_only_the_newest_of_the_waiting_is_carried_out() {
        let (latest, release) = (Arc::new(Latest::new()), Arc::new(Notify::new()));
        let carried_out = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for n in 0..10 {
            let (latest, release, carried_out) = (latest.clone(), release.clone(), carried_out.clone());
            tasks.push(tokio::spawn(async move {
                latest
                    .wish(n, |n| async move {
                        release.notified().await;
                        carried_out.lock().unwrap().push(n);
                        Ok(())
                    })
                    .await
            }));
            tokio::task::yield_now().await;
        }
        release.notify_one();
        tokio::task::yield_now().await;
        release.notify_one();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(*carried_out.lock().unwrap(), [0, 9]);
    }

    #[tokio::test]
    async fn one_that_is_given_up_does_not_answer_for_the_others() {
        let latest = Latest::new();
        let given_up = latest.wish(1, |_| std::future::pending());
        tokio::select! { biased; _ = given_up => unreachable!(), () = std::future::ready(()) => {} }
        assert_eq!(
            latest
                .wish(2, |n| async move {
                    assert_eq!(n, 2);
                    Ok(())
                })
                .await,
            Ok(())
        );
    }
}

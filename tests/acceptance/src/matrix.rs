//! Many cases, held one after another in worlds that several threads build for themselves.

use std::collections::VecDeque;
use std::fmt::Display;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

/// How many cases a world stands. Whatever is kept of each case, by the journal or the platform, is gone through again and
/// again by those that follow.
const CASES: usize = 24;

/// The cases that are still to be held.
pub struct Cases<C> {
    left: Mutex<VecDeque<C>>,
    held: Mutex<usize>,
}

impl<C: Display> Cases<C> {
    /// Takes cases for one world, until it has stood its share or none is left.
    #[expect(clippy::print_stdout, reason = "what was covered is worth knowing")]
    pub fn share(&self, mut hold: impl FnMut(&C)) {
        for _ in 0..CASES {
            let case = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(case) = case else { return };
            hold(&case);
            println!("held: {case}");
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Holds all cases. `first` is a world that is there already; `world` builds another one, and both take their share.
///
/// # Panics
/// When there is no case, or one did not hold.
#[expect(clippy::print_stdout, reason = "what was covered is worth knowing")]
pub fn hold_all<C: Display + Send>(
    cases: Vec<C>,
    first: impl FnOnce(&Cases<C>) + Send,
    world: impl Fn(&Cases<C>) + Sync,
) {
    let count = cases.len();
    assert!(count > 0, "nothing would be covered");
    // Programs that wait for each other leave a processor idle; a world has to be built, so it has to be worth it.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let worlds = (count / CASES).clamp(2, 2 * processors.max(1));
    println!("{count} cases in {worlds} worlds");
    let cases = Cases { left: Mutex::new(VecDeque::from(cases)), held: Mutex::new(0) };
    let rest = |cases: &Cases<C>| {
        while !cases.is_empty() {
            world(cases);
        }
    };
    std::thread::scope(|scope| {
        let (cases, rest) = (&cases, &rest);
        let mut work = vec![scope.spawn(move || {
            first(cases);
            rest(cases);
        })];
        work.extend((1..worlds).map(|_| scope.spawn(move || rest(cases))));
        // A world that failed has said why; the others end first.
        for world in work {
            let _ = world.join();
        }
    });
    let held = cases.held.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(held, count, "a case did not hold, or was not tried");
}

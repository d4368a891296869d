//! The bounded queue before the lanes, and how many of them it calls.
//!
//! A module that signs inside this process does so in less time than it takes to wake a second thread, and most of them
//! hold locks of their own meanwhile, over which two lanes only put each other to sleep. So while the module answers
//! quickly, the lane that is awake takes what comes, and another joins it when something has waited for long. A device
//! at the end of a wire gets all its lanes at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::{Error, Session};

/// A job that ends sooner costs less than the call of another lane gains.
const QUICK: Duration = Duration::from_micros(200);
/// How long a job may wait before another lane is called whatever they cost.
const LONG: Duration = Duration::from_millis(2);
/// Of so many quick jobs more than of others, the next is expected to be quick. A thread that has to give its core away
/// now and then does not make a module slow.
const CONFIDENCE: u32 = 8;

/// What a lane does next. It is told why when the session is not to be asked.
type Job = Box<dyn FnOnce(&dyn Session) + Send>;

pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    /// Each lane's own, so that the one is called that slept last: its caches are warm.
    ready: Vec<Condvar>,
    limit: usize,
}

#[derive(Default)]
struct Jobs {
    /// With the time at which each came.
    waiting: VecDeque<(Instant, Job)>,
    /// For each lane, who waits for it to look at its copies again.
    revisions: Vec<Vec<oneshot::Sender<()>>>,
    /// Lanes that have nothing to do and have not been called; the last came last.
    asleep: Vec<usize>,
    /// How many more quick jobs than others there were lately: between 0 and twice `CONFIDENCE`.
    quick: u32,
    is_closed: bool,
}

pub(super) enum Next {
    Job(Job),
    Revise(Vec<oneshot::Sender<()>>),
    End,
}

impl Jobs {
    /// The lane that is to be called to what waits, if any.
    fn called(&mut self) -> Option<usize> {
        let (since, _) = self.waiting.front()?;
        let is_anyone_awake = self.asleep.len() < self.revisions.len();
        if !is_anyone_awake || self.quick < CONFIDENCE || since.elapsed() >= LONG {
            self.asleep.pop()
        } else {
            None
        }
    }

    fn took(&mut self, time: Duration) {
        self.quick = if time < QUICK {
            (self.quick + 1).min(2 * CONFIDENCE)
        } else {
            self.quick.saturating_sub(1)
        };
    }
}

impl Queue {
    pub(super) fn new(limit: usize, lanes: usize) -> Arc<Queue> {
        let mut jobs = Jobs::default();
        jobs.revisions.resize_with(lanes, Vec::new);
        Arc::new(Queue {
            jobs: Mutex::new(jobs),
            ready: (0..lanes).map(|_| Condvar::new()).collect(),
            limit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Held for pushes and pops alone, which leave nothing half done.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn length(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.call_all();
    }

    /// Lets every lane look at its copies before it does anything else.
    pub(super) fn revise(&self) -> Vec<oneshot::Receiver<()>> {
        let mut jobs = self.lock();
        let asked = jobs.revisions.iter_mut().map(|lane| {
            // A lane that does not come out of the module must not collect them.
            lane.retain(|waiting: &oneshot::Sender<()>| !waiting.is_closed());
            let (done, is_done) = oneshot::channel();
            lane.push(done);
            is_done
        });
        let asked = asked.collect();
        drop(jobs);
        self.call_all();
        asked
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.push(Box::new(move |session| {
            let result = match deadline {
                Some(deadline) if deadline <= Instant::now() => Err(Error::DeadlinePassed),
                _ => ask(session),
            };
            // Whoever asked may have gone away.
            let _ = answer.send(result);
        }))?;
        // A panic in the job drops its sender.
        answered
            .await
            .unwrap_or_else(|_| Err(Error::Device("a panic in a lane".to_owned())))
    }

    fn push(&self, job: Job) -> Result<(), Error> {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return Err(Error::Device("it is shutting down".to_owned()));
        }
        if jobs.waiting.len() >= self.limit {
            return Err(Error::QueueFull);
        }
        jobs.waiting.push_back((Instant::now(), job));
        self.call(jobs);
        Ok(())
    }

    /// Calls a lane to what waits while the others do not come out of the module. Pushes and lanes that come for more
    /// see to that by themselves; this is for when there are none.
    pub(super) fn look(&self) {
        self.call(self.lock());
    }

    fn call(&self, mut jobs: MutexGuard<'_, Jobs>) {
        let called = jobs.called();
        drop(jobs);
        if let Some(lane) = called {
            self.ready[lane].notify_one();
        }
    }

    fn call_all(&self) {
        for lane in &self.ready {
            lane.notify_one();
        }
    }

    /// Waits for what `lane` does next. `took`: the time of the job that it comes from.
    pub(super) fn next(&self, lane: usize, took: Option<Duration>) -> Next {
        let mut jobs = self.lock();
        if let Some(time) = took {
            jobs.took(time);
        }
        loop {
            let revisions = &mut jobs.revisions[lane];
            if !revisions.is_empty() {
                return Next::Revise(std::mem::take(revisions));
            }
            if let Some((_, job)) = jobs.waiting.pop_front() {
                self.call(jobs);
                return Next::Job(job);
            }
            if jobs.is_closed {
                return Next::End;
            }
            jobs.asleep.push(lane);
            jobs = self.ready[lane]
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
            // One that wakes for a revision, or by itself, has not been called.
            jobs.asleep.retain(|&asleep| asleep != lane);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A job that must not reach the session.
    fn never(_: &dyn Session) -> Result<(), Error> {
        unreachable!("asked")
    }

    /// Four lanes, of which some sleep, and a job that came so long ago.
    fn jobs(asleep: usize, quick: u32, age: Duration) -> Jobs {
        let mut jobs = Jobs {
            asleep: (0..asleep).collect(),
            quick,
            ..Jobs::default()
        };
        jobs.revisions.resize_with(4, Vec::new);
        let since = Instant::now().checked_sub(age).unwrap();
        jobs.waiting.push_back((since, Box::new(|_| ())));
        jobs
    }

    #[tokio::test]
    async fn a_full_or_closed_queue_answers_at_once() {
        let queue = Queue::new(1, 1);
        queue.push(Box::new(|_| ())).unwrap();
        assert!(matches!(
            queue.ask(None, never).await,
            Err(Error::QueueFull)
        ));
        queue.close();
        assert!(matches!(
            queue.ask(None, never).await,
            Err(Error::Device(_))
        ));
        let revised = queue.revise();
        assert!(matches!(queue.next(0, None), Next::Revise(lanes) if lanes.len() == revised.len()));
        assert!(matches!(queue.next(0, None), Next::Job(_)));
        assert!(matches!(queue.next(0, None), Next::End));
    }

    #[test]
    fn lanes_are_called_where_they_help() {
        let now = Duration::ZERO;
        for (asleep, quick, age, expected, why) in [
            (4, 0, now, 4, "slow: one for each job that waits"),
            (2, 0, now, 2, "slow: those that sleep"),
            (0, 0, LONG, 0, "nobody sleeps"),
            (4, CONFIDENCE, now, 1, "quick: one, which is then awake"),
            (3, CONFIDENCE, now, 0, "quick: somebody is awake"),
            (3, CONFIDENCE, LONG, 3, "quick, but it has waited"),
        ] {
            let mut jobs = jobs(asleep, quick, age);
            let called: Vec<usize> = (0..6).filter_map(|_| jobs.called()).collect();
            let last_first = (0..asleep).rev().take(expected);
            assert_eq!(called, last_first.collect::<Vec<_>>(), "{why}");
        }
        let mut nothing = jobs(4, 0, LONG);
        nothing.waiting.clear();
        assert_eq!(nothing.called(), None, "nothing waits");
    }

    #[test]
    fn a_module_is_quick_when_most_jobs_are() {
        let mut jobs = jobs(3, 0, Duration::ZERO);
        for quick in 0..CONFIDENCE {
            assert_eq!(jobs.quick, quick);
            jobs.took(Duration::ZERO);
        }
        for _ in 0..100 {
            assert_eq!(jobs.called(), None);
            jobs.took(QUICK);
            jobs.took(Duration::ZERO);
        }
        for _ in 0..2 * CONFIDENCE {
            jobs.took(QUICK);
        }
        assert_eq!(jobs.called(), Some(2));
        assert_eq!(jobs.quick, 0);
    }

    #[test]
    fn a_lane_that_does_not_come_back_is_helped() {
        let queue = Queue::new(8, 2);
        let helper = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let next = queue.next(1, None);
                assert!(matches!(next, Next::Job(_)));
                matches!(queue.next(1, None), Next::End)
            })
        };
        while queue.lock().asleep.is_empty() {
            std::thread::yield_now();
        }
        queue.lock().quick = CONFIDENCE;
        // The other lane is inside the module, for it neither sleeps nor asks.
        queue.push(Box::new(|_| ())).unwrap();
        assert_eq!(queue.length(), 1, "left to the lane that is awake");
        std::thread::sleep(LONG);
        queue.look();
        while queue.length() > 0 {
            std::thread::yield_now();
        }
        queue.close();
        assert!(helper.join().unwrap());
    }
}

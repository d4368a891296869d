//! The bounded queue before the lanes, and how many of them it calls.
//!
//! A module that signs inside this process does so in less time than it takes to wake a second thread, and most of them
//! hold locks of their own meanwhile, over which two lanes only put each other to sleep. So while the module answers
//! quickly, the lane that is at work takes what comes, and another joins it while something has waited for long. A device
//! at the end of a wire gets all its lanes at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::{Error, Session};

/// A job that ends sooner costs less than the call of another lane gains.
pub(super) const QUICK: Duration = Duration::from_micros(200);
/// For so long a lane that was called, or took a job, is expected to come for more.
const SOON: Duration = Duration::from_micros(500);
/// A job that has waited for so long is worth another lane. More than the time of a few dozen quick jobs: below it a
/// second lane would come and go all the time.
const LONG: Duration = Duration::from_millis(5);
/// Of so many quick jobs more than of others, the next is expected to be quick. A thread that has to give its core away
/// now and then does not make a module slow.
const CONFIDENCE: u32 = 8;

/// What a lane does next, and whether the token has answered it.
type Job = Box<dyn FnOnce(&dyn Session) -> Last + Send>;

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
    lanes: Vec<Lane>,
    /// Lanes that have nothing to do and have not been called; the last came last.
    asleep: Vec<usize>,
    /// How many more quick jobs than others there were lately: between 0 and twice `CONFIDENCE`.
    quick: u32,
    /// Whether a lane that sleeps looks again by itself.
    is_guarded: bool,
    is_closed: bool,
}

#[derive(Default)]
struct Lane {
    /// When it was called, or took what it is at; absent while it has nothing to do.
    since: Option<Instant>,
    /// Who waits for it to look at its copies again.
    revisions: Vec<oneshot::Sender<()>>,
}

pub(super) enum Next {
    Job(Job),
    Revise(Vec<oneshot::Sender<()>>),
    End,
}

/// What a lane comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// A job that the token has done: how long it took says how quick the module is.
    Done,
    /// One that was refused, or none.
    Other,
}

impl Jobs {
    /// What `lane`, which has nothing to do, takes.
    fn taken(&mut self, lane: usize, now: Instant) -> Option<Job> {
        let others = self.lanes.iter().enumerate().filter(|(at, _)| *at != lane);
        // Nobody calls a lane back once the queue is closed.
        if !self.is_closed && self.is_left_to(others.map(|(_, other)| other), now) {
            return None;
        }
        let (_, job) = self.waiting.pop_front()?;
        self.lanes[lane].since = Some(now);
        Some(job)
    }

    /// The lane that is to be called to what waits, if any.
    fn called(&mut self, now: Instant) -> Option<usize> {
        if self.waiting.is_empty() || self.is_left_to(self.lanes.iter(), now) {
            return None;
        }
        let lane = self.asleep.pop()?;
        self.lanes[lane].since = Some(now);
        Some(lane)
    }

    /// Whether what waits is better left to one of `lanes` that is at work.
    fn is_left_to<'a>(&self, mut lanes: impl Iterator<Item = &'a Lane>, now: Instant) -> bool {
        let is_within = |time, since| now.saturating_duration_since(since) < time;
        self.quick >= CONFIDENCE
            && matches!(self.waiting.front(), Some(&(came, _)) if is_within(LONG, came))
            // One that is at something longer, does not come out of the module, or has ended, is nobody to wait for.
            && lanes.any(|lane| lane.since.is_some_and(|since| is_within(SOON, since)))
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
        jobs.lanes.resize_with(lanes, Lane::default);
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
        let asked = jobs.lanes.iter_mut().map(|Lane { revisions, .. }| {
            // A lane that does not come out of the module must not collect them.
            revisions.retain(|waiting| !waiting.is_closed());
            let (done, is_done) = oneshot::channel();
            revisions.push(done);
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
            let last = match result {
                Ok(_) => Last::Done,
                Err(_) => Last::Other,
            };
            // Whoever asked may have gone away.
            let _ = answer.send(result);
            last
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
            self.call(jobs);
            return Err(Error::QueueFull);
        }
        jobs.waiting.push_back((Instant::now(), job));
        self.call(jobs);
        Ok(())
    }

    /// Calls a lane to what waits for one that does not come. Pushes, and lanes that come for more, see to that by
    /// themselves; this is for when there are none.
    pub(super) fn call_for_help(&self) {
        self.call(self.lock());
    }

    fn call(&self, mut jobs: MutexGuard<'_, Jobs>) {
        let called = jobs.called(Instant::now());
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

    /// Waits for what `lane` does next, which comes from `last`.
    pub(super) fn next(&self, lane: usize, last: Last) -> Next {
        let mut jobs = self.lock();
        if let (Last::Done, Some(since)) = (last, jobs.lanes[lane].since) {
            jobs.took(since.elapsed());
        }
        loop {
            let revisions = &mut jobs.lanes[lane].revisions;
            if !revisions.is_empty() {
                return Next::Revise(std::mem::take(revisions));
            }
            if let Some(job) = jobs.taken(lane, Instant::now()) {
                self.call(jobs);
                return Next::Job(job);
            }
            if jobs.is_closed {
                return Next::End;
            }
            jobs.lanes[lane].since = None;
            jobs.asleep.push(lane);
            jobs = self.sleep(lane, jobs);
            // One that wakes for a revision, or by itself, has not been called.
            jobs.asleep.retain(|&asleep| asleep != lane);
        }
    }

    /// Returns when the lane is called, or by itself.
    fn sleep<'a>(&self, lane: usize, mut jobs: MutexGuard<'a, Jobs>) -> MutexGuard<'a, Jobs> {
        if jobs.waiting.is_empty() || jobs.is_guarded {
            let woken = self.ready[lane].wait(jobs);
            return woken.unwrap_or_else(PoisonError::into_inner);
        }
        // What was left to another lane, which may be kept: one lane looks again.
        jobs.is_guarded = true;
        let woken = self.ready[lane].wait_timeout(jobs, LONG);
        let (mut jobs, _) = woken.unwrap_or_else(PoisonError::into_inner);
        jobs.is_guarded = false;
        jobs
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

    fn idle() -> Job {
        Box::new(|_| Last::Other)
    }

    /// Four lanes, of which the first ones sleep and the others took a job at `taken`, and a job that came at `came`.
    fn jobs(asleep: usize, quick: u32, came: Instant, taken: Instant) -> Jobs {
        let mut jobs = Jobs {
            asleep: (0..asleep).collect(),
            quick,
            ..Jobs::default()
        };
        jobs.lanes.resize_with(4, Lane::default);
        for lane in &mut jobs.lanes[asleep..] {
            lane.since = Some(taken);
        }
        jobs.waiting.push_back((came, idle()));
        jobs
    }

    #[tokio::test]
    async fn a_full_or_closed_queue_answers_at_once() {
        let queue = Queue::new(1, 1);
        queue.push(idle()).unwrap();
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
        let next = || queue.next(0, Last::Other);
        assert!(matches!(next(), Next::Revise(lanes) if lanes.len() == revised.len()));
        assert!(matches!(next(), Next::Job(_)));
        assert!(matches!(next(), Next::End));
    }

    #[test]
    fn lanes_are_called_where_they_help() {
        let now = Instant::now();
        let (long_ago, a_while_ago) = (
            now.checked_sub(LONG).unwrap(),
            now.checked_sub(SOON).unwrap(),
        );
        for (asleep, quick, came, taken, expected, why) in [
            (4, 0, now, now, 4, "slow: one for each job that waits"),
            (2, 0, now, now, 2, "slow: those that sleep"),
            (0, 0, long_ago, now, 0, "nobody sleeps"),
            (4, CONFIDENCE, now, now, 1, "quick: one, which then comes"),
            (3, CONFIDENCE, now, now, 0, "quick: somebody comes"),
            (3, CONFIDENCE, long_ago, now, 3, "quick, but it has waited"),
            (
                3,
                CONFIDENCE,
                now,
                a_while_ago,
                1,
                "quick, but nobody comes",
            ),
        ] {
            let mut jobs = jobs(asleep, quick, came, taken);
            let called: Vec<usize> = (0..6).filter_map(|_| jobs.called(now)).collect();
            let last_first = (0..asleep).rev().take(expected);
            assert_eq!(called, last_first.collect::<Vec<_>>(), "{why}");
        }
        let mut nothing = jobs(4, 0, now, now);
        nothing.waiting.clear();
        assert_eq!(nothing.called(now), None, "nothing waits");
    }

    /// The first lane asks, having done a job or been called; the others sleep or took a job at `others`.
    #[test]
    fn a_lane_leaves_quick_jobs_to_another() {
        let now = Instant::now();
        let (long_ago, a_while_ago) = (
            now.checked_sub(LONG).unwrap(),
            now.checked_sub(SOON).unwrap(),
        );
        for (quick, came, others, is_closed, takes, why) in [
            (CONFIDENCE, now, Some(now), false, false, "another comes"),
            (CONFIDENCE - 1, now, Some(now), false, true, "slow"),
            (CONFIDENCE, long_ago, Some(now), false, true, "it waited"),
            (
                CONFIDENCE,
                now,
                Some(a_while_ago),
                false,
                true,
                "nobody comes",
            ),
            (CONFIDENCE, now, None, false, true, "the others sleep"),
            (CONFIDENCE, now, Some(now), true, true, "the last ones"),
        ] {
            let mut jobs = jobs(0, quick, came, now);
            for lane in &mut jobs.lanes[1..] {
                lane.since = others;
            }
            jobs.lanes[0].since = Some(long_ago);
            jobs.is_closed = is_closed;
            assert_eq!(jobs.taken(0, now).is_some(), takes, "{why}");
            assert_eq!(jobs.waiting.is_empty(), takes, "{why}");
            let since = if takes { now } else { long_ago };
            assert_eq!(jobs.lanes[0].since, Some(since), "{why}");
            assert!(jobs.taken(0, now).is_none(), "{why}: once");
        }
    }

    /// However two lanes come for what waits, one of them takes it.
    #[test]
    fn lanes_do_not_leave_a_job_to_each_other() {
        let queue = Queue::new(1, 2);
        {
            let mut jobs = queue.lock();
            jobs.quick = CONFIDENCE;
            jobs.waiting.push_back((Instant::now(), idle()));
            for lane in &mut jobs.lanes {
                lane.since = Some(Instant::now());
            }
        }
        let lanes = [0, 1].map(|lane| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut done = 0;
                while let Next::Job(_) = queue.next(lane, Last::Other) {
                    done += 1;
                }
                done
            })
        });
        let until = Instant::now() + Duration::from_secs(60);
        while queue.lock().asleep.len() < 2 {
            assert!(Instant::now() < until, "a lane ended");
            std::thread::yield_now();
        }
        assert_eq!(queue.length(), 0);
        queue.close();
        let done: i32 = lanes.map(|lane| lane.join().unwrap()).iter().sum();
        assert_eq!(done, 1);
    }

    /// Nobody pushes or calls any more.
    #[test]
    fn what_was_left_to_a_lane_that_is_kept_is_taken() {
        let queue = Queue::new(1, 2);
        {
            let mut jobs = queue.lock();
            jobs.quick = CONFIDENCE;
            jobs.waiting.push_back((Instant::now(), idle()));
            // Expected for longer than any test takes.
            jobs.lanes[0].since = Some(Instant::now() + Duration::from_secs(3600));
        }
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(matches!(queue.next(1, Last::Other), Next::Job(_))));
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(true));
    }

    #[test]
    fn a_module_is_quick_when_most_jobs_are() {
        let now = Instant::now();
        let mut jobs = jobs(3, 0, now, now);
        for quick in 0..CONFIDENCE {
            assert_eq!(jobs.quick, quick);
            jobs.took(Duration::ZERO);
        }
        for _ in 0..100 {
            assert_eq!(jobs.called(now), None);
            jobs.took(QUICK);
            jobs.took(Duration::ZERO);
        }
        for _ in 0..2 * CONFIDENCE {
            jobs.took(QUICK);
        }
        assert_eq!(jobs.called(now), Some(2));
        assert_eq!(jobs.quick, 0);
    }

    /// The first lane is inside the module: it neither sleeps nor asks. The second one runs.
    #[test]
    fn a_lane_that_does_not_come_back_is_helped() {
        let queue = Queue::new(2, 2);
        let helper = {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut done = 0;
                while let Next::Job(_) = queue.next(1, Last::Other) {
                    done += 1;
                }
                done
            })
        };
        let until = |is_so: &dyn Fn(&Jobs) -> bool| {
            while !is_so(&queue.lock()) {
                std::thread::yield_now();
            }
        };
        let took = |since| {
            let mut jobs = queue.lock();
            jobs.lanes[0].since = Some(since);
            jobs.quick = CONFIDENCE;
        };
        until(&|jobs| jobs.asleep == [1]);
        // As far ahead of every clock as no test takes.
        let soon = Instant::now() + Duration::from_secs(3600);
        let long_ago = Instant::now().checked_sub(LONG).unwrap();
        took(soon);
        {
            let mut jobs = queue.lock();
            jobs.waiting.push_back((soon, idle()));
            assert_eq!(jobs.called(Instant::now()), None, "left to the first lane");
        }
        took(long_ago);
        queue.call_for_help();
        until(&|jobs| jobs.waiting.is_empty() && jobs.asleep == [1]);

        // Each push helps itself.
        queue.push(idle()).unwrap();
        until(&|jobs| jobs.waiting.is_empty() && jobs.asleep == [1]);

        // So does one that finds the queue full.
        took(soon);
        queue
            .lock()
            .waiting
            .extend([(soon, idle()), (soon, idle())]);
        took(long_ago);
        assert!(matches!(queue.push(idle()), Err(Error::QueueFull)));
        until(&|jobs| jobs.waiting.is_empty());
        queue.close();
        assert_eq!(helper.join().unwrap(), 4);
    }
}

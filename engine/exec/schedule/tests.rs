//! The queue by itself, in steps of a simulated time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use proptest::prelude::*;

use super::*;

fn limits(cores: usize, gpus: usize, pools: &[u64]) -> Limits {
    let gpus = (0..gpus).map(|ordinal| Gpu { ordinal, name: format!("g{ordinal}") }).collect();
    Limits { cores, memory: 100, gpus, pools: pools.to_vec() }
}

fn cores(cores: usize) -> Demand {
    Demand { cores, ..Demand::default() }
}

/// One piece of work: what it takes, how long, and after which others.
#[derive(Clone, Debug)]
struct Work {
    demand: Demand,
    seconds: u64,
    after: Vec<usize>,
}

/// Does it all; the places in the order in which they began, and the second of the last end.
fn simulate(limits: &Limits, work: &[Work], order: Vec<usize>) -> (Vec<usize>, u64) {
    let demands: Vec<Demand> = work.iter().map(|work| work.demand.clone()).collect();
    let mut schedule = Schedule::new(limits, &demands, order);
    let mut left: Vec<usize> = work.iter().map(|work| work.after.len()).collect();
    (0..work.len()).filter(|at| left[*at] == 0).for_each(|at| schedule.push(at));
    let mut running: Vec<(u64, Begun)> = Vec::new();
    let (mut began, mut now) = (Vec::new(), 0);
    loop {
        while let Some(begun) = schedule.next() {
            began.push(begun.index);
            running.push((now + work[begun.index].seconds, begun));
        }
        let used =
            |takes: &dyn Fn(&Demand) -> u64| running.iter().map(|(_, begun)| takes(&work[begun.index].demand)).sum::<u64>();
        assert!(used(&|demand| demand.cores as u64) <= limits.cores as u64);
        assert!(used(&|demand| demand.memory) <= limits.memory);
        for (pool, size) in limits.pools.iter().enumerate() {
            let of_pool = |demand: &Demand| demand.pools.iter().filter(|(at, _)| *at == pool).map(|(_, n)| n).sum();
            assert!(used(&of_pool) <= *size);
        }
        let devices: Vec<Gpu> = running.iter().flat_map(|(_, begun)| begun.gpus()).collect();
        assert!(devices.iter().collect::<BTreeSet<_>>().len() == devices.len(), "a GPU for two");
        let Some(next) = (0..running.len()).min_by_key(|at| running[*at].0) else { return (began, now) };
        let (end, begun) = running.remove(next);
        now = end;
        let ended = begun.index;
        schedule.end(begun);
        for follower in (0..work.len()).filter(|at| work[*at].after.contains(&ended)) {
            left[follower] -= 1;
            if left[follower] == 0 {
                schedule.push(follower);
            }
        }
    }
}

#[test]
fn the_first_by_rank_that_fits_begins() {
    let mut schedule = Schedule::new(&limits(4, 0, &[]), &[cores(1), cores(3), cores(2), cores(2)], vec![3, 1, 2, 0]);
    (0..4).for_each(|at| schedule.push(at));
    let mut next = || schedule.next().map(|begun| begun.index);
    // 1 does not fit beside 3, and what comes after it does.
    assert_eq!([next(), next(), next()], [Some(3), Some(2), None]);
}

#[test]
fn one_that_wants_more_than_there_is_gets_all() {
    let mut schedule = Schedule::new(&limits(2, 1, &[]), &[cores(64), cores(1)], vec![0, 1]);
    (0..2).for_each(|at| schedule.push(at));
    let begun = schedule.next().unwrap();
    assert_eq!((begun.index, begun.cores), (0, 2));
    assert!(schedule.next().is_none());
    schedule.end(begun);
    assert_eq!(schedule.next().map(|begun| begun.index), Some(1));
}

#[test]
fn one_taken_out_of_the_queue_does_not_begin() {
    let mut schedule = Schedule::new(&limits(3, 0, &[]), &[cores(1), cores(1), cores(2)], vec![0, 1, 2]);
    (0..3).for_each(|at| schedule.push(at));
    [0, 2, 2].into_iter().for_each(|at| schedule.remove(at));
    assert_eq!(schedule.next().map(|begun| begun.index), Some(1));
    assert!(schedule.next().is_none());
}

#[test]
fn gpus_are_handed_out_by_number_and_come_back() {
    let gpus = |n| Demand { cores: 1, gpus: n, ..Demand::default() };
    let mut schedule = Schedule::new(&limits(8, 3, &[]), &[gpus(1), gpus(2), gpus(2)], vec![0, 1, 2]);
    (0..3).for_each(|at| schedule.push(at));
    let names = |begun: &Begun| begun.gpus().into_iter().map(|gpu| gpu.name).collect::<Vec<_>>();
    let (one, two) = (schedule.next().unwrap(), schedule.next().unwrap());
    assert_eq!((names(&one), names(&two)), (vec!["g0".to_owned()], vec!["g1".to_owned(), "g2".to_owned()]));
    assert!(schedule.next().is_none());
    schedule.end(two);
    schedule.end(one);
    assert_eq!(names(&schedule.next().unwrap()), ["g0", "g1"]);
}

#[test]
fn one_that_needs_much_is_not_overtaken_for_ever() {
    // Two cores, and always one of the small at work: without patience's end the large one would come last of all.
    let mut work: Vec<Work> = (0..400).map(|at| Work { demand: cores(1), seconds: 3 + at % 2, after: Vec::new() }).collect();
    work.push(Work { demand: cores(2), seconds: 1, after: vec![0] });
    let order: Vec<usize> = std::iter::once(400).chain(0..400).collect();
    let (began, _) = simulate(&limits(2, 0, &[]), &work, order);
    let place = began.iter().position(|at| *at == 400).unwrap();
    let ready = 2;
    assert!(place > ready && place <= ready + PATIENCE as usize + 1, "began as number {place}");
}

#[test]
fn what_does_not_take_what_is_lacking_goes_on_beside_it() {
    let gpu = Demand { cores: 1, gpus: 1, ..Demand::default() };
    let mut work =
        vec![Work { demand: gpu.clone(), seconds: 1000, after: Vec::new() }, Work { demand: gpu, seconds: 1, after: Vec::new() }];
    work.extend((0..100).map(|_| Work { demand: cores(1), seconds: 1, after: Vec::new() }));
    let (began, end) = simulate(&limits(2, 1, &[]), &work, (0..102).collect());
    // The second waits for the one GPU; a hundred that need none pass it meanwhile.
    assert_eq!((began.last(), end), (Some(&1), 1001));
}

#[test]
fn the_longest_path_first_ends_sooner_than_the_plans_order() {
    // Six short ones stand before a long chain.
    let one = |seconds, after| Work { demand: cores(1), seconds, after };
    let mut work: Vec<Work> = (0..6).map(|_| one(10, Vec::new())).collect();
    work.extend([one(10, Vec::new()), one(10, vec![6]), one(10, vec![7])]);
    let by_path = vec![6, 7, 0, 1, 2, 3, 4, 5, 8];
    let (_, first_in_first_out) = simulate(&limits(2, 0, &[]), &work, (0..9).collect());
    let (began, longest_first) = simulate(&limits(2, 0, &[]), &work, by_path);
    assert_eq!(began, [6, 0, 7, 1, 2, 3, 4, 5, 8]);
    assert_eq!((first_in_first_out, longest_first), (60, 50));
}

fn work() -> impl Strategy<Value = Vec<Work>> {
    let one = (1_usize..6, 0_u64..200, 0_usize..4, 0_u64..3, 0_u64..5, 1_u64..9, any::<u64>());
    prop::collection::vec(one, 1..60).prop_map(|all| {
        let all = all.into_iter().enumerate();
        let one = all.map(|(at, (cores, memory, gpus, p, q, seconds, before))| Work {
            demand: Demand { cores: cores.min(4), memory: memory.min(100), gpus, pools: vec![(0, p), (1, q)] },
            seconds,
            after: (at.saturating_sub(64)..at).filter(|other| before >> (other % 64) & 7 == 7).collect(),
        });
        one.collect()
    })
}

proptest! {
    #[test]
    fn everything_begins_once_whatever_it_takes(work in work(), turn in any::<prop::sample::Index>()) {
        let mut order: Vec<usize> = (0..work.len()).collect();
        order.rotate_left(turn.index(work.len()));
        let (mut began, _) = simulate(&limits(4, 3, &[2, 4]), &work, order);
        began.sort_unstable();
        prop_assert_eq!(began, (0..work.len()).collect::<Vec<_>>());
    }
}

#[test]
fn a_decision_does_not_look_at_all_that_is_queued() {
    // Would take minutes if each looked at every other; with one, two and three cores they are three groups.
    let n = 200_000;
    let demands: Vec<Demand> = (0..n).map(|at| cores(1 + at % 3)).collect();
    let mut schedule = Schedule::new(&limits(6, 0, &[]), &demands, (0..n).rev().collect());
    (0..n).for_each(|at| schedule.push(at));
    assert_eq!(schedule.heads.len(), 3);
    let mut running = std::collections::VecDeque::new();
    let mut began = 0;
    loop {
        while let Some(begun) = schedule.next() {
            running.push_back(begun);
            began += 1;
        }
        let Some(begun) = running.pop_front() else { break };
        schedule.end(begun);
    }
    assert_eq!(began, n);
}
